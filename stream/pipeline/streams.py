"""The registry of live streams: opens and closes their records, keeps names unique, and adds up what they processed.

A stream that is no call's track is scored by all models. The track of a party needs no model that identifies speakers,
and its emotion is scored only where that is allowed: always for the customer, for the agent if `calls.agent_emotion` is
set.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream.audio.channels import PARTIES, ChannelSelector, channel_labels
from stream.calls.alert_rules import RuleTracker
from stream.calls.current_alerts import CurrentAlerts
from stream.calls.tracker import CallTracker
from stream.clock import ArrivalLog, ClockDrift, SampleClock, steady_s
from stream.errors import SourceError
from stream.events import NODE, ModelRef, Party
from stream.inference.batching import InferenceLane
from stream.inference.pool import LaneSlot, SpeechLane
from stream.pipeline.live_stream import EventStream, LiveCall, LiveStream, model_refs
from stream.pipeline.processor import StreamProcessor
from stream.pipeline.publisher import Publisher
from stream.profiles.profile import FittedCalibration
from stream.settings import Settings
from stream.tracking.party_tracker import TURN_SPEC, PartyTracker
from stream.tracking.stream_tracker import StreamTracker
from stream.tracking.voice import Voice
from stream.types import Block, Interruption, Model, ModelInfo, Source, Task

log = logging.getLogger(__name__)

MAX_REMEMBERED_STREAMS = 4_096
"""Closed streams whose sequence numbers are kept, so that a stream that is opened again continues them."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all streams ever opened, in streams, samples and windows."""

    streams: int = 0
    audio: int = 0
    speech: int = 0
    gated: int = 0

    def plus(self, stream: LiveStream) -> Totals:
        """Return the sums with one more stream."""
        progress = stream.progress
        return Totals(
            self.streams + 1,
            self.audio + progress.audio,
            self.speech + progress.speech,
            self.gated + progress.gated,
        )


