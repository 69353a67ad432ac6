"""The corridor: opens the rooms, lets sound through, and closes them in the order the data flows.

    source ──blocks──▶ Listener (ring, speech, windows) ──▶ lanes ──scores──▶ Listener (rolling) ──events──▶ sinks

Three task groups, one inside the other: sinks, then the pool's workers, then the streams. When the streams have ended
(by themselves, or because `stop()` ended their sources) the lanes are closed and run dry; then the sinks' queues are,
and the sinks say good-bye. A stop that takes longer than `grace_s` is cut off. The first error that nobody can mend
cancels everything and is raised alone, without the group around it.

A source that fails ends only its own streams; the others go on, and the report names it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from stream.clock import seconds
from stream.errors import SourceError, TonewatchError
from stream.events import NODE, Health, LaneHealth
from stream.listener import Listener, ModelLane, Seat, SpeechLane
from stream.pool import Lane, LaneStatistics
from stream.publisher import Publisher
from stream.resampling import labels, select
from stream.rolling.conversation import Conversation
from stream.rolling.profiles import Voice
from stream.settings import Settings
from stream.types import (
    Block,
    Ensemble,
    Interruption,
    Model,
    Scores,
    Sink,
    Source,
    SpeechDetector,
    Task,
    Window,
)

log = logging.getLogger(__name__)

ORDER = (Task.IDENTITY, Task.SPEAKER, Task.EMOTION)
"""Who is asked first about windows that end together: whose emotion it is must be known before it is told."""

SPEECH_BATCH = 256
"""Streams whose speech is judged in one pass at most."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `failures` are sources that broke; `cut_off` says that the grace ran out."""

    health: Health
    failures: tuple[SourceError, ...]
    cut_off: bool


