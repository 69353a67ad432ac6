"""The record of a live stream, and of the call that it may be a track of.

Records are changed on the event loop only. Whoever needs to know about a stream holds a reference to its record, and
the `StreamRegistry` decides how long the record lives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stream.audio.channels import ChannelSelector
from stream.calls.alert_rules import RuleTracker
from stream.calls.tracker import CallTracker
from stream.clock import ArrivalLog, ClockDrift, SampleClock, seconds, steady_s
from stream.control.commands import StreamStatus
from stream.events import ModelRef, Party
from stream.inference.batching import InferenceLane
from stream.types import ModelInfo, Source, Task

if TYPE_CHECKING:
    from stream.pipeline.processor import StreamProcessor

StreamState = Literal["listening", "paused", "stalled", "ended"]

TASKS_BY_EVENT: Mapping[str, tuple[Task, ...]] = {
    "emotion": (Task.EMOTION,),
    "speaker": (Task.SPEAKER, Task.IDENTITY, Task.OVERLAP),
    "speaker_resolved": (Task.SPEAKER,),
    "turn": (Task.SPEAKER, Task.EMOTION),
    "call": (Task.EMOTION,),
    "alert": (Task.SPEAKER, Task.EMOTION),
}
"""The models that an event is based on, by its type."""


def model_refs(models: Sequence[ModelInfo], tasks: Collection[Task]) -> dict[str, tuple[ModelRef, ...]]:
    """Return, for each event type, the models among `models` that it is based on in a stream with these `tasks`."""
    return {
        kind: tuple(
            ModelRef(name=model.name, revision=model.revision)
            for task in needed
            for model in models
            if model.task is task and task in tasks
        )
        for kind, needed in TASKS_BY_EVENT.items()
    }


@dataclass(slots=True)
class Progress:
    """How far a stream has been processed."""

    audio: int = 0  # samples received, gaps included
    speech: int = 0  # samples of speech among them
    gated: int = 0  # windows that no model scored, for lack of speech
    advanced_s: float = field(default_factory=time.monotonic)  # when `audio` last grew, or was last expected to


@dataclass(slots=True, eq=False, kw_only=True, weakref_slot=True)
class EventStream:
    """One numbered sequence of events: of a live stream, of a call, or of the node itself."""

    name: str  # `source` in events
    clock: SampleClock
    arrivals: ArrivalLog | None = None
    models: Mapping[str, tuple[ModelRef, ...]] = field(default_factory=dict)  # by event type
    call: LiveCall | None = None
    party: Party | None = None
    rules: RuleTracker | None = None  # if there are any
    next_seq: int = 0


@dataclass(slots=True, eq=False, kw_only=True)
class LiveStream(EventStream):
    """One stream that is being processed: one channel of a source, or one party's track of a call."""

    source: Source
    selector: ChannelSelector  # of the source, shared by its streams
    channel: str  # the label of the channel within the source; empty if the source makes one stream
    arrivals: ArrivalLog
    lanes: tuple[InferenceLane[Any, Any], ...]  # to which it submits; empty once it has submitted its last window
    progress: Progress = field(default_factory=Progress)
    drift: ClockDrift | None = None  # of a source whose audio is dated by a clock of its own
    is_paused: bool = False
    is_stalled: bool = False
    is_held: bool = False  # paused by its source
    is_ended: bool = False
    processor: StreamProcessor = field(init=False)  # set by the registry, which builds it from this record

    @property
    def state(self) -> StreamState:
        """What the stream does now; `paused` hides `stalled`."""
        if self.is_ended:
            return "ended"
        if self.is_paused or self.is_held:
            return "paused"
        return "stalled" if self.is_stalled else "listening"

    def mark_arrival(self, end_sample: int, captured_s: float) -> None:
        """Record that audio up to `end_sample` was captured at the monotonic time `captured_s`."""
        self.arrivals.mark(end_sample, captured_s)
        if self.drift is not None and (
            shift_s := self.drift.mark(captured_s + steady_s() - time.monotonic(), end_sample)
        ):
            self.clock = self.clock.shifted(shift_s)

    @property
    def paced(self) -> bool:
        """Whether audio arrives at its own pace, as from a microphone."""
        return self.source.paced

    def status(self) -> StreamStatus:
        """Return the stream's row in the answer to the command `status`."""
        return StreamStatus(
            source=self.source.id,
            stream=self.name,
            paced=self.paced,
            state=self.state,
            audio_s=seconds(self.progress.audio),
            speech_s=seconds(self.progress.speech),
        )


def clock_shifts_s(streams: Iterable[LiveStream]) -> dict[str, float]:
    """Return by how much the time of each stream was corrected whose source has a clock of its own."""
    return {stream.name: round(stream.drift.shift_s, 3) for stream in streams if stream.drift is not None}


@dataclass(slots=True, eq=False, kw_only=True, weakref_slot=True)
class LiveCall:
    """One call: its parties and what both tracks contribute to.

    A call exists before the streams of its parties do, so that neither track runs ahead of a party that is still being
    connected. `lock` is held while the tracker is changed and its events are published, by one track at a time.
    """

    name: str
    tracker: CallTracker
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    parties: set[Party] = field(default_factory=set)  # all that ever joined
    open_parties: set[Party] = field(default_factory=set)  # those that have not left
    events: EventStream | None = None  # opened with the first track

    def join(self, party: Party) -> None:
        """Add a party whose track will be opened."""
        self.tracker.join(party)
        self.parties.add(party)
        self.open_parties.add(party)
