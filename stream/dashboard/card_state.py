"""What a card keeps of one session of its stream or call, and how events change it (pure)."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from stream.calls.ending import TrackEnd
from stream.calls.hold import Hold
from stream.dashboard.history import History
from stream.dashboard.overview import Overview
from stream.dashboard.recording import Recording
from stream.dashboard.speech_totals import SpeechTotals
from stream.dashboard.views import (
    AlertNoteView,
    AlertView,
    CardStatus,
    CorrectionNoteView,
    DecisionView,
    EmotionView,
    OtherSpeakerView,
    PointView,
    SpeakerView,
    StreamNoteView,
    TurnView,
)
from stream.events import (
    AlertEvent,
    CallEvent,
    EmotionEvent,
    Event,
    HealthEvent,
    RoomsEvent,
    SpeakerEvent,
    SpeakerResolvedEvent,
    StreamEvent,
    TurnEvent,
)
from stream.events.labels import alert_label

MAX_TREND_POINTS = 32

RECENT_LOSS_S = 30.0
"""Audio lost within this time of the newest event counts as lost recently."""

TrackEvent = SpeakerEvent | EmotionEvent | TurnEvent | StreamEvent | SpeakerResolvedEvent


@dataclass(slots=True)
class Track:
    """The newest state of one source of a card."""

    state: CardStatus = "live"
    speaker: SpeakerView | None = None
    emotion: EmotionView | None = None
    latency_ms: float = 0.0

    @property
    def is_speaking(self) -> bool:
        """Whether there is speech on this track."""
        return self.speaker is not None and self.speaker.state != "silence"


@dataclass(slots=True)
class CardState:
    """Rolling state, totals and history of one session."""

    session: str = ""
    first_event: str = ""  # its id
    report: str = ""  # id of the report, if there is one
    recording: Recording = field(default_factory=Recording)
    tracks: dict[str, Track] = field(default_factory=dict)
    started_ms: float | None = None
    end_s: float = 0.0
    silent_since_s: float | None = None
    call: CallEvent | None = None
    call_ended: bool = False
    totals: SpeechTotals = field(default_factory=SpeechTotals)
    open_turns: dict[str, TurnView] = field(default_factory=dict)
    alerts: OrderedDict[str, AlertView] = field(default_factory=OrderedDict)
    trend: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=MAX_TREND_POINTS))
    labels: tuple[str, ...] = ()
    models: dict[str, str] = field(default_factory=dict)
    gaps: int = 0
    lost_s: float = 0.0
    lost_at_s: float = -RECENT_LOSS_S
    about: dict[str, str] = field(default_factory=dict)  # caller, agent, queue
    ends: list[TrackEnd] = field(default_factory=list)
    emotions_s: dict[str, float] = field(default_factory=dict)  # of ended turns, by label
    hold: Hold = field(default_factory=Hold)
    overview: Overview = field(default_factory=Overview)
    history: History = field(default_factory=History)

    @property
    def ended(self) -> bool:
        """Whether the call, or every track, has ended."""
        tracks = self.tracks.values()
        return self.call_ended or (bool(tracks) and all(track.state == "ended" for track in tracks))

    @property
    def recent_loss(self) -> bool:
        """Whether audio was lost recently."""
        return self.end_s - self.lost_at_s < RECENT_LOSS_S

    def abandon(self) -> None:
        """End every track as cut."""
        self.call_ended, self.silent_since_s = True, None
        self.alerts.clear()
        self.open_turns.clear()
        for track in self.tracks.values():
            track.state, track.speaker, track.emotion = "ended", None, None
        self.ends.append(TrackEnd(party=None, outcome="cut", detail="", end_s=self.end_s))

    def apply(self, event: Event, serial: int) -> None:
        """Apply one event; what it changes in the history gets the serial number."""
        match event:
            case CallEvent():
                self._advance(event)
                self._on_call(event)
            case AlertEvent():
                self._advance(event)
                self._on_alert(event, serial)
            case HealthEvent() | RoomsEvent():
                pass
            case _:
                self._on_track_event(event, serial)

    def _on_track_event(self, event: TrackEvent, serial: int) -> None:
        track = self.tracks.setdefault(event.source, Track())
        if track.state == "ended" and isinstance(event, SpeakerEvent | EmotionEvent):
            return  # a broker may deliver rolling state after the end
        self._advance(event)
        self.models.update((model.name, model.revision) for model in event.models)
        match event:
            case SpeakerEvent():
                self._on_speaker(track, event, serial)
            case EmotionEvent():
                self._on_emotion(track, event, serial)
            case TurnEvent():
                self._on_turn(event, serial)
            case StreamEvent():
                self._on_stream(track, event, serial)
            case SpeakerResolvedEvent():
                self._on_correction(event, serial)

    def _advance(self, event: Event) -> None:
        self.end_s = max(self.end_s, event.end_s)
        self.started_ms = event.time.timestamp() * 1000 - event.end_s * 1000

    def _on_speaker(self, track: Track, event: SpeakerEvent, serial: int) -> None:
        before = track.speaker
        same = before is not None and (before.state, before.name) == (event.state, event.speaker)
        since_s = before.since_s if same and before is not None else event.end_s
        track.latency_ms = event.latency_ms
        others = tuple(OtherSpeakerView(name=one.speaker, enrolled=one.enrolled) for one in event.speakers[1:])
        track.speaker = SpeakerView(
            state=event.state, name=event.speaker, enrolled=event.enrolled, since_s=since_s, others=others
        )
        if any(one.is_speaking for one in self.tracks.values()):
            self.silent_since_s = None
        elif self.silent_since_s is None:
            self.silent_since_s = event.end_s
        if event.reason != "track":
            decision = DecisionView.model_validate({name: getattr(event, name) for name in DecisionView.model_fields})
            self.history.decisions.put(f"{event.source}/{event.end_s}", serial, decision)

    def _on_emotion(self, track: Track, event: EmotionEvent, serial: int) -> None:
        track.latency_ms = event.latency_ms
        track.emotion = EmotionView(
            label=event.label,
            confidence=event.confidence,
            since_s=event.since_s,
            speaker=event.speaker,
            probabilities=event.probabilities,
            party=event.party,
            arousal=event.arousal,
            arousal_trend=event.arousal_trend,
        )
        self.labels = tuple(event.probabilities) or self.labels
        if event.label != "silence":
            self.trend.append((event.label, round(100 * event.confidence)))
            self.overview.add(event.label, event.confidence)
        point = PointView(
            time_s=event.end_s,
            values=tuple(round(value, 3) for value in event.probabilities.values()) or None,
            label=event.label,
            speaker=event.party or event.speaker,
        )
        self.history.points.put(f"{event.source}/{event.end_s}", serial, point)

    def _on_turn(self, event: TurnEvent, serial: int) -> None:
        turn = TurnView(
            id=f"{event.source}/{event.turn}",
            open=event.phase == "start",
            speaker=event.party or event.speaker,
            start_s=event.start_s,
            end_s=event.end_s,
            emotion=event.emotion,
            emotions=event.emotions,
        )
        if turn.open:
            self.open_turns[turn.id] = turn
        else:
            self.open_turns.pop(turn.id, None)
            self.totals.add(turn.speaker or "", turn.seconds, turn.end_s)
            for label, share in event.emotions.items():
                self.emotions_s[label] = self.emotions_s.get(label, 0.0) + share * event.speech_s
        self.history.turns.put(turn.id, serial, turn)

    def _on_stream(self, track: Track, event: StreamEvent, serial: int) -> None:
        self.about.update(event.labels)
        self.hold.apply(event)
        match event.state:
            case "started" | "resumed":
                track.state = "live"
            case "gap":
                if event.detail != "paused":  # audio discarded on purpose is not lost
                    self.gaps += 1
                    self.lost_s += event.lost_s
                    self.lost_at_s = event.end_s
            case "stalled" | "paused" | "ended":
                track.state = event.state
                if event.state == "ended":
                    end = TrackEnd(party=event.party, outcome=event.outcome, detail=event.detail, end_s=event.end_s)
                    self.ends.append(end)
        if track.state != "live":
            track.speaker = track.emotion = None
        note = StreamNoteView(
            time_s=event.end_s,
            time=event.time,
            source=event.source,
            state=event.state,
            lost_s=event.lost_s,
            detail=event.detail,
        )
        self.history.notes.put(event.id, serial, note)

    def _on_correction(self, event: SpeakerResolvedEvent, serial: int) -> None:
        """Give the turns of the previous name from `start_s` on, and their seconds, to the speaker."""
        corrected = list[TurnView]()
        for name, entry in self.history.turns.entries.items():
            turn = entry.value
            if turn.speaker != event.previous or not (turn.open or turn.end_s > event.start_s):
                continue
            corrected.append(turn)
            entry.value = turn.model_copy(update={"speaker": event.speaker, "previous": event.previous})
            entry.serial = serial
            if name in self.open_turns:
                self.open_turns[name] = entry.value
        self.totals.correct(event.previous, event.speaker, event.start_s, corrected)
        note = CorrectionNoteView(
            time_s=event.end_s,
            time=event.time,
            source=event.source,
            previous=event.previous,
            speaker=event.speaker,
            since_s=event.start_s,
        )
        self.history.notes.put(event.id, serial, note)

    def _on_call(self, event: CallEvent) -> None:
        self.call = event
        self.silent_since_s = event.end_s - event.current_silence_s if event.state == "silence" else None
        for key in [key for key, alert in self.alerts.items() if alert.kind != "rule"]:  # rules are not in `alerts`
            del self.alerts[key]
        if event.phase == "final":
            self.call_ended = True
        for alert in () if self.call_ended else event.alerts:
            self.alerts[alert.alert] = AlertView(
                alert=alert.alert,
                kind=alert.kind,
                label=alert_label(alert.kind),
                speaker=alert.speaker,
                since_s=alert.since_s,
            )

    def _on_alert(self, event: AlertEvent, serial: int) -> None:
        key = event.alert if event.rule is None else f"{event.source}/{event.alert}"  # tracks number theirs alike
        label = alert_label(event.kind, event.rule)
        if event.phase == "start":
            self.alerts[key] = AlertView(
                alert=key, kind=event.kind, label=label, speaker=event.speaker, since_s=event.start_s
            )
        else:
            self.alerts.pop(key, None)
        note = AlertNoteView(
            time_s=event.end_s,
            time=event.time,
            source=event.source,
            label=label,
            phase=event.phase,
            speaker=event.speaker,
        )
        self.history.notes.put(event.id, serial, note)
