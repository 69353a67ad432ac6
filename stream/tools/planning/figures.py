"""Figures of one machine, as `tonewatch bench --channels --json` writes them, as parameters of the simulation.

Every trial of the benchmark has, for each lane, its mean batch and the mean time of a batch. A batch of `n` windows
takes `base_ms + n * window_ms`, fitted by least squares over the trials; with one trial all time is the windows'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream.errors import SettingsError

REMEDY = "write it with `tonewatch bench --channels --json`"


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class MeasuredLane(_Figures):
    """One lane in one trial."""

    model: str
    hop_ms: Annotated[float, Field(gt=0)] | None
    inferred: int
    mean_batch: float
    inference_ms: float


class MeasuredTrial(_Figures):
    """One trial: a number of live sources, and what became of them."""

    sources: Annotated[int, Field(ge=1)]
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    late_p95_ms: float
    dropped: int
    events: int
    duration_s: Annotated[float, Field(gt=0)]
    run_s: Annotated[float, Field(gt=0)]
    lanes: tuple[MeasuredLane, ...]

    def is_within(self, bound_ms: float) -> bool:
        """Whether nothing was dropped and 95 % of the events were in time, with the lateness of the sources."""
        return (
            self.latency_p95_ms is not None and not self.dropped and self.latency_p95_ms + self.late_p95_ms <= bound_ms
        )


class MeasuredPool(_Figures):
    """The settings of the pool during the trials."""

    workers: Annotated[int, Field(ge=1)]
    max_batch: Annotated[int, Field(ge=1)]
    max_wait_ms: float
    deadline_ms: float


class BenchFigures(_Figures):
    """The output of `tonewatch bench --channels --json`."""

    pool: MeasuredPool
    trials: Annotated[tuple[MeasuredTrial, ...], Field(min_length=1)]


class LaneModel(_Figures):
    """A lane in the simulation: how often a stream that speaks submits a window, and how long a batch takes."""

    name: str
    hop_s: float
    base_ms: float
    window_ms: float

    def batch_s(self, windows: int) -> float:
        """Return the time of a batch."""
        return (self.base_ms + windows * self.window_ms) / 1000


def read_figures(path: Path) -> BenchFigures:
    """Read a benchmark's output. Raises `SettingsError`."""
    try:
        return BenchFigures.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}; {REMEDY}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SettingsError(f"{path}: {where}: {first['msg'].lower()}; {REMEDY}") from None


def lane_models(figures: BenchFigures) -> tuple[LaneModel, ...]:
    """Return the lanes with the times of their batches, fitted over all trials."""
    by_name: dict[str, list[MeasuredLane]] = {}
    for trial in figures.trials:
        for lane in trial.lanes:
            if lane.mean_batch > 0 and lane.hop_ms:
                by_name.setdefault(lane.model, []).append(lane)
    return tuple(_fit(name, lanes, hops_s(figures)[name]) for name, lanes in by_name.items())


def hops_s(figures: BenchFigures) -> Mapping[str, float]:
    """Return the hop of each lane: the shortest seen, since dropped windows lengthen it."""
    found: dict[str, float] = {}
    for trial in figures.trials:
        for lane in trial.lanes:
            if lane.hop_ms:
                found[lane.model] = min(found.get(lane.model, float("inf")), lane.hop_ms / 1000)
    return found


def lightest_trial(figures: BenchFigures) -> MeasuredTrial:
    """Return the trial with the fewest sources. Raises `SettingsError` if none has scored a window."""
    scored = [trial for trial in figures.trials if trial.latency_p50_ms is not None]
    if not scored:
        raise SettingsError("the figures hold no scored windows; measure longer, or with fewer sources")
    return min(scored, key=lambda trial: trial.sources)


def measured_speech(figures: BenchFigures) -> float:
    """Return the share of hops for which a window was scored, at the lightest load: the audio's share of speech."""
    trial, hops = lightest_trial(figures), hops_s(figures)
    shares = [lane.inferred * hops[lane.model] / trial.sources / trial.run_s for lane in trial.lanes if lane.hop_ms]
    return min(1.0, max(0.01, *shares))


def _fit(name: str, lanes: Sequence[MeasuredLane], hop_s: float) -> LaneModel:
    batches = np.array([lane.mean_batch for lane in lanes])
    times_ms = np.array([lane.inference_ms for lane in lanes])
    window_ms = float(times_ms.sum() / batches.sum())
    base_ms = 0.0
    if np.ptp(batches) > 0.5:  # noqa: PLR2004 - of nearly equal batches the slope is noise
        slope, intercept = np.polyfit(batches, times_ms, 1)
        if slope > 0 and intercept > 0:
            window_ms, base_ms = float(slope), float(intercept)
    return LaneModel(name=name, hop_s=hop_s, base_ms=base_ms, window_ms=window_ms)
