"""Discrete-event simulation of the lanes of one node: arrivals of windows, micro-batches, deadlines.

Streams are independent: speech and silence alternate with exponential durations, and while a stream speaks it submits
a window to every lane each hop, at a phase of its own. A lane has a queue and workers (`stream.inference.batching`): a
free worker takes up to `max_batch` windows, after waiting `max_wait_ms` for more while fewer wait than there are
streams, and a window older than the deadline gives way to the next one of its stream. Latency is the time from the end
of a window to its scores; what the rest of the pipeline adds is measured, not simulated.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

import numpy as np

from stream.tools.planning.figures import LaneModel, MeasuredPool

MEAN_SPEECH_S = 4.0
"""Mean duration of a speech segment."""

WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class SimulatedLoad:
    """Result of one simulation; `utilisation` is that of the busiest lane's workers."""

    streams: int
    latency_p50_ms: float
    latency_p95_ms: float
    windows: int
    dropped: int
    utilisation: float


@dataclass(slots=True)
class _Lane:
    model: LaneModel
    free_s: list[float]  # when each worker is free, a heap
    waiting: dict[tuple[int, float], None] = field(default_factory=dict)  # streams and arrivals, oldest first
    latencies_s: list[float] = field(default_factory=list)
    submitted: int = 0
    dropped: int = 0
    busy_s: float = 0.0


def simulate(
    lanes: Sequence[LaneModel],
    pool: MeasuredPool,
    *,
    streams: int,
    speech: float,
    duration_s: float = 30.0,
    seed: int = 1,
) -> SimulatedLoad:
    """Simulate `streams` that speak for a share `speech` of the time."""
    generator = np.random.default_rng(seed)
    segments = [list(_speech(generator, speech, duration_s)) for _ in range(streams)]
    results = [_run(lane, pool, segments, generator) for lane in lanes]
    latencies_ms = 1000 * np.concatenate([np.array(lane.latencies_s) for lane in results] or [np.zeros(0)])
    p50_ms, p95_ms = np.percentile(latencies_ms, (50, 95)) if len(latencies_ms) else (0.0, 0.0)
    return SimulatedLoad(
        streams=streams,
        latency_p50_ms=round(float(p50_ms), 1),
        latency_p95_ms=round(float(p95_ms), 1),
        windows=sum(lane.submitted for lane in results),
        dropped=sum(lane.dropped for lane in results),
        utilisation=round(max((lane.busy_s / duration_s / pool.workers for lane in results), default=0.0), 3),
    )


def _speech(generator: np.random.Generator, share: float, duration_s: float) -> Iterator[tuple[float, float]]:
    """Yield the speech segments of a stream."""
    mean_silence_s = MEAN_SPEECH_S * (1 - share) / share
    at_s = 0.0 if generator.random() < share else generator.exponential(mean_silence_s)
    while at_s < duration_s:
        end_s = at_s + generator.exponential(MEAN_SPEECH_S)
        yield at_s, min(end_s, duration_s)
        at_s = end_s + (generator.exponential(mean_silence_s) if mean_silence_s else 0.0)


def _run(
    model: LaneModel,
    pool: MeasuredPool,
    segments: Sequence[Sequence[tuple[float, float]]],
    generator: np.random.Generator,
) -> _Lane:
    lane = _Lane(model, free_s=[0.0] * pool.workers)
    arrivals = sorted(
        (float(at_s), stream)
        for stream, spoken in enumerate(segments)
        for phase_s in (generator.random() * model.hop_s,)
        for start_s, end_s in spoken
        for at_s in np.arange(phase_s + model.hop_s * np.ceil((start_s - phase_s) / model.hop_s), end_s, model.hop_s)
        if at_s >= 0
    )
    for at_s, stream in arrivals:
        _take_batches(lane, pool, until_s=at_s, streams=len(segments))
        lane.submitted += 1
        _drop_late(lane, stream, before_s=at_s - pool.deadline_ms / 1000)
        lane.waiting[stream, at_s] = None
    _take_batches(lane, pool, until_s=float("inf"), streams=len(segments))
    return lane


def _drop_late(lane: _Lane, stream: int, *, before_s: float) -> None:
    """Drop the windows of a stream that have waited since before then."""
    older = takewhile(lambda entry: entry[1] < before_s, lane.waiting)
    late = [entry for entry in older if entry[0] == stream]
    for entry in late:
        del lane.waiting[entry]
    lane.dropped += len(late)


def _take_batches(lane: _Lane, pool: MeasuredPool, *, until_s: float, streams: int) -> None:
    """Start every batch that begins before `until_s`."""
    wanted = min(pool.max_batch, streams)
    while lane.waiting:
        _, first_s = next(iter(lane.waiting))
        begin_s = max(first_s, lane.free_s[0])
        filled = next(islice(lane.waiting, wanted - 1, wanted), None)
        gathered_s = float("inf") if filled is None else filled[1]
        begin_s = min(max(begin_s, gathered_s), begin_s + pool.max_wait_ms / 1000)
        if begin_s >= until_s:
            return
        heapq.heappop(lane.free_s)
        taken = list(islice(lane.waiting, pool.max_batch))
        elapsed_s = lane.model.batch_s(len(taken))
        for entry in taken:
            del lane.waiting[entry]
        lane.latencies_s += [begin_s + elapsed_s - arrived_s for _, arrived_s in taken if arrived_s >= WARM_UP_S]
        lane.busy_s += elapsed_s
        heapq.heappush(lane.free_s, begin_s + elapsed_s)
