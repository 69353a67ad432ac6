"""The entities with which Home Assistant sets the conditions of alerts: numbers, and a switch for each rule (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.settings import AlertsSettings, Settings
from stream.sinks.mqtt.components import Component, Device, literal, template

Limits = tuple[float, float, float, str]
"""Lowest and highest value, step and unit of a number."""

SHARE: Limits = (0, 1, 0.01, "")
SECONDS: Limits = (0.1, 3_600, 0.1, "s")

BUILT_IN: Mapping[str, Limits] = {
    "anger_on": SHARE,
    "anger_off": SHARE,
    "anger_arousal": SHARE,
    "anger_s": (0, 600, 0.1, "s"),
    "dead_air_s": SECONDS,
    "crosstalk_on": SHARE,
    "crosstalk_off": SHARE,
    "monologue_s": SECONDS,
    "clear_s": (0, 60, 0.1, "s"),
}
"""The conditions of built-in alerts that can be changed, within the limits of their settings."""

ANY: Limits = (-1_000, 86_400, 0.1, "")
"""Limits of the value of a rule, from a level to a duration."""


def conditions(device: Device) -> dict[str, Component]:
    """Return the components of a node that may change its alerts.

    The built-in alerts are those of calls: a node that takes none has rules only.
    """
    if not device.allows("set_alert"):
        return {}
    fields = AlertsSettings.model_fields
    components = {
        f"alert_{name}": _number(
            device, f"alert_{name}", (fields[name].description or name).strip(" …."), name=name, limits=limits,
            value=f"value_json.conditions.{name}",
        )
        for name, limits in BUILT_IN.items() if _takes_calls(device.settings)
    }  # fmt: skip
    for rule in device.settings.alerts.rules:
        key, state = f"rule_{rule.name.encode().hex()}", f"value_json.rules[{literal(rule.name)}]"
        components[key] = device.component(
            key, "switch", f"Alert: {rule.name}", icon="mdi:bell-cog", entity_category="config",
            payload_on=device.command(command="set_alert", name=rule.name, enabled=True),
            payload_off=device.command(command="set_alert", name=rule.name, enabled=False),
            state_on="ON", state_off="OFF", **_topics(device, f"'ON' if {state}.enabled else 'OFF'"),
        )  # fmt: skip
        if isinstance(rule.value, float):
            limits = SHARE if rule.field.startswith("emotion.") else ANY
            title = f"{rule.name}: {rule.field} {rule.comparison}"
            components[f"{key}_value"] = _number(
                device, f"{key}_value", title, name=rule.name, limits=limits, value=f"{state}.value"
            )
    return components


def _takes_calls(settings: Settings) -> bool:
    """Return whether calls can arrive: at a listener, or in a source with a customer or an agent."""
    return not settings.sources or any({"customer", "agent"} & {*one.channels.split("-")} for one in settings.sources)


def _number(device: Device, key: str, title: str, *, name: str, limits: Limits, value: str) -> Component:
    """Return a number that the command `set_alert` sets."""
    lowest, highest, step, unit = limits
    command = f"dict(command='set_alert', name={literal(name)}, value=value)"
    return device.component(
        key, "number", title, icon="mdi:tune-variant", entity_category="config", mode="box",
        min=lowest, max=highest, step=step, **({"unit_of_measurement": unit} if unit else {}),
        command_template="{{ " + command + " | tojson }}", **_topics(device, value),
    )  # fmt: skip


def _topics(device: Device, value: str) -> dict[str, Any]:
    return {
        "command_topic": device.topic("command"),
        "qos": 1,
        "retain": False,
        "state_topic": device.topic("conditions"),
        "value_template": template(value),
    }
