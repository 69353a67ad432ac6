"""Evaluation of the rules on the bodies of one stream or call: when they are raised, and when they end (pure).

Time is media time, so that the same audio raises the same alerts. A condition must hold for `for_s`, counted while
there is a value: while the model says nothing, as about arousal in silence, that time stands still, for `UNKNOWN_S` at
most. Rolling state holds on until the next event of its type. An alert ends once its condition has not held for
`alerts.clear_s`, and when its stream stops. What happens in a moment (a turn, a state of the stream) starts and ends
its alert at once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from stream.calls.current_alerts import CurrentAlerts
from stream.events import (
    AlertBody,
    Body,
    CallBody,
    EmotionBody,
    HealthBody,
    Party,
    RoomsBody,
    SpeakerBody,
    SpeakerResolvedBody,
    StreamBody,
    TurnBody,
)
from stream.events.fields import MOMENTARY, NAMES, FieldValue, values
from stream.settings import AlertRuleSettings

UNKNOWN_S = 30.0
"""Media time without a value after which a condition does not hold any more."""

DIGITS = 4
"""Decimal places of values."""

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}

Matches = tuple[FieldValue, ...]
"""The values of a body that compare as a rule says."""


@dataclass(slots=True)
class _RuleState:
    """What is known of one rule; times in seconds of media."""

    seen_s: float | None = None  # the newest check
    unknown_s: float = 0.0  # how long there has been no value
    held_s: float | None = None  # how long the condition has held; None while it does not
    clear_since_s: float | None = None  # since when it has not held, while an alert is active
    started: AlertBody | None = None  # the start of the active alert
    quiet_until_s: float = 0.0  # end of the cooldown


class RuleTracker:
    """The rules for one stream or call, which goes by any of `names`."""

    def __init__(self, *, alerts: CurrentAlerts, names: Collection[str], party: Party | None) -> None:
        self._alerts, self._names, self._party = alerts, frozenset(names), party
        self._states: dict[str, _RuleState] = {}
        self._latest: dict[str, Body] = {}  # rolling state, by type
        self._raised = 0

    def observe(self, body: Body) -> list[Body]:
        """Return the body with the alerts that start or end with it; before it if the stream stops with it."""
        if isinstance(body, AlertBody | HealthBody | RoomsBody | SpeakerResolvedBody):
            return [body]
        if isinstance(body, StreamBody) and body.state == "gap":
            for state in self._states.values():
                state.seen_s = None if state.seen_s is None else body.end_s  # lost audio says nothing
        alerts = [] if _is_turn_start(body) else self._check_all(body, body.end_s)
        if _stops(body):
            return [*alerts, *self._close(body.end_s), body]
        if body.type not in MOMENTARY:
            self._latest[body.type] = body
        return [body, *alerts]

    def advance(self, at_s: float) -> list[AlertBody]:
        """Return the alerts that start or end by `at_s`: rolling state holds on until an event says something new."""
        return [alert for body in self._latest.values() for alert in self._check_all(body, at_s)]

    def _check_all(self, body: Body, at_s: float) -> list[AlertBody]:
        return [
            alert
            for rule in self._alerts.settings.rules
            if rule.field.partition(".")[0] == body.type and self._applies(rule)
            for alert in (self._check if rule.enabled else self._disable)(
                rule, self._states.setdefault(rule.name, _RuleState()), body, at_s
            )
        ]

    @staticmethod
    def _disable(rule: AlertRuleSettings, state: _RuleState, body: Body, at_s: float) -> list[AlertBody]:  # noqa: ARG004 - as `_check`
        """Forget what is known of a rule that was disabled; end its alert."""
        state.held_s = state.seen_s = None
        return [] if state.started is None else [_end(state, at_s, state.started.value)]

    def _applies(self, rule: AlertRuleSettings) -> bool:
        return (not rule.sources or not self._names.isdisjoint(rule.sources)) and rule.party in (None, self._party)

    def _check(self, rule: AlertRuleSettings, state: _RuleState, body: Body, at_s: float) -> list[AlertBody]:
        """Update one rule with the newest body of its field's type."""
        found = values(rule.field, body) if _is_by(rule.speaker, body) else None
        matches = tuple(one for one in found or () if COMPARISONS[rule.comparison](one, rule.value))
        elapsed_s = 0.0 if state.seen_s is None else max(0.0, at_s - state.seen_s)
        state.seen_s = at_s
        state.unknown_s = state.unknown_s + elapsed_s if found is None else 0.0
        if found is None and state.unknown_s < UNKNOWN_S:
            return []
        if body.type in MOMENTARY:
            return self._pulse(rule, state, body, matches)
        if not matches:
            state.held_s = None
            return self._clear(state, at_s, _number(found[0]) if found else 0.0)
        state.held_s = 0.0 if state.held_s is None else round(state.held_s + elapsed_s, 6)
        state.clear_since_s = None
        if state.started is None and state.held_s >= rule.for_s and at_s >= state.quiet_until_s:
            return [self._start(rule, state, body, matches[0], at_s)]
        return []

    def _clear(self, state: _RuleState, at_s: float, value: float) -> list[AlertBody]:
        """End an active alert whose condition has not held for `alerts.clear_s`."""
        if state.started is None:
            return []
        state.clear_since_s = at_s if state.clear_since_s is None else state.clear_since_s
        if at_s - state.clear_since_s < self._alerts.settings.clear_s:
            return []
        return [_end(state, at_s, value)]

    def _pulse(self, rule: AlertRuleSettings, state: _RuleState, body: Body, matches: Matches) -> list[AlertBody]:
        """Start and end an alert at once."""
        if not matches or body.end_s < state.quiet_until_s:
            return []
        start = self._start(rule, state, body, matches[0], body.end_s)
        return [start, _end(state, body.end_s, start.value)]

    def _start(
        self, rule: AlertRuleSettings, state: _RuleState, body: Body, value: FieldValue, at_s: float
    ) -> AlertBody:
        self._raised += 1
        state.quiet_until_s = at_s + rule.cooldown_s
        state.started = AlertBody(
            phase="start",
            alert=f"r{self._raised}",
            kind="rule",
            rule=rule.name,
            speaker=self._party,
            person=value if rule.field in NAMES and isinstance(value, str) else _person(body),
            detail=_detail(rule, value),
            start_s=at_s,
            end_s=at_s,
            value=_number(value),
            threshold=_number(rule.value),
        )
        return state.started

    def _close(self, at_s: float) -> list[AlertBody]:
        """End all active alerts, and begin anew."""
        ended = [_end(state, at_s, state.started.value) for state in self._states.values() if state.started is not None]
        self._latest.clear()
        self._states = {name: _RuleState(quiet_until_s=state.quiet_until_s) for name, state in self._states.items()}
        return ended


