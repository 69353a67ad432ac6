"""The messages that a dashboard page receives, one frozen model each; they are JSON only on the WebSocket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_serializer

from stream.control.commands import CommandReply
from stream.events import CallBody, HealthEvent, Identity, Outcome, Party, Reason, SpeakerState
from stream.server.doors import Door
from stream.server.roles import Role

CardStatus = Literal["live", "paused", "stalled", "ended", "offline"]
StreamNoteState = Literal["started", "gap", "stalled", "paused", "resumed", "described", "ended"]


class View(BaseModel):
    """A part of a message; frozen, so that cards and messages can share it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> str:
        """Return compact JSON in ASCII: names may hold lone surrogates, which UTF-8 cannot encode."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), separators=(",", ":"))


class OtherSpeakerView(View):
    """Another person who speaks at the same time; `name` is None if it is not known who."""

    name: str | None
    enrolled: bool = False


class SpeakerView(View):
    """The foremost speaker: `name` is None in silence and for an unknown speaker; `since_s` is media time."""

    state: SpeakerState
    name: str | None
    enrolled: bool
    since_s: float
    others: tuple[OtherSpeakerView, ...] = ()


class EmotionView(View):
    """The current emotion of a stream, or of one party of a call."""

    label: str
    confidence: float
    since_s: float
    speaker: str | None
    probabilities: dict[str, float]
    party: Party | None
    arousal: float | None = None
    arousal_trend: float | None = None


class ShareView(View):
    """Seconds of one speaker ("" for unknown speakers), or of one part of a call."""

    name: str
    seconds: float


class AlertView(View):
    """An active alert."""

    alert: str
    kind: str
    label: str
    speaker: Party | None
    since_s: float


class RaisedAlert(View):
    """An alert as an object: its cause, when it began and ended, and what supervisors did with it.

    `card` is the key of its card, `about` who was on the call; `end_ms` is None while it lasts, or if its end never
    came. `snoozed_ms` is the time until which it is put off.
    """

    id: str
    card: str
    name: str
    about: dict[str, str]
    kind: str
    label: str
    speaker: Party | None
    cause: str
    start_ms: float
    end_ms: float | None = None
    acknowledged_ms: float | None = None
    snoozed_ms: float | None = None
    note: str = ""


class CallRecord(View):
    """An ended call, or stream, in the history."""

    id: str
    node: str
    name: str
    about: dict[str, str]
    start_ms: float
    end_ms: float
    outcome: str
    emotions: dict[str, float]
    alerts: dict[str, int]
    talk: dict[str, float]
    held_s: float = 0.0
    transfers: int = 0


class EndingView(View):
    """How a stream or call ended: `outcome` is None if its node did not say.

    `emotions` are shares of the scored speech, the largest first; `alerts` are numbers of alerts by display name.
    """

    outcome: Outcome | None
    text: str
    detail: str
    emotions: dict[str, float]
    alerts: dict[str, int]
    report: str = ""  # id of the report that is kept


class CardView(View):
    """One card of the wall.

    `about` is what is known of a call: caller, agent, queue. `received_ms` is the Unix time at which its newest event
    arrived; `talk` are seconds of speech by speaker, to whose sum the shares of speech refer (crosstalk counts for both
    parties). `started_ms` is the Unix time of media time 0, `silent_since_s` the media time at which speech last ended
    (None while a speaker is active), `trend` the newest emotions as (label, confidence in percent), or those of the
    whole of an ended stream, `reason` why the card needs attention.
    """

    key: str
    name: str
    node: str
    about: dict[str, str]
    kind: Literal["stream", "call"]
    state: CardStatus
    started_ms: float | None
    end_s: float
    received_ms: float
    speaker: SpeakerView
    emotion: EmotionView | None
    trend: tuple[tuple[str, int], ...]
    anger_trend: float | None
    shares: tuple[ShareView, ...]
    talk: tuple[ShareView, ...]
    silent_since_s: float | None
    alerts: tuple[AlertView, ...]
    latency_ms: float
    gaps: int
    lost_s: float
    attention: int
    reason: str
    ending: EndingView | None
    hold_since_ms: float | None  # of a call on hold
    held_s: float  # time on hold, over
    transfers: int


class TurnView(View):
    """One turn; `previous` is the name that a correction replaced."""

    id: str
    open: bool
    speaker: str | None
    start_s: float
    end_s: float
    emotion: str | None
    emotions: dict[str, float]
    previous: str | None = None

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_s - self.start_s


class PointView(View):
    """Smoothed emotion probabilities at one media time, in the order of `DetailView.labels`; None in silence."""

    time_s: float
    values: tuple[float, ...] | None
    label: str
    speaker: str | None


class DecisionView(View):
    """One decision about the speaker, with its evidence; fields as in the `speaker` event."""

    end_s: float
    state: SpeakerState
    speaker: str | None
    enrolled: bool
    best: str | None
    score: float | None
    runner_up: str | None
    margin: float | None
    threshold: float | None
    evidence_s: float
    reason: Reason
    identity: Identity | None
    mixed: bool
    probability: float | None


class _NoteView(View):
    time_s: float
    time: datetime
    source: str

    @field_serializer("time")
    def _rfc3339(self, time: datetime) -> str:
        return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class StreamNoteView(_NoteView):
    """A change of the stream's state, or a gap."""

    note: Literal["stream"] = "stream"
    state: StreamNoteState
    lost_s: float
    detail: str