class StreamRegistry:
    """The sources, streams and calls of a run.

    A source is registered first, which reserves the parties of its call; its streams are opened once its audio format
    is known; each is closed after its last event.

    Args:
        settings: Settings of gate, tracking and calls.
        models: In the order in which they are asked about windows that end at the same sample.
        slots: Where each model is asked, by its name.
        speech_lane: The speech detector's lane.
        publisher: Publishes the events of calls whose last track ends.
        enrolled: Enrolled voices.
        calibration: Calibration of the speaker model, fitted on the enrolled voices.
        alerts: Conditions of alerts, which may change; None for those of the settings.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        models: Sequence[Model],
        slots: Mapping[str, LaneSlot],
        speech_lane: SpeechLane,
        publisher: Publisher,
        enrolled: Sequence[Voice] = (),
        calibration: FittedCalibration | None = None,
        alerts: CurrentAlerts | None = None,
    ) -> None:
        self._settings = settings
        self._alerts = alerts or CurrentAlerts(settings.alerts)
        self._models, self._slots, self._speech_lane = tuple(models), slots, speech_lane
        self._publisher = publisher
        self._enrolled = tuple(enrolled)
        self._calibration = calibration
        self._sources: list[Source] = []
        self._streams: dict[str, LiveStream] = {}
        self._calls: dict[str, LiveCall] = {}
        self._last_seq: OrderedDict[str, int] = OrderedDict()  # of closed streams
        self._closed = Totals()
        self.node = EventStream(name=NODE, clock=SampleClock.starting(time.time()))

    @property
    def sources(self) -> tuple[Source, ...]:
        """The registered sources, in order."""
        return tuple(self._sources)

    @property
    def streams(self) -> tuple[LiveStream, ...]:
        """The open streams, in the order in which they were opened."""
        return tuple(self._streams.values())

    def find(self, name: str) -> LiveStream | None:
        """Return the open stream called `name`."""
        return self._streams.get(name)

    def of(self, source: Source) -> list[LiveStream]:
        """Return the open streams of a source."""
        return [stream for stream in self._streams.values() if stream.source is source]

    def named(self, name: str) -> list[LiveStream]:
        """Return the open streams of the sources whose id is `name`, or the one stream of that name."""
        return [stream for stream in self._streams.values() if name in (stream.name, stream.source.id)]

    def is_name_taken(self, name: str) -> bool:
        """Return whether a source, a stream, a call or the node has this name."""
        tracks = (f"{name}-customer", f"{name}-agent")
        if name == NODE or name in self._calls or any(one in self._streams for one in (name, *tracks)):
            return True
        return any(source.id == name for source in self._sources)

    def active_in(self, lane: InferenceLane[Any, Any]) -> int:
        """Return the number of streams that still submit to `lane`."""
        return sum(lane in stream.lanes for stream in self._streams.values())

    def totals(self) -> Totals:
        """Return the sums over all streams ever opened."""
        totals = self._closed
        for stream in self._streams.values():
            totals = totals.plus(stream)
        return totals

    def register(self, sources: Sequence[Source]) -> None:
        """Add sources and reserve the parties of their calls; tracks of one call are best registered together.

        Raises `SourceError`, and registers none, if a party already has a track or the call's name is taken.
        """
        calls: dict[str, list[Party]] = {}
        for source in sources:
            if source.channels in PARTIES:
                calls.setdefault(source.id, []).extend(PARTIES[source.channels])
        for name, parties in calls.items():
            self._check_call(name, parties)
        for name, parties in calls.items():
            if name not in self._calls:
                self._calls[name] = LiveCall(
                    name=name, tracker=CallTracker(settings=self._settings, alerts=self._alerts)
                )
            for party in parties:
                self._calls[name].join(party)
        self._sources += sources

    def unregister(self, source: Source) -> None:
        """Remove a source whose streams are closed."""
        self._sources.remove(source)

    def open(self, source: Source) -> list[LiveStream]:
        """Open a stream for each channel or party of a registered source whose format is known.

        Raises `SourceError`, and opens none, if a name is taken or the channels do not fit the format.
        """
        names: dict[str, str] = {}
        for label in channel_labels(source.channels, source.format.channels):
            name = f"{source.id}-{label}" if label else source.id
            if name == NODE or name in self._streams or name in self._calls:
                raise SourceError(f"duplicate stream name {name!r}; give each source its own id")
            names[name] = label
        selector = ChannelSelector(
            source.channels, rate_hz=source.format.rate_hz, conditioning=self._settings.audio.conditioning
        )
        opened = {name: self._open_stream(source, name, label, selector) for name, label in names.items()}
        self._streams |= opened
        return list(opened.values())

    def close(self, stream: LiveStream) -> None:
        """Forget a stream that has ended; only its sequence number and its share of the totals are kept."""
        del self._streams[stream.name]
        self._closed = self._closed.plus(stream)
        self._remember(stream)
        del stream.processor  # it refers to the record: its buffers would wait for the garbage collector

    async def leave_call(self, stream: LiveStream) -> None:
        """Take the party of a stream whose last event is published out of its call, if it is a call's track."""
        if stream.call is not None and stream.party is not None:
            await self._leave(stream.call, stream.party)

    async def cancel_calls(self, source: Source) -> None:
        """Take the parties of a source that could not be opened out of their call."""
        for party in PARTIES.get(source.channels, ()):
            await self._leave(self._calls[source.id], party)

    def set_enrolled(
        self, enrolled: Sequence[Voice], *, stream: str | None, session_voice: str | None, name: str | None
    ) -> int:
        """Replace the enrolled voices of open and future streams; return the number of streams that have not ended.

        The `session_voice` of `stream`, if given, is from then on the enrolled voice `name`.
        """
        self._enrolled = tuple(enrolled)
        running = [one for one in self._streams.values() if not one.is_ended]
        for one in running:
            voice = session_voice if one.name == stream else None
            one.processor.tracker.set_enrolled(enrolled, session_voice=voice, name=name)
        return len(running)

    def set_calibration(self, calibration: FittedCalibration | None) -> None:
        """Replace the calibration of the speaker model in open and future streams; None for the model's own."""
        self._calibration = calibration
        for info in (model.info for model in self._models if model.info.task is Task.SPEAKER):
            for stream in self._streams.values():
                stream.processor.tracker.recalibrate(self._calibrated(info))

    def _check_call(self, name: str, parties: Sequence[Party]) -> None:
        call = self._calls.get(name)
        taken = set(parties) & call.parties if call is not None else set[Party]()
        taken |= {party for party in parties if parties.count(party) > 1}
        if taken:
            tracks = " and ".join(f"{'an' if party == 'agent' else 'a'} {party} track" for party in sorted(taken))
            raise SourceError(f"call {name!r} already has {tracks}; use another call name")
        if call is not None and not call.open_parties:
            raise SourceError(f"call {name!r} is ending; use another call name")
        if name == NODE or name in self._streams:
            raise SourceError(f"{name!r} is the name of an active stream; use another call name")

    def _open_stream(self, source: Source, name: str, label: str, selector: ChannelSelector) -> LiveStream:
        party = next((party for party in PARTIES.get(source.channels, ()) if party == label), None)
        has_emotion = party == "customer" or self._settings.calls.agent_emotion
        party_tasks: tuple[Task, ...] = (Task.EMOTION,) if has_emotion else ()
        tasks = tuple(Task) if party is None else party_tasks
        models = [model for model in self._models if model.info.task in tasks]
        slots = {model.info.name: self._slots[model.info.name] for model in models}
        infos = [self._calibrated(model.info) for model in models]
        arrivals = ArrivalLog(paced=source.paced)
        call = None if party is None else self._calls[source.id]
        stream = LiveStream(
            name=name,
            source=source,
            selector=selector,
            channel=label,
            party=party,
            rules=self._rules(name, source.id, party=party),
            call=call,
            clock=SampleClock.starting(_started_s(source)) if call is None else self._call_events(call, arrivals).clock,
            arrivals=arrivals,
            models=self._model_refs(tasks),
            lanes=(self._speech_lane, *dict.fromkeys(lane for lane, _ in slots.values())),
            next_seq=self._last_seq.pop(name, 0),
            drift=ClockDrift(steady_s()) if call is None and getattr(source, "has_own_clock", False) else None,
        )
        stream.processor = StreamProcessor(
            stream=stream,
            gate=self._settings.gate,
            conditioning=self._settings.audio.conditioning,
            ring_s=self._settings.ring_s,
            interim_s=self._settings.speakers.interim_s,
            models=models,
            slots=slots,
            speech_lane=self._speech_lane,
            tracker=StreamTracker(settings=self._settings, models=infos, enrolled=self._enrolled)
            if party is None
            else PartyTracker(settings=self._settings, models=infos, party=party),
            turn_spec=None if party is None else TURN_SPEC,
        )
        return stream

    def _call_events(self, call: LiveCall, arrivals: ArrivalLog) -> EventStream:
        """Return the event stream of a call; the first track opens it, and all tracks share its clock."""
        if call.events is None:
            call.events = EventStream(
                name=call.name,
                clock=SampleClock.starting(time.time()),
                arrivals=arrivals,
                models=self._model_refs((Task.EMOTION,)),
                call=call,
                rules=self._rules(call.name),
                next_seq=self._last_seq.pop(call.name, 0),
            )
        return call.events

    def _model_refs(self, tasks: Sequence[Task]) -> dict[str, tuple[ModelRef, ...]]:
        return model_refs([model.info for model in self._models], tasks)

    def _rules(self, *names: str, party: Party | None = None) -> RuleTracker | None:
        """Return what evaluates the rules for a stream or call; None if there are none."""
        return RuleTracker(alerts=self._alerts, names=names, party=party) if self._settings.alerts.rules else None

    def _calibrated(self, info: ModelInfo) -> ModelInfo:
        """Return `info` with the fitted calibration, if there is one and `info` is the speaker model's."""
        if self._calibration is None or info.task is not Task.SPEAKER:
            return info
        return self._calibration.applied(info)

    async def _leave(self, call: LiveCall, party: Party) -> None:
        """Take a party out of a call; the last one ends it and frees its name once its last event is published."""
        async with call.lock:
            if party not in call.open_parties:
                return
            call.open_parties.discard(party)
            await self._publisher.publish_call(call, call.tracker.leave(party))
            if not call.open_parties:
                del self._calls[call.name]
                if call.events is not None:
                    self._remember(call.events)
                    call.events = None  # it refers to the call

    def _remember(self, stream: EventStream) -> None:
        self._last_seq[stream.name] = stream.next_seq
        if len(self._last_seq) > MAX_REMEMBERED_STREAMS:
            self._last_seq.popitem(last=False)


def _started_s(source: Source) -> float:
    """Return the POSIX time of a source's frame 0: of what it has opened, unless it knows better."""
    started_s: float | None = getattr(source, "started_s", None)
    return time.time() if started_s is None else started_s


async def dispatch_block(block: Block | Interruption, streams: Sequence[LiveStream]) -> None:
    """Pass a block of a source, or its interruption, to the source's streams."""
    processors = [stream.processor for stream in streams]
    if isinstance(block, Interruption):
        for processor in processors:
            await processor.interrupt(block.state, block.reason, block.labels, block.call_change)
        return
    captured_s = time.monotonic() if block.captured_s is None else block.captured_s
    selector = streams[0].selector
    channels = selector.select(block.samples)
    if notice := selector.take_notice():
        log.warning("%s: %s", block.source_id, notice)
    if len(processors) == 1:  # a task group would cost more than the push itself
        await processors[0].push(channels[0], start_frame=block.start_frame, captured_s=captured_s)
        return
    async with asyncio.TaskGroup() as group:  # concurrently, so that the detector gets all channels in one batch
        for processor, channel in zip(processors, channels, strict=True):
            group.create_task(processor.push(channel, start_frame=block.start_frame, captured_s=captured_s))