class Pipeline:
    """One run: sources in, events out. `prepare` is called once in every worker thread, with its BLAS threads."""

    def __init__(
        self,
        *,
        settings: Settings,
        sources: Sequence[Source],
        models: Sequence[Model],
        detector: SpeechDetector,
        sinks: Mapping[str, Sink],
        ensembles: Sequence[Ensemble] = (),
        enrolled: Sequence[Voice] = (),
        prepare: Callable[[int], None] = lambda threads: None,  # noqa: ARG005
    ) -> None:
        self._settings = settings
        self._sources = tuple(sources)
        self._models = sorted(models, key=lambda model: ORDER.index(model.info.task))
        self._enrolled = tuple(enrolled)
        pool = settings.pool
        together = {model.info.name for ensemble in ensembles for model in ensemble.models}
        alone = [_Alone(model) for model in self._models if model.info.name not in together]
        parties: list[Ensemble] = [*ensembles, *alone]
        threads = pool.threads or max(1, (os.cpu_count() or 1) // (max(1, len(parties)) * pool.workers))
        self._seats: dict[str, Seat] = {}
        for party in parties:
            lane: ModelLane = Lane(
                name="+".join(model.info.name for model in party.models),
                infer=party.infer,
                key=lambda window: len(window.samples),
                workers=pool.workers,
                max_batch=pool.max_batch,
                max_wait_s=pool.max_wait_ms / 1000,
                deadline_s=pool.deadline_ms / 1000,
                capacity=pool.queue_windows,
                prepare=partial(prepare, threads),
            )
            self._seats |= {model.info.name: (lane, place) for place, model in enumerate(party.models)}
        in_order = (self._seats[model.info.name][0] for model in self._models)
        self._lanes: tuple[ModelLane, ...] = tuple(dict.fromkeys(in_order))
        self._hops_s = {self._seats[m.info.name][0].name: seconds(m.spec.hop_samples) for m in self._models}
        self._before: dict[str, LaneStatistics] = {}  # each lane at the last pulse
        self._speech: SpeechLane = Lane(
            name="speech",
            infer=detector.infer,
            key=lambda request: len(request.samples),
            max_batch=SPEECH_BATCH,
            capacity=1,
            prepare=partial(prepare, 1),  # its products are too small to share
        )
        self._publisher = Publisher(
            sinks=sinks,
            models=[model.info for model in self._models],
            policy="drop_oldest" if any(source.live for source in sources) else "wait",
        )
        self._listeners: list[Listener] = []
        self._failures: list[SourceError] = []
        self._began_s = 0.0
        self._main: asyncio.Task[Report] | None = None
        self._cut_off = False

    def stop(self) -> None:
        """End all sources as if their sound had ended; after `grace_s` cut off what is left."""
        for source in self._sources:
            source.stop()
        asyncio.get_running_loop().call_later(self._settings.grace_s, self._cut)

    async def run(self) -> Report:
        """Run until the sources end or `stop()` is called. Raises the first error that could not be mended."""
        self._main = asyncio.current_task()
        self._began_s = time.monotonic()
        try:
            await self._with_sinks()
        except BaseExceptionGroup as group:
            raise _first(group) from group
        except asyncio.CancelledError:
            if not self._cut_off:
                raise
            log.warning("the stop took longer than %g s; what was left is cut off", self._settings.grace_s)
        return Report(self.health(), tuple(self._failures), self._cut_off)

    def health(self) -> Health:
        """Statistics of this moment."""
        elapsed_s = time.monotonic() - self._began_s
        audio_s = sum(seconds(listener.end_sample) for listener in self._listeners)
        lanes = [lane.statistics() for lane in self._lanes]
        busy_s = elapsed_s
        if any(source.paced for source in self._sources):  # most of the time is spent waiting for sound
            busy_s = sum(lane.busy_s for lane in (self._speech.statistics(), *lanes))
        median_ms, slow_ms = self._publisher.percentiles_ms()
        return Health(
            end_s=round(elapsed_s, 3),
            streams=len(self._listeners),
            audio_s=round(audio_s, 3),
            speech_s=round(sum(seconds(listener.speech_samples) for listener in self._listeners), 3),
            gated=sum(listener.windows_gated for listener in self._listeners),
            lanes=tuple(
                LaneHealth(
                    model=lane.name,
                    hop_ms=self._hop_ms(lane),
                    cut=lane.cut,
                    inferred=lane.inferred,
                    dropped=lane.dropped,
                    failed=lane.failed,
                    waiting=lane.waiting,
                    batches=lane.batches,
                    mean_batch=round(lane.inferred / lane.batches, 2) if lane.batches else 0.0,
                    inference_ms=round(lane.busy_s / lane.batches * 1000, 2) if lane.batches else 0.0,
                )
                for lane in lanes
            ),
            sinks=self._publisher.statistics(),
            latency_p50_ms=median_ms,
            latency_p95_ms=slow_ms,
            real_time_factor=round(busy_s / audio_s, 4) if audio_s else None,
            memory_mb=_memory_mb(),
        )

    def _hop_ms(self, lane: LaneStatistics) -> float | None:
        """How far apart windows were scored since the last pulse: drops stretch the hop that was set."""
        before = self._before.get(lane.name)
        inferred = lane.inferred - (before.inferred if before else 0)
        lost = lane.dropped + lane.failed - (before.dropped + before.failed if before else 0)
        return round(self._hops_s[lane.name] * 1000 * (inferred + lost) / inferred, 1) if inferred else None

    async def _with_sinks(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._publisher.drain(group)
            await self._with_pool()
            await self._publisher.publish(NODE, self.health())
            self._publisher.close()

    async def _with_pool(self) -> None:
        lanes: list[Lane[Any, Any]] = [self._speech, *self._lanes]
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                for number in range(lane.workers):
                    group.create_task(lane.work(), name=f"{lane.name} worker {number}")
            pulse = group.create_task(self._pulse(), name="health")
            await self._with_streams()
            pulse.cancel()
            for lane in lanes:
                lane.close()

    async def _with_streams(self) -> None:
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(self._listen(source), name=f"source {source.id}")
        if self._failures and not self._listeners:  # nothing was ever heard: there is no run to report on
            raise self._failures[0]

    async def _listen(self, source: Source) -> None:
        """One source from its first block to its last."""
        detail = "the sound has ended"
        try:
            async with asyncio.TaskGroup() as tellers, source.blocks() as blocks:
                listeners = self._open_listeners(source, tellers)
                sound = f"{source.format.rate_hz} Hz, {source.format.channels} channel(s)"
                for listener in listeners:
                    await listener.start(sound)
                try:
                    async for block in blocks:
                        await _pass_on(block, source, listeners)
                except SourceError as error:
                    detail = str(error)
                    self._failures.append(error)
                for listener in listeners:
                    await listener.finish(detail)
        except* SourceError as group:  # it could not even be opened
            self._failures += [error for error in _flatten(group) if isinstance(error, SourceError)]

    def _open_listeners(self, source: Source, tellers: asyncio.TaskGroup) -> list[Listener]:
        """A listener for each stream the source's channels make, each with a task that tells what it finds."""
        opened = []
        for label in labels(source.channels, source.format.channels):
            source_id = f"{source.id}-{label}" if label else source.id
            if any(listener.source_id == source_id for listener in self._listeners):
                raise SourceError(f"two streams are called {source_id!r}; give each source an id of its own")
            listener = Listener(
                source_id=source_id,
                rate_hz=source.format.rate_hz,
                policy="drop_oldest" if source.live else "wait",
                paced=source.paced,
                settings=self._settings,
                models=self._models,
                lanes=self._seats,
                speech=self._speech,
                conversation=Conversation(
                    settings=self._settings, models=[model.info for model in self._models], enrolled=self._enrolled
                ),
            )
            self._publisher.open(listener.source_id, listener.arrivals)
            tellers.create_task(listener.tell(self._publisher), name=f"tell {listener.source_id}")
            opened.append(listener)
        self._listeners += opened
        return opened

    async def _pulse(self) -> None:
        """Tell the node's health every `health_s`."""
        while True:
            await asyncio.sleep(self._settings.health_s)
            await self._publisher.publish(NODE, self.health())
            self._before = {lane.name: lane.statistics() for lane in self._lanes}

    def _cut(self) -> None:
        if self._main is not None and not self._main.done():
            self._cut_off = True
            self._main.cancel()


class _Alone:
    """One model as an ensemble of its own."""

    def __init__(self, model: Model) -> None:
        self.models = (model,)

    def infer(self, batch: Sequence[Window]) -> list[tuple[Scores]]:
        return [(scores,) for scores in self.models[0].infer(batch)]


async def _pass_on(block: Block | Interruption, source: Source, listeners: Sequence[Listener]) -> None:
    if isinstance(block, Interruption):
        for listener in listeners:
            await listener.interrupt(block.state, block.reason)
        return
    now_s = time.monotonic()
    sounds = select(block.samples, source.channels)
    if len(listeners) == 1:  # a group of tasks would cost more than the push itself
        await listeners[0].push(sounds[0], start_frame=block.start_frame, now_s=now_s)
        return
    async with asyncio.TaskGroup() as group:  # side by side, so that the channels' speech is judged in one pass
        for listener, sound in zip(listeners, sounds, strict=True):
            group.create_task(listener.push(sound, start_frame=block.start_frame, now_s=now_s))


def _memory_mb() -> float | None:
    """Resident memory of this process, where /proc tells it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read at every pulse
            return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    except (OSError, ValueError):
        return None


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show: one of ours if there is one."""
    errors = _flatten(group)
    return next((error for error in errors if isinstance(error, TonewatchError)), errors[0])
