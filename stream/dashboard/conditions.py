"""The conditions of alerts as supervisors see and set them."""

from __future__ import annotations

from typing import Literal

from stream.dashboard.views import View
from stream.events.fields import FieldValue
from stream.settings import AlertsSettings
from stream.settings.alerts import CHANGEABLE


class ConditionView(View):
    """One condition: `name` as in the command `set_alert`; only rules can be disabled."""

    name: str
    text: str
    value: FieldValue
    enabled: bool | None = None


class ConditionsMessage(View):
    """All conditions, sent when one has changed."""

    t: Literal["conditions"] = "conditions"
    conditions: tuple[ConditionView, ...]

    @classmethod
    def of(cls, settings: AlertsSettings) -> ConditionsMessage:
        """Return the conditions of the built-in alerts and of rules."""
        fields = AlertsSettings.model_fields
        built_in = [
            ConditionView(name=name, text=(fields[name].description or name).strip(" …"), value=getattr(settings, name))
            for name in CHANGEABLE
        ]
        rules = [
            ConditionView(
                name=rule.name,
                text=f"{rule.name}: {rule.field} {rule.comparison}",
                value=rule.value,
                enabled=rule.enabled,
            )
            for rule in settings.rules
        ]
        return cls(conditions=(*built_in, *rules))
