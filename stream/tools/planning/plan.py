"""From lines to machines: capacity of a machine by simulation, then machines, network, messages and money."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stream.errors import SettingsError
from stream.tools.planning.figures import (
    BenchFigures,
    LaneModel,
    MeasuredTrial,
    lane_models,
    lightest_trial,
    measured_speech,
)
from stream.tools.planning.simulation import SimulatedLoad, simulate

CURVE_POINTS = 8

EVENT_BYTES = 700
"""A rolling event in JSON with its topic, mean of the demo."""

MAX_STREAMS = 4_096


@dataclass(frozen=True, slots=True)
class Demand:
    """What is to be processed, and how quickly.

    `headroom` is the share of a machine's capacity that stays free; `stream_kbps` the bandwidth of one stream's audio.
    """

    streams: int
    speech: float
    bound_ms: float
    headroom: float
    stream_kbps: float
    price: float | None


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """A point of the curve: what is added by the rest of the pipeline is included in the latencies."""

    streams: int
    latency_p50_ms: float
    latency_p95_ms: float
    dropped_share: float
    utilisation: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Machines for a demand; `spare` ones may fail without overloading the others. Prices are per hour."""

    streams_per_machine: int
    limited_by: Literal["measured", "simulated"]
    machines: int
    spare: int
    latency_p95_ms: float
    audio_mbps: float
    messages_per_s: float
    events_mbps: float
    price_per_hour: float | None
    curve: tuple[LoadPoint, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is planned for a measured trial from the others."""

    sources: int
    measured_p95_ms: float
    planned_p95_ms: float


class Planner:
    """Simulates one machine. What the pipeline adds to the latency is interpolated between the measured trials.

    It grows with the load, since lanes, decisions and events share the cores, which the simulation does not know.
    """

    def __init__(self, figures: BenchFigures) -> None:
        self._figures = figures
        self._lanes: Sequence[LaneModel] = lane_models(figures)
        self._lightest = lightest_trial(figures)
        self._speech = measured_speech(figures)  # of the benchmark's audio
        self._trials = _without_drops(figures) or [self._lightest]
        self._simulated = [self._simulate(trial.sources, self._speech) for trial in self._trials]
        pairs = list(zip(self._trials, self._simulated, strict=True))
        self._added_p50_ms = [_added_ms(trial.latency_p50_ms, load.latency_p50_ms) for trial, load in pairs]
        self._added_p95_ms = [_added_ms(trial.latency_p95_ms, load.latency_p95_ms) for trial, load in pairs]

    def point(self, streams: int, speech: float) -> LoadPoint:
        """Return latency and losses of one machine with a number of streams."""
        load = self._simulate(streams, speech)
        return LoadPoint(
            streams=streams,
            latency_p50_ms=round(load.latency_p50_ms + self._interpolated_ms(self._added_p50_ms, streams, speech), 1),
            latency_p95_ms=round(load.latency_p95_ms + self._interpolated_ms(self._added_p95_ms, streams, speech), 1),
            dropped_share=round(load.dropped / load.windows, 4) if load.windows else 0.0,
            utilisation=load.utilisation,
        )

    def capacity(self, demand: Demand) -> int:
        """Return the largest number of streams within the latency bound and without drops; 0 if one is too many.

        The simulation knows lanes, not what else uses the machine: where a measured trial was too many, the capacity is
        what was sustained, or more by as much as the demand has less speech than the benchmark.
        """

        def is_sustained(streams: int) -> bool:
            point = self.point(streams, demand.speech)
            return point.latency_p95_ms <= demand.bound_ms and not point.dropped_share

        limit = self.measured_limit(demand)
        simulated = _largest(is_sustained)
        return simulated if limit is None else min(simulated, limit)

    def measured_limit(self, demand: Demand) -> int | None:
        """Return the number of streams that the trials allow; None if every trial was sustained."""
        within = {trial.sources: trial.is_within(demand.bound_ms) for trial in self._figures.trials}
        if all(within.values()):
            return None
        measured = max((sources for sources, is_within in within.items() if is_within), default=0)
        return round(measured * max(1.0, self._speech / demand.speech))

    def plan(self, demand: Demand) -> Plan:
        """Return the machines that a demand needs. Raises `SettingsError` if one machine cannot carry one stream."""
        capacity = self.capacity(demand)
        per_machine = math.floor(capacity * (1 - demand.headroom))
        if not per_machine:
            raise SettingsError(
                f"this machine does not carry one stream within {demand.bound_ms:g} ms; raise --bound-ms or use another"
            )
        needed = math.ceil(demand.streams / per_machine)
        spare = max(1, math.ceil(needed * 0.02))
        lightest = self._lightest
        per_stream = lightest.events / lightest.sources / lightest.duration_s  # rolling events in a second
        messages = demand.streams * per_stream * demand.speech / self._speech
        loads = sorted({max(1, round(capacity * step / CURVE_POINTS * 1.25)) for step in range(1, CURVE_POINTS + 1)})
        return Plan(
            streams_per_machine=per_machine,
            limited_by="measured" if capacity == self.measured_limit(demand) else "simulated",
            machines=needed,
            spare=spare,
            latency_p95_ms=self.point(math.ceil(demand.streams / needed), demand.speech).latency_p95_ms,
            audio_mbps=round(demand.streams * demand.stream_kbps / 1000, 1),
            messages_per_s=round(messages, 1),
            events_mbps=round(messages * EVENT_BYTES * 8 / 1e6, 2),
            price_per_hour=None if demand.price is None else round((needed + spare) * demand.price, 2),
            curve=tuple(self.point(load, demand.speech) for load in loads),
        )

    def comparisons(self) -> list[Comparison]:
        """Return, beside every measured trial, what is planned from the others; empty with less than two trials.

        All trials have gone into the times of batches.
        """
        found = []
        for at, (trial, load) in enumerate(zip(self._trials, self._simulated, strict=True)):
            sources = [other.sources for other in self._trials if other is not trial]
            added_ms = self._added_p95_ms[:at] + self._added_p95_ms[at + 1 :]
            if sources:
                planned_ms = load.latency_p95_ms + float(np.interp(trial.sources, sources, added_ms))
                found.append(Comparison(trial.sources, trial.latency_p95_ms or 0.0, round(planned_ms, 1)))
        return found

    def _interpolated_ms(self, added_ms: Sequence[float], streams: int, speech: float) -> float:
        """Interpolate what the pipeline adds, by streams that speak at once; beyond the trials that of the nearest."""
        return float(np.interp(streams * speech / self._speech, [trial.sources for trial in self._trials], added_ms))

    def _simulate(self, streams: int, speech: float) -> SimulatedLoad:
        return simulate(self._lanes, self._figures.pool, streams=streams, speech=speech)


def _added_ms(measured_ms: float | None, simulated_ms: float) -> float:
    return max(0.0, (measured_ms or 0.0) - simulated_ms)


def _without_drops(figures: BenchFigures) -> list[MeasuredTrial]:
    """Return the trials that scored all windows, by their number of sources; the last of equal ones."""
    found = {trial.sources: trial for trial in figures.trials if not trial.dropped and trial.latency_p95_ms is not None}
    return [found[sources] for sources in sorted(found)]


def _largest(holds: Callable[[int], bool]) -> int:
    """Return the largest number up to `MAX_STREAMS` for which a condition holds that holds for all smaller ones."""
    low, high = 0, 1
    while high <= MAX_STREAMS and holds(high):
        low, high = high, 2 * high
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
