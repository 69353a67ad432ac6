"""A finished call or stream, reconstructed from its events (pure): the data of a report.

Unlike the dashboard's wall, nothing is discarded, but the data is small: turns, emotions, alerts, gaps, and the last
call event. Times are seconds of media time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from stream.calls.ending import TrackEnd, ending_text
from stream.calls.hold import Hold
from stream.events import NODE, AlertEvent, CallEvent, EmotionEvent, Event, ModelRef, StreamEvent, TurnEvent
from stream.events.labels import alert_label


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A finished turn: speaker (None: unknown), start, end, and the share of each emotion."""

    speaker: str | None
    start_s: float
    end_s: float
    emotion: str | None
    emotions: dict[str, float]


@dataclass(frozen=True, slots=True)
class EmotionPoint:
    """A smoothed emotion at a moment; `probabilities` is empty in silence."""

    at_s: float
    speaker: str | None
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An alert from start to end."""

    label: str
    speaker: str  # a party, `both`, or whom a rule was about
    start_s: float
    end_s: float


@dataclass(slots=True)
class SessionRecord:
    """One call or stream of one session."""

    name: str
    session: str
    started_at: datetime | None = None
    end_s: float = 0.0
    turns: list[TurnRecord] = field(default_factory=list)
    emotion_points: list[EmotionPoint] = field(default_factory=list)
    alerts: list[AlertRecord] = field(default_factory=list)
    gaps: list[tuple[float, float, str]] = field(default_factory=list)
    call: CallEvent | None = None
    models: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    labels: dict[str, str] = field(default_factory=dict)  # caller, agent, queue
    ends: list[TrackEnd] = field(default_factory=list)
    hold: Hold = field(default_factory=Hold)
    _open_turns: dict[str, TurnEvent] = field(default_factory=dict)
    _open_alerts: dict[tuple[str, str], AlertEvent] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Add an event."""
        self.end_s = max(self.end_s, event.end_s)
        if self.started_at is None and isinstance(event, StreamEvent) and event.state == "started":
            self.started_at = event.time
        if isinstance(event, StreamEvent):
            self.labels |= event.labels
            self.hold.apply(event)
        self._add_models(event.models)
        if isinstance(event, TurnEvent):
            self._add_turn(event)
        elif isinstance(event, EmotionEvent):
            speaker = event.party or event.speaker
            self.emotion_points.append(EmotionPoint(event.end_s, speaker, event.label, dict(event.probabilities)))
        elif isinstance(event, AlertEvent):
            self._add_alert(event)
        elif isinstance(event, CallEvent):
            self.call = event
            self.complete = self.complete or event.phase == "final"
        elif isinstance(event, StreamEvent) and event.state == "gap":
            self.gaps.append((event.start_s, event.end_s, event.detail))
        elif isinstance(event, StreamEvent) and event.state == "ended":
            self.complete = True
            self.ends.append(TrackEnd(event.party, event.outcome, event.detail, event.end_s))

    def close(self) -> None:
        """End the record: open turns and alerts end with the audio."""
        for turn in self._open_turns.values():
            self.turns.append(
                TurnRecord(turn.party or turn.speaker, turn.start_s, max(turn.end_s, self.end_s), None, {})
            )
        for alert in self._open_alerts.values():
            self.alerts.append(_alert_record(alert, self.end_s))
        self._open_turns, self._open_alerts = {}, {}
        self.turns.sort(key=lambda turn: turn.start_s)
        self.alerts.sort(key=lambda alert: alert.start_s)

    @property
    def title(self) -> str:
        """What a person calls it: the caller, if known."""
        return self.labels.get("caller_name") or self.labels.get("caller") or self.name

    @property
    def ending(self) -> str:
        """How it ended, "" if that is unknown."""
        return ending_text(self.ends) if any(end.outcome for end in self.ends) else ""

    @property
    def speakers(self) -> list[str | None]:
        """Speakers: the customer first, then in order of appearance, unknown speakers last."""
        speakers = list(dict.fromkeys(turn.speaker for turn in self.turns))
        return sorted(
            speakers,
            key=lambda speaker: (
                speaker is None,
                {"customer": -2, "agent": -1}.get(str(speaker), speakers.index(speaker)),
            ),
        )

    def speech_s(self, speaker: str | None) -> float:
        """Total duration of a speaker's turns."""
        return sum(turn.end_s - turn.start_s for turn in self.turns if turn.speaker == speaker)

    def emotions(self, speaker: str | None) -> dict[str, float]:
        """Share of each label in a speaker's turns, largest first."""
        duration_s: dict[str, float] = {}
        for turn in self.turns:
            if turn.speaker == speaker:
                for label, share in turn.emotions.items():
                    duration_s[label] = duration_s.get(label, 0.0) + share * (turn.end_s - turn.start_s)
        whole = sum(duration_s.values())
        return {label: s / whole for label, s in sorted(duration_s.items(), key=lambda one: -one[1])} if whole else {}

    def partition(self) -> list[tuple[str, float]]:
        """Divide the duration into parts, in seconds, that sum to the whole."""
        if self.call is not None:
            call = self.call
            return [
                ("customer", call.customer_s),
                ("agent", call.agent_s),
                ("both at once", call.crosstalk_s),
                ("silence", call.silence_s),
                *([("no audio", call.lost_s)] if call.lost_s else []),
            ]
        alone, several_s, spoken_s = self._alone()
        several = [("several at once", several_s)] if several_s else []
        speech = [(speaker or "unknown", alone[speaker]) for speaker in self.speakers]
        return [*speech, *several, ("no speaker", max(0.0, self.end_s - spoken_s))]

    def _alone(self) -> tuple[dict[str | None, float], float, float]:
        """Return the time of each speaker alone, of several at once, and of any speech."""
        alone, several_s, spoken_s = dict.fromkeys(self.speakers, 0.0), 0.0, 0.0
        edges = [
            (at_s, step, turn.speaker) for turn in self.turns for at_s, step in ((turn.start_s, 1), (turn.end_s, -1))
        ]
        edges.sort(key=lambda edge: edge[0])
        speaking: Counter[str | None] = Counter()
        for (at_s, step, speaker), (next_s, *_) in pairwise(edges):
            speaking[speaker] += step
            who = [name for name, turns in speaking.items() if turns > 0]
            spoken_s += (next_s - at_s) * bool(who)
            if len(who) == 1:
                alone[who[0]] += next_s - at_s
            elif who:
                several_s += next_s - at_s
        return alone, several_s, spoken_s

    def _add_models(self, models: tuple[ModelRef, ...]) -> None:
        self.models |= {model.name: model.revision for model in models}

    def _add_turn(self, event: TurnEvent) -> None:
        name = f"{event.source}/{event.turn}"
        if event.phase == "start":
            self._open_turns[name] = event
            return
        self._open_turns.pop(name, None)
        speaker = event.party or event.speaker
        self.turns.append(TurnRecord(speaker, event.start_s, event.end_s, event.emotion, dict(event.emotions)))

    def _add_alert(self, event: AlertEvent) -> None:
        if event.phase == "start":
            self._open_alerts[event.source, event.alert] = event
        else:
            self._open_alerts.pop((event.source, event.alert), None)
            self.alerts.append(_alert_record(event, event.end_s))


def _alert_record(alert: AlertEvent, end_s: float) -> AlertRecord:
    concerned = alert.speaker or alert.person or ("" if alert.rule else "both")
    return AlertRecord(alert_label(alert.kind, alert.rule), concerned, alert.start_s, end_s)


def session_records(events: Iterable[Event]) -> list[SessionRecord]:
    """Return the record of every call and stream, in order of appearance; a call includes its tracks."""
    records: dict[tuple[str, str], SessionRecord] = {}
    for event in events:
        if event.source == NODE:
            continue
        name = event.call or event.source
        record = records.setdefault((event.session, name), SessionRecord(name, event.session))
        record.add(event)
    for record in records.values():
        record.close()
    return list(records.values())
