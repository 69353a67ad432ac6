"""One run: opens sources, streams, models and sinks, and shuts them down in the order in which data flows.

    source ──blocks──▶ StreamProcessor (buffer, speech, windows) ──▶ lanes ──scores──▶ StreamTracker ──events──▶ sinks

Three task groups, one inside the other: sinks, inference workers, streams. When all streams have ended (by themselves,
or because `stop()` ended their sources), the lanes are closed and emptied, then the sinks' queues, and the sinks close.
A shutdown that exceeds `shutdown_timeout_s` is cancelled. The first error that cannot be handled cancels everything and
is raised without the exception group around it.

A source that fails ends only its own streams, and the report names it. A run with `keep_running` goes on without
sources until it is stopped: sources may join at any time (`add`), and their streams are closed when they have ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from stream.calls.current_alerts import CurrentAlerts
from stream.clock import seconds
from stream.control.commands import NodeStatus
from stream.errors import CommandRefused, SourceError, SourceNotFound
from stream.events import Body, HealthBody, Outcome, ProtocolHealth
from stream.inference.pool import InferencePool
from stream.pipeline.failures import leaves, root_error, untraced
from stream.pipeline.live_stream import LiveStream, clock_shifts_s
from stream.pipeline.process_memory import resident_memory_mb
from stream.pipeline.publisher import Publisher
from stream.pipeline.streams import StreamRegistry, dispatch_block
from stream.profiles.profile import FittedCalibration
from stream.settings import Settings
from stream.tracking.voice import Voice
from stream.types import Block, ConnectedSource, Ensemble, Interruption, Model, Sink, Source, SpeechDetector, Task

log = logging.getLogger(__name__)

TASK_ORDER = (Task.OVERLAP, Task.IDENTITY, Task.SPEAKER, Task.EMOTION)
"""Order of the models for windows that end together: the speaker must be known before an emotion is attributed."""
BROKER_CHECK_S = 0.5  # between looks at the state of brokers


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `failures` are sources that failed; `timed_out` means that the shutdown was cancelled."""

    health: HealthBody
    failures: tuple[SourceError, ...]
    timed_out: bool


