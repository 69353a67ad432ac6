"""The corridor: opens the rooms, lets sound through, and closes them in the order the data flows.

    source ──blocks──▶ Listener (ring, speech, windows) ──▶ lanes ──scores──▶ Listener (rolling) ──events──▶ sinks

Three task groups, one inside the other: sinks, then the pool's workers, then the streams. When the streams have ended
(by themselves, or because `stop()` ended their sources) the lanes are closed and run dry; then the sinks' queues are,
and the sinks say good-bye. A stop that takes longer than `shutdown_timeout_s` is cut off. The first error that nobody can mend
cancels everything and is raised alone, without the group around it.

A source that fails ends only its own streams; the others go on, and the report names it. A run that `stays` goes on
without any source until it is stopped: sources may join it at any time (`add`) and are forgotten when they have ended.

While it runs, `pause`, `resume`, `status`, `met` and `know` may be called from any task of the same loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stream.audio.channels import PARTIES, labels
from stream.clock import seconds
from stream.control.commands import NodeStatus, StreamStatus
from stream.errors import CommandRefused, SourceError, SourceNotFound, TonewatchError
from stream.events import NODE, HealthBody, Party, ProtocolHealth
from stream.inference.pool import InferencePool
from stream.pipeline.live_call import Switchboard
from stream.pipeline.live_stream import Opening, dispatch_block
from stream.pipeline.processor import StreamProcessor
from stream.pipeline.publisher import Publisher
from stream.profiles.profile import FittedCalibration
from stream.settings import Settings
from stream.tracking.voice import Voice
from stream.types import Ensemble, Model, Sink, Source, SpeechDetector, Task

log = logging.getLogger(__name__)

ORDER = (Task.IDENTITY, Task.OVERLAP, Task.SPEAKER, Task.EMOTION)
"""Who is asked first about windows that end together: whose emotion it is must be known before it is told."""


@dataclass(slots=True)
class _Past:
    """What streams that are forgotten add to the statistics, in samples and windows."""

    streams: int = 0
    audio: int = 0
    speech: int = 0
    gated: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `failures` are sources that broke; `cut_off` says that the grace ran out."""

    health: HealthBody
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
        calibration: FittedCalibration | None = None,
        prepare: Callable[[int], None] = lambda threads: None,  # noqa: ARG005
        stays: bool = False,
    ) -> None:
        self._settings = settings
        self._sources = list(sources)
        self._stays = stays
        self._stopping = asyncio.Event()
        self._streams: asyncio.TaskGroup | None = None
        self._past = _Past()
        self._models = sorted(models, key=lambda model: ORDER.index(model.info.task))
        self._lanes = InferencePool(
            settings=settings.pool, models=self._models, ensembles=ensembles, detector=detector, prepare=prepare
        )
        self._publisher = Publisher(
            sinks=sinks,
            models=[model.info for model in self._models],
            policy="drop_oldest" if stays or any(source.live for source in sources) else "wait",
        )
        self._board = Switchboard(settings=settings, publisher=self._publisher)
        self._opening = Opening(
            settings=settings,
            models=self._models,
            seats=self._lanes.seats,
            speech=self._lanes.speech,
            enrolled=enrolled,
            calibration=calibration,
            publisher=self._publisher,
            board=self._board,
        )
        self._listeners: list[StreamProcessor] = []
        self._heard_from: dict[str, str] = {}  # a stream's source
        self._failures: list[SourceError] = []
        self._began_s = 0.0
        self._main: asyncio.Task[Report] | None = None
        self._cut_off = False
        self._protocols: Callable[[], tuple[ProtocolHealth, ...]] = tuple

    def stop(self) -> None:
        """End all sources as if their sound had ended; after `shutdown_timeout_s` cut off what is left."""
        self._stopping.set()
        for source in self._sources:
            source.stop()
        asyncio.get_running_loop().call_later(self._settings.shutdown_timeout_s, self._cut)

    def add(self, *sources: Source) -> None:
        """Sources join the run; those that are tracks of one call must join together, or join a call that is on.

        Raises `SourceError` when the run is stopping, or a party is on the line already.
        """
        if self._streams is None or self._stopping.is_set():
            raise SourceError("this node takes no more streams: it is stopping, or has not begun")
        self._begin(sources, self._streams)

    def knows(self, name: str) -> bool:
        """Whether a source, a stream or a call goes by this name."""
        tracks = (f"{name}-customer", f"{name}-agent")
        named = any(one in self._heard_from for one in (name, *tracks))
        return name == NODE or named or name in self._board.calls or any(source.id == name for source in self._sources)

    def listens(self, protocols: Callable[[], tuple[ProtocolHealth, ...]]) -> None:
        """Sources come over the network; `protocols` says what came, for `health`."""
        self._protocols = protocols

    async def pause(self, source_id: str, *, detail: str = "asked to pause") -> None:
        """Throw the sound of a source (or of one stream of it) away until `resume`; open turns are ended.

        Returns when what was heard before is on its way. Raises `SourceNotFound`.
        """
        for listener in self._named(source_id):
            await listener.pause(detail)

    async def resume(self, source_id: str, *, detail: str = "asked to resume") -> None:
        """Listen to a source, or to one stream of it, again. Raises `SourceNotFound`."""
        for listener in self._named(source_id):
            await listener.resume(detail)

    def status(self) -> NodeStatus:
        """What every stream is doing at this moment."""
        return NodeStatus(
            up_s=round(time.monotonic() - self._began_s, 3) if self._began_s else 0.0,
            streams=tuple(
                StreamStatus(
                    source=self._heard_from[listener.source_id],
                    stream=listener.source_id,
                    paced=listener.paced,
                    state=listener.state,
                    audio_s=seconds(listener.end_sample),
                    speech_s=seconds(listener.speech_samples),
                )
                for listener in self._listeners
            ),
        )

    def met(self, source_id: str, name: str | None = None) -> tuple[str, Voice | None]:
        """The one stream of a source, and whom it calls so; for no name whoever speaks in it now.

        Raises `SourceNotFound`, and `CommandRefused` where the source has several streams.
        """
        found = [listener for listener in self._named(source_id) if listener.state != "ended"]
        if len(found) != 1:
            streams = ", ".join(listener.source_id for listener in found) or "none that is on"
            raise CommandRefused(f"{source_id!r} must be one stream that is on; there are: {streams}")
        return found[0].source_id, found[0].conversation.met(name)

    def know(
        self, enrolled: Sequence[Voice], *, stream: str | None = None, met: str | None = None, name: str | None = None
    ) -> int:
        """Enrolled people are these from now on, in every stream; returns how many streams are on.

        The voice `met` in that `stream`, if any, is the one called `name`.
        """
        self._opening.enrolled = tuple(enrolled)
        running = [listener for listener in self._listeners if listener.state != "ended"]
        for listener in running:
            here = listener.source_id == stream
            listener.conversation.know(enrolled, met=met if here else None, name=name)
        return len(running)

    def set_calibration(self, calibration: FittedCalibration | None) -> None:
        """Score voices by `calibration` (None: the speaker model's own) from the next window on, in every stream."""
        self._opening.calibration = calibration
        for info in (model.info for model in self._models if model.info.task is Task.SPEAKER):
            for listener in self._listeners:
                listener.conversation.recalibrate(self._opening.calibrated(info))

    def levels_dbfs(self) -> dict[str, float]:
        """How loud every stream is at this moment, by its name in events."""
        return {listener.source_id: listener.level_dbfs for listener in self._listeners}

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
            log.warning("the stop took longer than %g s; what was left is cut off", self._settings.shutdown_timeout_s)
        return Report(self.health(), tuple(self._failures), self._cut_off)

    def health(self) -> HealthBody:
        """Statistics of this moment."""
        elapsed_s = time.monotonic() - self._began_s
        past = self._past
        audio_s = seconds(past.audio) + sum(seconds(listener.end_sample) for listener in self._listeners)
        speech_s = seconds(past.speech) + sum(seconds(listener.speech_samples) for listener in self._listeners)
        busy_s = elapsed_s
        if self._stays or any(source.paced for source in self._sources):  # most of the time is spent waiting for sound
            busy_s = self._lanes.busy_s
        median_ms, slow_ms = self._publisher.percentiles_ms()
        return HealthBody(
            end_s=round(elapsed_s, 3),
            streams=past.streams + len(self._listeners),
            audio_s=round(audio_s, 3),
            speech_s=round(speech_s, 3),
            gated=past.gated + sum(listener.windows_gated for listener in self._listeners),
            lanes=self._lanes.health(),
            sinks=self._publisher.statistics(),
            protocols=self._protocols(),
            latency_p50_ms=median_ms,
            latency_p95_ms=slow_ms,
            real_time_factor=round(busy_s / audio_s, 4) if audio_s else None,
            memory_mb=_memory_mb(),
        )

    async def _with_sinks(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._publisher.drain(group)
            await self._with_pool()
            await self._publisher.publish(NODE, self.health())
            self._publisher.close()

    async def _with_pool(self) -> None:
        lanes = self._lanes.all
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
            sources, self._sources = self._sources, []
            self._begin(sources, group)
            if self._stays:
                self._streams = group
                await self._stopping.wait()
        if (
            self._failures and not self._listeners and not self._stays
        ):  # nothing was ever heard: there is no run to report on
            raise self._failures[0]

    def _begin(self, sources: Sequence[Source], group: asyncio.TaskGroup) -> None:
        calls: dict[str, list[Party]] = {}
        for source in sources:
            if source.channels in PARTIES:
                calls.setdefault(source.id, []).extend(PARTIES[source.channels])
        for call, parties in calls.items():
            self._board.expect(call, parties)
        for source in sources:
            self._sources.append(source)
            group.create_task(self._listen(source), name=f"source {source.id}")

    async def _listen(self, source: Source) -> None:
        """One source from its first block to its last."""
        detail, listeners = "the sound has ended", list[StreamProcessor]()
        try:
            async with asyncio.TaskGroup() as tellers, source.blocks() as blocks:
                listeners = self._open_listeners(source, tellers)
                sound = f"{source.format.rate_hz} Hz, {source.format.channels} channel(s)"
                for listener in listeners:
                    await listener.start(sound)
                try:
                    async for block in blocks:
                        await dispatch_block(block, source, listeners)
                except SourceError as error:
                    detail = str(error)
                    self._failures.append(error)
                for listener in listeners:
                    await listener.finish(detail)
        except* SourceError as group:  # it could not even be opened
            self._failures += [error for error in _flatten(group) if isinstance(error, SourceError)]
        if not listeners:
            for party in PARTIES.get(source.channels, ()):
                await self._board.leave(source.id, party)
        if self._stays:
            self._forget(source, listeners)

    def _forget(self, source: Source, listeners: Sequence[StreamProcessor]) -> None:
        """A source has ended; only what it adds to the statistics is kept."""
        self._sources.remove(source)
        for listener in listeners:
            self._publisher.close_feed(listener.source_id)
            self._listeners.remove(listener)
            del self._heard_from[listener.source_id]
            self._past.streams += 1
            self._past.audio += listener.end_sample
            self._past.speech += listener.speech_samples
            self._past.gated += listener.windows_gated

    def _open_listeners(self, source: Source, tellers: asyncio.TaskGroup) -> list[StreamProcessor]:
        """A listener for each stream the source's channels make, each with a task that tells what it finds."""
        opened = []
        for label in labels(source.channels, source.format.channels):
            source_id = f"{source.id}-{label}" if label else source.id
            if source_id in self._heard_from or source_id in self._board.calls:
                raise SourceError(f"two streams are called {source_id!r}; give each source an id of its own")
            parties = PARTIES.get(source.channels, ())
            listener = self._opening.listener(source, source_id, next((one for one in parties if one == label), None))
            tellers.create_task(listener.tell(self._publisher), name=f"tell {listener.source_id}")
            opened.append(listener)
        self._listeners += opened
        self._heard_from |= dict.fromkeys((listener.source_id for listener in opened), source.id)
        return opened

    def _named(self, source_id: str) -> list[StreamProcessor]:
        """The streams of a source, or the one stream of that name."""
        found = [
            listener
            for listener in self._listeners
            if source_id in (listener.source_id, self._heard_from[listener.source_id])
        ]
        if not found:
            there = ", ".join(dict.fromkeys(self._heard_from.values())) or "none yet"
            raise SourceNotFound(f"there is no source {source_id!r}; there are: {there}")
        return found

    async def _pulse(self) -> None:
        """Tell the node's health every `health_s`."""
        while True:
            await asyncio.sleep(self._settings.health_s)
            await self._publisher.publish(NODE, self.health())
            self._lanes.pulse()

    def _cut(self) -> None:
        if self._main is not None and not self._main.done():
            self._cut_off = True
            self._main.cancel()


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
