"""Settings of alerts: conditions of the built-in ones of calls, and rules of one's own."""

from __future__ import annotations

import difflib
from typing import Literal

from pydantic import Field, model_validator

from stream.events import Party
from stream.events.fields import MOMENTARY, NAMES, FieldKind, FieldValue, WatchedField, field_names, find_field
from stream.settings.base import Branch, Fraction, Positive
from stream.settings.texts import PersonName

CHANGEABLE = (
    "anger_on",
    "anger_off",
    "anger_arousal",
    "anger_s",
    "dead_air_s",
    "crosstalk_on",
    "crosstalk_off",
    "monologue_s",
    "clear_s",
)
"""Conditions of built-in alerts that apply from the next check on."""

Comparison = Literal[">", ">=", "<", "<=", "==", "!="]


class AlertRuleSettings(Branch):
    """One rule: while the field's value compares as given, for long enough, an alert is raised."""

    name: PersonName = Field(description="Name of the rule, in events and wherever the alert is shown.")
    field: str = Field(description="Field of an event, such as emotion.arousal; docs/alerts.md lists them.")
    comparison: Comparison = Field("==", description="How the field compares with `value`.")
    value: float | bool | str = Field(True, description="What the field is compared with.")
    for_s: float = Field(0.0, ge=0, le=86_400, description="Media time for which the comparison must hold.")
    cooldown_s: float = Field(
        0.0, ge=0, le=604_800, description="Media time after a start in which the rule raises no further alert."
    )
    enabled: bool = Field(True, description="Whether the rule raises alerts; it can be changed while the node runs.")
    sources: tuple[str, ...] = Field((), description="Names of sources, streams or calls; empty: all.")
    party: Party | None = Field(None, description="Party of a call; unset: any stream.")
    speaker: str = Field("", description="Only events of this speaker count; empty: of anybody.")

    @model_validator(mode="after")
    def _check(self) -> AlertRuleSettings:
        field = find_field(self.field)
        if field is None:
            known = field_names()
            near = difflib.get_close_matches(self.field, known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            msg = f"rule {self.name!r}: there is no field {self.field!r}{hint}; fields: {', '.join(known)}"
            raise ValueError(msg)
        if issue := self._issue(field):
            msg = f"rule {self.name!r}: {issue}"
            raise ValueError(msg)
        return self

    def _issue(self, field: WatchedField) -> str:
        """Return what is wrong with the rule for a field, "" if nothing."""
        if _kind(self.value) != field.kind:
            return f"{self.field} is compared with {_EXAMPLES[field.kind]}, not {self.value!r}"
        if field.choices and self.value not in field.choices:
            return f"{self.field} is never {self.value!r}; it is one of {', '.join(field.choices)}"
        if field.kind != "number" and self.comparison not in ("==", "!="):
            return f"{self.field} is no number; use == or !="
        if field.type in MOMENTARY and self.for_s:
            return f"{self.field} is known at one moment and does not last; remove for_s"
        if self.speaker and field.type not in {name.partition(".")[0] for name in NAMES}:
            return f"{self.field} belongs to no speaker; remove speaker"
        return ""


_EXAMPLES: dict[FieldKind, str] = {
    "number": "a number",
    "text": 'text, such as "Alice"',
    "yes or no": "true or false",
}


def _kind(value: FieldValue) -> FieldKind:
    if isinstance(value, bool):
        return "yes or no"
    return "text" if isinstance(value, str) else "number"


class AlertsSettings(Branch):
    """Conditions of alerts: one is raised at `..._on`, and ends when its value stays below `..._off`."""

    rules: tuple[AlertRuleSettings, ...] = Field((), max_length=64, description="Rules of one's own, for any stream.")

    anger_on: Fraction = Field(0.6, description="Smoothed probability of anger that raises `anger` …")
    anger_off: Fraction = Field(0.4, description="… and below which it ends.")
    anger_arousal: Fraction = Field(
        0.5, description="Arousal that `anger` needs besides, with a model that gives it; 0: anger alone decides."
    )
    anger_s: float = Field(3.0, ge=0, le=600, description="Speech for which the anger must last.")
    dead_air_s: Positive = Field(10.0, description="Silence that raises `dead_air`; speech ends it.")
    crosstalk_on: Fraction = Field(0.2, description="Share of crosstalk that raises `crosstalk` …")
    crosstalk_off: Fraction = Field(0.1, description="… and below which it ends.")
    crosstalk_window_s: float = Field(30.0, ge=5, le=600, description="Time over which that share is computed.")
    monologue_s: Positive = Field(120.0, description="Uninterrupted time with the floor that raises `monologue`.")
    clear_s: float = Field(
        2.0, ge=0, le=60, description="Time that the value must stay below `off` for the alert to end."
    )

    @model_validator(mode="after")
    def _check(self) -> AlertsSettings:
        if self.anger_off > self.anger_on or self.crosstalk_off > self.crosstalk_on:
            msg = "an alert's off is above its on; lower off or raise on"
            raise ValueError(msg)
        names = [rule.name for rule in self.rules]
        if twice := next((name for name in names if names.count(name) > 1), None):
            msg = f"two rules are called {twice!r}; give each its own name"
            raise ValueError(msg)
        return self
