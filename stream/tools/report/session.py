"""A finished call or stream, from its events (pure): what a report tells.

Unlike the wall nothing is forgotten here, but what is kept is small: turns, emotions, alerts, gaps, and the last
account. Times are seconds of media.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from stream.events import NODE, AlertEvent, CallEvent, EmotionEvent, Event, ModelRef, StreamEvent, TurnEvent


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A turn, as it ended: who (None: nobody known), from when to when, which share each emotion held."""

    who: str | None
    start_s: float
    end_s: float
    emotion: str | None
    emotions: dict[str, float]


@dataclass(frozen=True, slots=True)
class EmotionPoint:
    """A smoothed emotion at a moment; `probabilities` is empty in silence."""

    at_s: float
    who: str | None
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An alert from start to end."""

    kind: str
    who: str | None
    start_s: float
    end_s: float


@dataclass(slots=True)
class SessionRecord:
    """One call or stream of one session."""

    name: str
    session: str
    began: datetime | None = None
    end_s: float = 0.0
    turns: list[TurnRecord] = field(default_factory=list)
    felt: list[EmotionPoint] = field(default_factory=list)
    alerts: list[AlertRecord] = field(default_factory=list)
    gaps: list[tuple[float, float, str]] = field(default_factory=list)
    call: CallEvent | None = None
    models: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    _open_turns: dict[str, TurnEvent] = field(default_factory=dict)
    _open_alerts: dict[str, AlertEvent] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """One event more."""
        self.end_s = max(self.end_s, event.end_s)
        if self.began is None and isinstance(event, StreamEvent) and event.state == "started":
            self.began = event.time
        self._learn(event.models)
        if isinstance(event, TurnEvent):
            self._turn(event)
        elif isinstance(event, EmotionEvent):
            who = event.party or event.speaker
            self.felt.append(EmotionPoint(event.end_s, who, event.label, dict(event.probabilities)))
        elif isinstance(event, AlertEvent):
            self._alert(event)
        elif isinstance(event, CallEvent):
            self.call = event
            self.complete = self.complete or event.phase == "final"
        elif isinstance(event, StreamEvent) and event.state == "gap":
            self.gaps.append((event.start_s, event.end_s, event.detail))
        elif isinstance(event, StreamEvent) and event.state == "ended":
            self.complete = True

    def close(self) -> None:
        """There is no more: what is still open ends where the sound did."""
        for turn in self._open_turns.values():
            self.turns.append(
                TurnRecord(turn.party or turn.speaker, turn.start_s, max(turn.end_s, self.end_s), None, {})
            )
        for alert in self._open_alerts.values():
            self.alerts.append(AlertRecord(alert.kind, alert.speaker, alert.start_s, self.end_s))
        self._open_turns, self._open_alerts = {}, {}
        self.turns.sort(key=lambda turn: turn.start_s)
        self.alerts.sort(key=lambda alert: alert.start_s)

    @property
    def people(self) -> list[str | None]:
        """Who spoke, the customer first, then in the order they were first heard; nobody known comes last."""
        heard = list(dict.fromkeys(turn.who for turn in self.turns))
        return sorted(
            heard, key=lambda who: (who is None, {"customer": -2, "agent": -1}.get(str(who), heard.index(who)))
        )

    def talk_s(self, who: str | None) -> float:
        """How long somebody's turns were."""
        return sum(turn.end_s - turn.start_s for turn in self.turns if turn.who == who)

    def emotions(self, who: str | None) -> dict[str, float]:
        """Share of somebody's turns that each label held, largest first."""
        held: dict[str, float] = {}
        for turn in self.turns:
            if turn.who == who:
                for label, share in turn.emotions.items():
                    held[label] = held.get(label, 0.0) + share * (turn.end_s - turn.start_s)
        whole = sum(held.values())
        return {label: s / whole for label, s in sorted(held.items(), key=lambda one: -one[1])} if whole else {}

    def partition(self) -> list[tuple[str, float]]:
        """What the time was spent on, in seconds; the parts add up to the whole."""
        if self.call is not None:
            call = self.call
            return [
                ("customer", call.customer_s),
                ("agent", call.agent_s),
                ("both at once", call.crosstalk_s),
                ("silence", call.silence_s),
            ]
        talk = [(who or "unknown", self.talk_s(who)) for who in self.people]
        return [*talk, ("nobody", max(0.0, self.end_s - sum(s for _, s in talk)))]

    def _learn(self, models: tuple[ModelRef, ...]) -> None:
        self.models |= {model.name: model.revision for model in models}

    def _turn(self, event: TurnEvent) -> None:
        name = f"{event.source}/{event.turn}"
        if event.phase == "start":
            self._open_turns[name] = event
            return
        self._open_turns.pop(name, None)
        who = event.party or event.speaker
        self.turns.append(TurnRecord(who, event.start_s, event.end_s, event.emotion, dict(event.emotions)))

    def _alert(self, event: AlertEvent) -> None:
        if event.phase == "start":
            self._open_alerts[event.alert] = event
        else:
            self._open_alerts.pop(event.alert, None)
            self.alerts.append(AlertRecord(event.kind, event.speaker, event.start_s, event.end_s))


def recordings(told: Iterable[Event]) -> list[SessionRecord]:
    """Every call and stream there is, in the order they began; the tracks of a call are one."""
    found: dict[tuple[str, str], SessionRecord] = {}
    for event in told:
        if event.source == NODE:
            continue
        name = event.call or event.source
        recording = found.setdefault((event.session, name), SessionRecord(name, event.session))
        recording.take(event)
    for recording in found.values():
        recording.close()
    return list(found.values())