def _end(state: _RuleState, at_s: float, value: float) -> AlertBody:
    """Return the end of the active alert, which there is, and forget it."""
    assert state.started is not None  # noqa: S101 - checked by the callers
    ended = state.started.model_copy(
        update={"phase": "end", "end_s": max(at_s, state.started.start_s), "value": value, "detail": ""}
    )
    state.started = state.clear_since_s = None
    return ended


def _stops(body: Body) -> bool:
    """Whether no audio follows this body for now."""
    if isinstance(body, CallBody):
        return body.phase == "final"
    return isinstance(body, StreamBody) and body.state in ("stalled", "paused", "ended")


def _is_turn_start(body: Body) -> bool:
    """Whether the body is a turn of which little is known yet."""
    return isinstance(body, TurnBody) and body.phase == "start"


def _is_by(speaker: str, body: Body) -> bool:
    """Whether an event is about a speaker; every one is if `speaker` is empty."""
    if not speaker:
        return True
    if isinstance(body, SpeakerBody):
        return any(one.speaker == speaker for one in body.speakers)
    return _person(body) == speaker


def _person(body: Body) -> str | None:
    return body.speaker if isinstance(body, EmotionBody | SpeakerBody | TurnBody) else None


def _number(value: FieldValue) -> float:
    return 1.0 if isinstance(value, str) else round(float(value), DIGITS)


def _detail(rule: AlertRuleSettings, value: FieldValue) -> str:
    """Return what was found and, for a number, with what it was compared."""
    if isinstance(value, bool):
        return f"{rule.field} is {'true' if value else 'false'}"
    if isinstance(value, str):
        return f"{rule.field} is {value}"
    lasting = f" for {rule.for_s:g} s" if rule.for_s else ""
    return f"{rule.field} {value:.4g} {rule.comparison} {rule.value:g}{lasting}"