class AlertNoteView(_NoteView):
    """An alert that started or ended."""

    note: Literal["alert"] = "alert"
    label: str
    phase: Literal["start", "end"]
    speaker: Party | None


class CorrectionNoteView(_NoteView):
    """A correction of the speaker: turns of `previous` that end after `since_s` belong to `speaker`."""

    note: Literal["correction"] = "correction"
    previous: str
    speaker: str
    since_s: float


NoteView = StreamNoteView | AlertNoteView | CorrectionNoteView


class DetailView(View):
    """One stream or call beside its card: what changed in its history after a serial number."""

    key: str
    serial: int
    labels: tuple[str, ...]
    models: dict[str, str]
    sources: tuple[str, ...]
    call: CallBody | None
    turns: tuple[TurnView, ...]
    points: tuple[PointView, ...]
    decisions: tuple[DecisionView, ...]
    notes: tuple[NoteView, ...]


class NodeHealthView(View):
    """One node: whether it is online, its version, and its newest `health` event, which arrived at `received_ms`."""

    node: str
    online: bool = True
    version: str = ""
    health: HealthEvent | None = None
    received_ms: float | None = None


class BrokerView(View):
    """The broker that the page's events come from: since when it is connected or not, and why not."""

    name: str
    connected: bool
    since_ms: float
    error: str = ""


class HelloMessage(View):
    """The first message; repeated when the capabilities change. They are those of the page's role."""

    t: Literal["hello"] = "hello"
    role: Role
    signed_in: bool  # by a token, so that one can sign out
    now_ms: int
    version: str
    commands: tuple[str, ...]
    microphone: str | None
    levels: bool
    labels: dict[str, dict[str, str]]
    about: Mapping[str, Any]
    doors: tuple[Door, ...]
    doors_need_token: bool


class WallUpdate(View):
    """The head of a snapshot (everything) or a delta (changes); the wall appends `cards` as JSON that it keeps."""

    t: Literal["snapshot", "delta"]
    version: int
    nodes: tuple[NodeHealthView, ...]
    broker: BrokerView | None
    removed: tuple[str, ...]


class DetailMessage(DetailView):
    """Detail of the stream that the page shows; `whole` replaces everything that the page has of it."""

    t: Literal["detail"] = "detail"
    whole: bool
    level: dict[str, float] | None


class LevelMessage(View):
    """Input levels of the stream that the page shows, in dBFS by source."""

    t: Literal["level"] = "level"
    key: str
    level: dict[str, float]


class AlertsMessage(View):
    """Alerts that changed; the first of a connection has all."""

    t: Literal["alerts"] = "alerts"
    alerts: tuple[RaisedAlert, ...]
    history: bool


class ReplyMessage(View):
    """The reply to a command."""

    t: Literal["reply"] = "reply"
    reply: CommandReply


class IdleMessage(View):
    """A heartbeat: the connection is open, nothing has changed."""

    t: Literal["idle"] = "idle"