class Pipeline:
    """One run: sources in, events out.

    `thread_setup` is called once in every worker thread with the number of its BLAS threads; `calibration` is that of
    the speaker model, fitted on the `enrolled` voices; `keep_running` lets the run go on without sources until `stop`.
    """

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
        thread_setup: Callable[[int], None] = lambda threads: None,  # noqa: ARG005
        alerts: CurrentAlerts | None = None,
        keep_running: bool = False,
    ) -> None:
        self._settings = settings
        self._keep_running = keep_running
        self._initial_sources = tuple(sources)  # until they are registered
        models = sorted(models, key=lambda model: TASK_ORDER.index(model.info.task))
        self._pool = InferencePool(
            settings=settings.pool,
            models=models,
            ensembles=ensembles,
            detector=detector,
            thread_setup=thread_setup,
            active_in=lambda lane: self._registry.active_in(lane),  # noqa: PLW0108 - built below, from the pool
        )
        live = keep_running or any(source.live for source in sources)
        self._publisher = Publisher(sinks=sinks, policy="drop_oldest" if live else "wait")
        self._registry = StreamRegistry(
            settings=settings,
            models=models,
            slots=self._pool.slots,
            speech_lane=self._pool.speech_lane,
            publisher=self._publisher,
            enrolled=enrolled,
            calibration=calibration,
            alerts=alerts,
        )
        self._stopping = asyncio.Event()
        self._stream_tasks: asyncio.TaskGroup | None = None  # while sources may join
        self._accepts_sources = asyncio.Event()
        self._failures: list[SourceError] = []
        self._started_s, self._timed_out = 0.0, False
        self._main: asyncio.Task[Report] | None = None
        self._protocol_health: Callable[[], tuple[ProtocolHealth, ...]] = tuple

    @property
    def streams(self) -> tuple[LiveStream, ...]:
        """The records of all open streams."""
        return self._registry.streams

    @property
    def accepts_sources(self) -> bool:
        """Whether sources may join the run."""
        return self._accepts_sources.is_set() and not self._stopping.is_set()

    def stop(self) -> None:
        """End all sources as if their audio had ended; cancel what remains after `shutdown_timeout_s`."""
        self._stopping.set()
        for source in (*self._initial_sources, *self._registry.sources):
            source.stop()
        asyncio.get_running_loop().call_later(self._settings.shutdown_timeout_s, self._cancel)

    async def wait_until_accepting(self) -> None:
        """Wait until a run with `keep_running` accepts sources."""
        await self._accepts_sources.wait()

    def add(self, *sources: Source) -> None:
        """Let sources join the run; tracks of one call are added together, or join a call that is active.

        Raises `SourceError` if the run is not running, or if a party or name is taken.
        """
        if self._stream_tasks is None or not self.accepts_sources:
            raise SourceError("this node is not running; no stream can be added")
        self._start_sources(sources, self._stream_tasks)

    def is_name_taken(self, name: str) -> bool:
        """Return whether a source, a stream or a call has this name."""
        return self._registry.is_name_taken(name) or any(source.id == name for source in self._initial_sources)

    def set_protocol_health(self, provider: Callable[[], tuple[ProtocolHealth, ...]]) -> None:
        """Include the network listener's figures in `health`."""
        self._protocol_health = provider

    async def pause(self, source_id: str, *, detail: str = "asked to pause") -> None:
        """Discard the audio of a source, or of one of its streams, until `resume`; open turns end.

        Returns once the audio received before is queued for publishing. Raises `SourceNotFound`.
        """
        for processor in [stream.processor for stream in self._named(source_id)]:  # one may be closed meanwhile
            await processor.pause(detail)

    async def resume(self, source_id: str, *, detail: str = "asked to resume") -> None:
        """Process the audio of a source, or of one of its streams, again. Raises `SourceNotFound`."""
        for processor in [stream.processor for stream in self._named(source_id)]:  # one may be closed meanwhile
            await processor.resume(detail)

    def status(self) -> NodeStatus:
        """Return the state of every open stream."""
        return NodeStatus(
            up_s=round(time.monotonic() - self._started_s, 3) if self._started_s else 0.0,
            streams=tuple(stream.status() for stream in self._registry.streams),
        )

    def session_voice(self, source_id: str, name: str | None = None) -> tuple[str, Voice | None]:
        """Return the one stream of `source_id` and its voice called `name`, or the current speaker if `name` is None.

        Raises `SourceNotFound`, and `CommandRefused` unless the source has exactly one active stream.
        """
        active = [stream for stream in self._named(source_id) if not stream.is_ended]
        if not active:
            raise CommandRefused(f"{source_id!r} has no active stream; choose a source that is still running")
        if len(active) > 1:
            names = ", ".join(stream.name for stream in active)
            raise CommandRefused(f"{source_id!r} has several active streams ({names}); name one of them")
        return active[0].name, active[0].processor.tracker.session_voice(name)

    def set_enrolled(
        self,
        enrolled: Sequence[Voice],
        *,
        stream: str | None = None,
        session_voice: str | None = None,
        name: str | None = None,
    ) -> int:
        """Replace the enrolled voices in every stream; return the number of active streams.

        If given, `session_voice` of `stream` is the voice now enrolled as `name`.
        """
        return self._registry.set_enrolled(enrolled, stream=stream, session_voice=session_voice, name=name)

    def set_calibration(self, calibration: FittedCalibration | None) -> None:
        """Replace the calibration of the speaker model (None: the model's own) from the next window of every stream."""
        self._registry.set_calibration(calibration)

    def levels_dbfs(self) -> dict[str, float]:
        """Return the current level of every open stream, by its name in events."""
        return {stream.name: stream.processor.level_dbfs for stream in self._registry.streams}

    async def publish(self, body: Body) -> None:
        """Publish an event of the node itself."""
        await self._publisher.publish(self._registry.node, body)

    async def run(self) -> Report:
        """Run until the sources end or `stop()` is called. Raises the first error that cannot be handled."""
        self._main = asyncio.current_task()
        self._started_s = time.monotonic()
        try:
            await self._run_sinks()
        except BaseExceptionGroup as group:
            raise root_error(group) from group
        except asyncio.CancelledError:
            if not self._timed_out:
                raise
            log.warning(
                "shutdown took longer than %g s; remaining work was cancelled", self._settings.shutdown_timeout_s
            )
        return Report(self.health(), tuple(self._failures), self._timed_out)

    def health(self) -> HealthBody:
        """Return the current statistics."""
        elapsed_s = time.monotonic() - self._started_s
        totals = self._registry.totals()
        audio_s = seconds(totals.audio)
        is_paced = self._keep_running or any(source.paced for source in self._registry.sources)
        busy_s = self._pool.busy_s if is_paced else elapsed_s  # the rest is mostly waiting for audio
        median_ms, p95_ms = self._publisher.latency_percentiles_ms()
        return HealthBody(
            end_s=round(elapsed_s, 3),
            streams=totals.streams,
            audio_s=round(audio_s, 3),
            speech_s=round(seconds(totals.speech), 3),
            windows_gated=totals.gated,
            lanes=self._pool.health(),
            sinks=self._publisher.statistics(),
            protocols=self._protocol_health(),
            clock_shifts_s=clock_shifts_s(self._registry.streams),
            latency_p50_ms=median_ms,
            latency_p95_ms=p95_ms,
            real_time_factor=round(busy_s / audio_s, 4) if audio_s else None,
            memory_mb=resident_memory_mb(),
        )

    async def _run_sinks(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._publisher.start_sinks(group)
            await self._run_pool()
            await self.publish(self.health())
            self._publisher.close()

    async def _run_pool(self) -> None:
        async with asyncio.TaskGroup() as group:
            for lane in self._pool.lanes:
                for number in range(lane.workers):
                    group.create_task(lane.run_worker(), name=f"{lane.name} worker {number}")
            health = group.create_task(self._publish_health(), name="health")
            await self._run_streams()
            health.cancel()
            for lane in self._pool.lanes:
                lane.close()

    async def _run_streams(self) -> None:
        async with asyncio.TaskGroup() as group:
            sources, self._initial_sources = self._initial_sources, ()
            self._start_sources(sources, group)
            if self._keep_running:
                self._stream_tasks = group
                self._accepts_sources.set()
                await self._stopping.wait()
        if self._failures and not self._registry.streams and not self._keep_running:
            raise self._failures[0]  # no stream was ever opened: there is nothing to report

    def _start_sources(self, sources: Sequence[Source], group: asyncio.TaskGroup) -> None:
        self._registry.register(sources)
        for source in sources:
            group.create_task(self._run_source(source), name=f"source {source.id}")

    async def _run_source(self, source: Source) -> None:
        """Process one source from its first block to its last."""
        try:
            async with asyncio.TaskGroup() as group, source.blocks() as blocks:
                await self._process(blocks, self._open_streams(source, group))
        except* SourceError as errors:  # raised while opening
            self._failures += [untraced(error) for error in leaves(errors) if isinstance(error, SourceError)]
        streams = self._registry.of(source)
        if not streams:
            await self._registry.cancel_calls(source)
        if self._keep_running:
            for stream in streams:
                self._registry.close(stream)
            self._registry.unregister(source)

    def _open_streams(self, source: Source, group: asyncio.TaskGroup) -> list[LiveStream]:
        streams = self._registry.open(source)
        for stream in streams:
            group.create_task(self._publish_events(stream), name=f"events of {stream.name}")
        return streams

    async def _process(self, blocks: AsyncIterator[Block | Interruption], streams: Sequence[LiveStream]) -> None:
        source = streams[0].source
        for stream in streams:
            labels = source.labels if isinstance(source, ConnectedSource) else {}
            await stream.processor.start(f"{source.format.rate_hz} Hz, {source.format.channels} channel(s)", labels)
        failure: SourceError | None = None
        try:
            async for block in blocks:
                await dispatch_block(block, streams)
        except SourceError as error:
            failure = error
            self._failures.append(untraced(error))
        detail, outcome = self._ending(source, failure)
        for stream in streams:
            await stream.processor.finish(detail, outcome)

    def _ending(self, source: Source, failure: SourceError | None) -> tuple[str, Outcome]:
        """Return why and how the streams of a source have ended."""
        if failure is not None:
            return str(failure), "failed"
        if isinstance(source, ConnectedSource):
            return source.ending
        return "the sound has ended", "stopped" if self._stopping.is_set() else "finished"

    async def _publish_events(self, stream: LiveStream) -> None:
        await stream.processor.publish_events(self._publisher)
        await self._registry.leave_call(stream)

    def _named(self, source_id: str) -> list[LiveStream]:
        """Return the streams of a source, or the one stream of that name. Raises `SourceNotFound`."""
        found = self._registry.named(source_id)
        if not found:
            available = dict.fromkeys(stream.source.id for stream in self._registry.streams)
            raise SourceNotFound(f"unknown source {source_id!r}; available: {', '.join(available) or 'none'}")
        return found

    async def _publish_health(self) -> None:
        """Publish the node's health every `health_s`, and soon after a broker is reached or lost."""
        while True:
            left_s, brokers = self._settings.health_s, self._publisher.broker_states()
            while left_s > 0 and self._publisher.broker_states() == brokers:
                await asyncio.sleep(min(left_s, BROKER_CHECK_S))
                left_s -= BROKER_CHECK_S
            await self.publish(self.health())
            self._pool.start_interval()

    def _cancel(self) -> None:
        if self._main is not None and not self._main.done():
            self._timed_out = True
            self._main.cancel()
