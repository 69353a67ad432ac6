"""The conditions of alerts as they are now: read from the settings, and changed while the node runs (pure)."""

from __future__ import annotations

from pydantic import ValidationError

from stream.errors import CommandRefused
from stream.events.fields import FieldValue
from stream.settings import AlertsSettings

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


class CurrentAlerts:
    """The conditions of all alerts of a node; every tracker reads them at each check."""

    def __init__(self, settings: AlertsSettings) -> None:
        self.settings = settings

    def change(self, name: str, value: FieldValue) -> FieldValue:
        """Set a condition of a built-in alert, or the value of a rule, and return the one before.

        Raises `CommandRefused` if there is none of that name, or the value cannot be.
        """
        rules = {rule.name: rule for rule in self.settings.rules}
        if name in rules:
            previous: FieldValue = rules[name].value
            changed = [rule.model_dump() | ({"value": value} if rule.name == name else {}) for rule in rules.values()]
            update: dict[str, object] = {"rules": changed}
        elif name in CHANGEABLE:
            previous, update = getattr(self.settings, name), {name: value}
        else:
            raise CommandRefused(f"there is no alert {name!r} to set; available: {', '.join((*CHANGEABLE, *rules))}")
        try:
            self.settings = AlertsSettings.model_validate(self.settings.model_dump() | update)
        except ValidationError as error:
            reason = str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
            raise CommandRefused(f"cannot set {name!r} to {value!r}: {reason[:1].lower()}{reason[1:]}") from None
        return previous
