"""The conditions of alerts as they are now: read from the settings, and changed while the node runs (pure)."""

from __future__ import annotations

from pydantic import ValidationError

from stream.errors import CommandRefused
from stream.events.fields import FieldValue
from stream.settings import AlertsSettings
from stream.settings.alerts import CHANGEABLE


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
            update = self._with_rule(name, value=value)
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

    def enable(self, name: str, *, enabled: bool) -> bool:
        """Enable or disable a rule, and return its state before. Raises `CommandRefused` if there is none."""
        rules = {rule.name: rule for rule in self.settings.rules}
        if name not in rules:
            raise CommandRefused(f"there is no rule {name!r} to enable; available: {', '.join(rules) or 'none'}")
        self.settings = AlertsSettings.model_validate(
            self.settings.model_dump() | self._with_rule(name, enabled=enabled)
        )
        return rules[name].enabled

    def _with_rule(self, name: str, **changes: FieldValue) -> dict[str, object]:
        return {"rules": [rule.model_dump() | (changes if rule.name == name else {}) for rule in self.settings.rules]}
