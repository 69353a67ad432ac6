"""How many live streams this machine sustains: the bundled conversation, heard by ever more sources at once.

Every source is live and paced: blocks of 32 ms at the moment their last sample would have been captured, each source at
a place of its own in the conversation and out of step with the others. A number of sources is sustained if nothing was
dropped, and the 95th percentile of the time from a sample's capture to its event, the lateness of the sources
themselves included, stays under a bound. The number is doubled until it fails, then halved in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import numpy as np
import soundfile

from stream.app.assembly import build_ensembles, load_models
from stream.demo.conversation import AUDIO
from stream.events import Event
from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings
from stream.sinks.base import ObserverSink
from stream.types import SAMPLE_RATE_HZ, AudioFormat, Block, Ensemble, Model, Samples, SpeechDetector

BLOCK_SAMPLES = 512
WARM_UP_S = 3.0
"""What happens before this is not judged: first windows, first batches."""

WARM_UP_SOURCES = 20
"""So many sources are heard for so many seconds before the first trial."""

STEP = 1.06
"""The search ends where more would be known than the measurement can tell."""

GOLDEN = 0.618_034
"""Multiples of it fill an interval evenly, however many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModels:
    """What all trials use: models, those that answer together, the speech detector, the setup of worker threads."""

    models: Sequence[Model]
    ensembles: Sequence[Ensemble]
    detector: SpeechDetector
    thread_setup: Callable[[int], None]


def load(settings: Settings) -> LoadedModels:
    """Load what the settings name, once."""
    models, detector, setup = load_models(settings)
    return LoadedModels(models=models, ensembles=build_ensembles(models), detector=detector, thread_setup=setup)


@dataclass(frozen=True, slots=True)
class LoadTrial:
    """One number of sources; latencies in milliseconds, memory resident at the end in megabytes."""

    sources: int
    sustained: bool
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    late_p95_ms: float
    events: int
    dropped: int
    inferred: int
    memory_mb: float | None


class _Live:
    """The conversation over and over, from `start` on, as a microphone would give it."""

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
        yield self._give()

    async def _give(self) -> AsyncIterator[Block]:
        loop = asyncio.get_running_loop()
        began_s, place = loop.time() + self._phase_s, 0
        while not self._stopped:
            due_s = began_s + (place + BLOCK_SAMPLES) / SAMPLE_RATE_HZ
            await asyncio.sleep(due_s - loop.time())
            self._lateness.append(loop.time() - due_s)
            at = (self._start + place) % (len(self._samples) - BLOCK_SAMPLES)
            yield Block(self.id, place, self._samples[at : at + BLOCK_SAMPLES, None])
            place += BLOCK_SAMPLES


class _Latencies(ObserverSink):
    """A sink that keeps the latencies of rolling events between two moments."""

    def __init__(self) -> None:
        self.events = 0
        self.found: list[float] = []
        self.open = False

    async def send(self, event: Event) -> None:
        if self.open and event.type in ("speaker", "emotion"):
            self.events += 1
            self.found.append(event.latency_ms)


def find_capacity(
    settings: Settings,
    *,
    bound_ms: float,
    seconds_s: float,
    most: int,
    tell: Callable[[LoadTrial], None] = lambda trial: None,  # noqa: ARG005
) -> list[LoadTrial]:
    """Search for the largest number of sources; every trial in the order it was made."""
    loaded = load(settings)
    # what a long run does once (nets are traced, memory is fetched) is done before anything is judged
    run_trial(settings, loaded, count=min(WARM_UP_SOURCES, most), bound_ms=bound_ms, seconds_s=WARM_UP_SOURCES)
    trials: list[LoadTrial] = []

    def holds(count: int) -> bool:
        trials.append(run_trial(settings, loaded, count=count, bound_ms=bound_ms, seconds_s=seconds_s))
        tell(trials[-1])
        return trials[-1].sustained

    low, high = 0, min(8, most)
    while holds(high):
        low = high
        if high == most:
            return trials
        high = min(2 * high, most)
    while high > max(low + 1, round(STEP * low)):
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return trials


def run_trial(settings: Settings, loaded: LoadedModels, *, count: int, bound_ms: float, seconds_s: float) -> LoadTrial:
    """Run so many sources for `seconds_s` after warming up."""
    return asyncio.run(_attempt(settings, loaded, count=count, bound_ms=bound_ms, seconds_s=seconds_s))


async def _attempt(
    settings: Settings, loaded: LoadedModels, *, count: int, bound_ms: float, seconds_s: float
) -> LoadTrial:
    sound, _ = soundfile.read(AUDIO, dtype="float32", always_2d=True)
    samples = np.ascontiguousarray(sound[:, 0])
    lateness: list[float] = []
    sources = [
        _Live(
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

    async def judge() -> None:
        await asyncio.sleep(WARM_UP_S)
        lateness.clear()
        sink.open = True
        await asyncio.sleep(seconds_s)
        sink.open = False
        pipeline.stop()

    watch = asyncio.create_task(judge(), name="bench")
    began_s = time.monotonic()
    report = await pipeline.run()
    await watch
    late_ms = 1000 * _percentile(lateness, 95)
    dropped = sum(lane.dropped for lane in report.health.lanes)
    p50_ms, p95_ms = (_percentile(sink.found, share) if sink.found else None for share in (50, 95))
    in_time = p95_ms is not None and p95_ms + late_ms <= bound_ms
    # a run that took much longer than it was to was still busy with what it had
    flowed = time.monotonic() - began_s < WARM_UP_S + seconds_s + 1 + bound_ms / 1000
    return LoadTrial(
        sources=count,
        sustained=in_time and not dropped and flowed and not report.timed_out,
        latency_p50_ms=None if p50_ms is None else round(p50_ms, 1),
        latency_p95_ms=None if p95_ms is None else round(p95_ms, 1),
        late_p95_ms=round(late_ms, 1),
        events=sink.events,
        dropped=dropped,
        inferred=sum(lane.inferred for lane in report.health.lanes),
        memory_mb=report.health.memory_mb,
    )


def _percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share)) if values else 0.0


def rows(trials: list[LoadTrial]) -> list[dict[str, object]]:
    """Trials as a table."""
    return [asdict(trial) for trial in trials]
