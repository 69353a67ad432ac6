"""Capacity of this machine: the largest number of live sources it sustains, with the bundled conversation as audio.

Every source is live and paced: blocks of 32 ms at the moment their last sample would have been captured, each source at
another position of the conversation and with another phase. A number of sources is sustained if nothing is dropped and
the 95th percentile of the time from capture to event, including the lateness of the sources, stays below a limit. The
number is doubled until a trial fails, then bisected.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from stream.app.assembly import LoadedModels, load
from stream.demo.conversation import AUDIO
from stream.events import Event
from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings
from stream.sinks.base import ObserverSink
from stream.types import SAMPLE_RATE_HZ, AudioFormat, Block, Samples

BLOCK_SAMPLES = 512
WARM_UP_S = 3.0
"""Initial part of a trial that is not measured: first windows, first batches."""

WARM_UP_SOURCES = 20
"""Number of sources, and duration in seconds, of the warm-up before the first trial."""

STEP = 1.06
"""Relative resolution of the search: finer than this the measurement is noise."""

GOLDEN = 0.618_034
"""Multiples of it modulo 1 fill the unit interval evenly, for any number of sources."""


@dataclass(frozen=True, slots=True)
class LoadTrial:
    """Result for one number of sources; latencies in milliseconds, resident memory at the end in megabytes."""

    sources: int
    sustained: bool
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    late_p95_ms: float
    events: int
    dropped: int
    inferred: int
    memory_mb: float | None
    duration_s: float = 0.0
    run_s: float = 0.0  # with the warm-up, which the lanes include
    lanes: tuple[dict[str, object], ...] = ()  # as in `health`


class _LoopingSource:
    """Plays the conversation in a loop from sample `start`, like a microphone."""

    live = True
    paced = True
    channels = "mix"
    format = AudioFormat(rate_hz=SAMPLE_RATE_HZ, channels=1)

    def __init__(self, *, source_id: str, samples: Samples, start: int, phase_s: float, lateness: list[float]) -> None:
        self.id = source_id
        self._samples, self._start, self._phase_s = samples, start, phase_s
        self._lateness = lateness
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block]]:
        yield self._paced_blocks()

    async def _paced_blocks(self) -> AsyncIterator[Block]:
        loop = asyncio.get_running_loop()
        started_s, position = loop.time() + self._phase_s, 0
        while not self._stopped:
            due_s = started_s + (position + BLOCK_SAMPLES) / SAMPLE_RATE_HZ
            await asyncio.sleep(due_s - loop.time())
            self._lateness.append(loop.time() - due_s)
            at = (self._start + position) % (len(self._samples) - BLOCK_SAMPLES)
            yield Block(self.id, position, self._samples[at : at + BLOCK_SAMPLES, None])
            position += BLOCK_SAMPLES


class _Latencies(ObserverSink):
    """Collects the latencies of speaker and emotion events while `measuring`."""

    def __init__(self) -> None:
        self.events = 0
        self.latencies_ms: list[float] = []
        self.measuring = False

    async def send(self, event: Event) -> None:
        if self.measuring and event.type in ("speaker", "emotion"):
            self.events += 1
            self.latencies_ms.append(event.latency_ms)


def find_capacity(
    settings: Settings,
    *,
    bound_ms: float,
    seconds_s: float,
    most: int,
    on_trial: Callable[[LoadTrial], None] = lambda trial: None,  # noqa: ARG005
) -> list[LoadTrial]:
    """Search for the largest sustained number of sources; returns all trials in order."""
    loaded = load(settings)
    # one-time work of a long run (tracing of nets, allocation of memory) is done before the first trial
    run_trial(settings, loaded, count=min(WARM_UP_SOURCES, most), bound_ms=bound_ms, seconds_s=WARM_UP_SOURCES)
    trials: list[LoadTrial] = []

    def is_sustained(count: int) -> bool:
        trials.append(run_trial(settings, loaded, count=count, bound_ms=bound_ms, seconds_s=seconds_s))
        on_trial(trials[-1])
        return trials[-1].sustained

    low, high = 0, min(8, most)
    while is_sustained(high):
        low = high
        if high == most:
            return trials
        high = min(2 * high, most)
    while high > max(low + 1, round(STEP * low)):
        middle = (low + high) // 2
        if is_sustained(middle):
            low = middle
        else:
            high = middle
    return trials


def measure(
    settings: Settings, *, sources: int, bound_ms: float, seconds_s: float, on_trial: Callable[[LoadTrial], None]
) -> list[LoadTrial]:
    """Run one trial with that number of sources, after one like it as the warm-up; return it."""
    loaded = load(settings)
    run_trial(settings, loaded, count=sources, bound_ms=bound_ms, seconds_s=seconds_s)
    trial = run_trial(settings, loaded, count=sources, bound_ms=bound_ms, seconds_s=seconds_s)
    on_trial(trial)
    return [trial]


def with_random_weights(settings: Settings, folder: Path) -> Settings:
    """Return settings whose pretrained models are checkpoints with random weights, written to `folder`."""
    from stream.models.benchmark import SHAPES, write_random_checkpoint  # noqa: PLC0415 - torch

    changed = {}
    for task, model in settings.models:
        if model.name in SHAPES:
            write_random_checkpoint(model.name, folder / model.name)
            changed[task] = model.model_copy(update={"name": str(folder / model.name)})
    return settings.model_copy(update={"models": settings.models.model_copy(update=changed)})


def run_trial(settings: Settings, loaded: LoadedModels, *, count: int, bound_ms: float, seconds_s: float) -> LoadTrial:
    """Run `count` sources for `seconds_s` after the warm-up."""
    return asyncio.run(_run_trial(settings, loaded, count=count, bound_ms=bound_ms, seconds_s=seconds_s))


async def _run_trial(
    settings: Settings, loaded: LoadedModels, *, count: int, bound_ms: float, seconds_s: float
) -> LoadTrial:
    audio, _ = soundfile.read(AUDIO, dtype="float32", always_2d=True)
    samples = np.ascontiguousarray(audio[:, 0])
    lateness: list[float] = []
    sources = [
        _LoopingSource(
            source_id=f"live-{number}",
            samples=samples,
            start=int(GOLDEN * number % 1 * len(samples)),
            phase_s=GOLDEN * number % 1,
            lateness=lateness,
        )
        for number in range(count)
    ]
    sink = _Latencies()
    pipeline = Pipeline(
        settings=settings,
        sources=sources,
        models=loaded.models,
        detector=loaded.detector,
        ensembles=loaded.ensembles,
        sinks={"latencies": sink},
        thread_setup=loaded.thread_setup,
    )

    async def measure() -> None:
        await asyncio.sleep(WARM_UP_S)
        lateness.clear()
        sink.measuring = True
        await asyncio.sleep(seconds_s)
        sink.measuring = False
        pipeline.stop()

    watch = asyncio.create_task(measure(), name="bench")
    began_s = time.monotonic()
    report = await pipeline.run()
    await watch
    late_ms = 1000 * _percentile(lateness, 95)
    dropped = sum(lane.dropped for lane in report.health.lanes)
    p50_ms, p95_ms = (_percentile(sink.latencies_ms, share) if sink.latencies_ms else None for share in (50, 95))
    in_time = p95_ms is not None and p95_ms + late_ms <= bound_ms
    # a run that took much longer than planned still had queued work
    run_s = time.monotonic() - began_s
    finished_in_time = run_s < WARM_UP_S + seconds_s + 1 + bound_ms / 1000
    return LoadTrial(
        sources=count,
        sustained=in_time and not dropped and finished_in_time and not report.timed_out,
        latency_p50_ms=None if p50_ms is None else round(p50_ms, 1),
        latency_p95_ms=None if p95_ms is None else round(p95_ms, 1),
        late_p95_ms=round(late_ms, 1),
        events=sink.events,
        dropped=dropped,
        inferred=sum(lane.inferred for lane in report.health.lanes),
        memory_mb=report.health.memory_mb,
        duration_s=seconds_s,
        run_s=round(run_s, 2),
        lanes=tuple(lane.model_dump(mode="json") for lane in report.health.lanes),
    )


def _percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share)) if values else 0.0


def rows(trials: list[LoadTrial]) -> list[dict[str, object]]:
    """Return trials as table rows."""
    return [{key: value for key, value in asdict(trial).items() if key != "lanes"} for trial in trials]
