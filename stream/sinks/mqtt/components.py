"""The entities and triggers of each device in Home Assistant (pure).

A room (stream) has sensors for speaker, emotion, confidence, arousal and level, binary sensors for speech, strangers
and each person, event entities for turns and alerts, device triggers, and, as far as the commands are allowed, a switch
for listening and a text field to enrol the current voice. The node has diagnostics and a button; a call has the floor
and its alerts; a person where, when and how they were heard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stream.events import AlertKind, FloorState
from stream.settings import Settings

NOBODY = "nobody"
"""Value of the speaker sensor in silence."""

SOMEBODY = "somebody"
"""Value of the speaker sensor while an unknown speaker speaks."""

MAX_NAME_LENGTH = 64

MAX_STATE_LENGTH = 255
"""Longest state that Home Assistant accepts."""

Kind = Literal["stream", "track", "call"]
Component = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """A device's identifier and the topics of its states."""

    identifier: str
    prefix: str
    node_prefix: str
    settings: Settings

    def component(self, key: str, platform: str, name: str, **more: Any) -> Component:
        """Return an entity."""
        return {"platform": platform, "unique_id": f"{self.identifier}_{key}", "name": name, **more}

    def topic(self, leaf: str) -> str:
        """Return a topic of the device."""
        return f"{self.prefix}/{leaf}"

    def command(self, **command: Any) -> str:
        """Return a command as JSON."""
        return json.dumps(command, ensure_ascii=False, separators=(",", ":"))

    def allows(self, *commands: str) -> bool:
        """Return whether commands are allowed over MQTT."""
        return set(commands) <= set(self.settings.mqtt.commands)

    def value(self, field: str) -> str:
        """Return the template expression of an event's field."""
        base = "value_json.data" if self.settings.mqtt.payload == "cloudevents" else "value_json"
        return f"{base}.{field}" if field else base


def node(device: Device) -> dict[str, Component]:
    """Return the components of a node."""
    health = device.topic("health")
    figures: Sequence[tuple[str, str, str, str | None]] = (
        ("latency", "Latency", "latency_p95_ms", "ms"),
        ("memory", "Memory", "memory_mb", "MB"),
        ("streams", "Streams", "streams", None),
    )
    components = {
        key: device.component(
            key, "sensor", name, entity_category="diagnostic", state_class="measurement",
            state_topic=health, value_template=template(device.value(field)),
            expire_after=max(60, round(3 * device.settings.health_s)),
            **({"unit_of_measurement": unit} if unit else {}),
        )
        for key, name, field, unit in figures
    }  # fmt: skip
    if device.settings.rooms.enabled:
        components["rooms"] = _rooms(device)
    if device.allows("reload"):
        components["reload"] = device.component(
            "reload", "button", "Reload voices", icon="mdi:account-sync", entity_category="config",
            command_topic=device.topic("command"), payload_press=device.command(command="reload"), qos=1, retain=False,
        )  # fmt: skip
    return components


def _rooms(device: Device) -> Component:
    """Return the sensor of everyone who speaks and their rooms, with all that is known as its attributes."""
    topic, people = device.topic("rooms"), device.value("people")
    named = f"{{{{ (one.speaker or '{SOMEBODY}') ~ ': ' ~ one.source }}}}{{{{ '' if loop.last else ', ' }}}}"
    listed = f"{{% set shown %}}{{% for one in {people} %}}{named}{{% else %}}{NOBODY}{{% endfor %}}{{% endset %}}"
    cut = f"{{{{ shown[:{MAX_STATE_LENGTH}] }}}}"
    return device.component(
        "rooms", "sensor", "Who speaks where", icon="mdi:home-sound-in", state_topic=topic,
        value_template=f"{{% if value_json is defined %}}{listed}{cut}{{% else %}}None{{% endif %}}",
        json_attributes_topic=topic,
        json_attributes_template=template(f"dict(people={people}) | tojson", cleared="{}"),
    )  # fmt: skip


def call(device: Device) -> dict[str, Component]:
    """Return the components of a call."""
    floor = device.component(
        "floor", "sensor", "Floor", icon="mdi:phone-in-talk", device_class="enum",
        options=list(get_args(FloorState)), state_topic=device.topic("call"),
        value_template=template(device.value("state")),
    )  # fmt: skip
    return {"floor": floor, "alert": _phases(device, "alert", "mdi:alert-outline"), **_alert_triggers(device)}


def room(
    device: Device,
    *,
    source: str,
    kind: Kind,
    labels: Sequence[str],
    has_arousal: bool,
    has_alerts: bool,
    people: Sequence[str],
) -> dict[str, Component]:
    """Return the components of a stream, or of a party's track of a call, whose speaker is known."""
    models = device.settings.models
    components = {
        "turn": _phases(device, "turn", "mdi:account-clock"),
        "speech": _binary(device, "speech", "Somebody speaks", "value_json.speaking", device_class="sound"),
        "level": _figure(device, "level", "Level", "level_dbfs", unit="dBFS", icon="mdi:volume-medium"),
        **_triggers(device, "turn", {"start": "turn_started", "end": "turn_ended"}),
    }
    components["level"]["entity_category"] = "diagnostic"
    if models.emotion.name:
        options = {"device_class": "enum", "options": [*labels, "uncertain", "silence"]} if labels else {}
        components["emotion"] = device.component(
            "emotion", "sensor", "Emotion", icon="mdi:emoticon-outline", state_topic=device.topic("home"),
            value_template=template("value_json.emotion"), **options,
        )  # fmt: skip
        components["confidence"] = _figure(device, "confidence", "Confidence", "confidence", icon="mdi:percent")
    if has_arousal:
        components["arousal"] = _figure(device, "arousal", "Arousal", "arousal", icon="mdi:pulse")
    if has_alerts:
        components |= {"alert": _phases(device, "alert", "mdi:alert-outline"), **_alert_triggers(device)}
    if kind == "stream" and models.speaker.name:
        components |= _speakers(device, people)
    if device.allows("pause", "resume"):
        components["listening"] = device.component(
            "listening", "switch", "Listening", icon="mdi:ear-hearing",
            command_topic=f"{device.node_prefix}/command", qos=1, retain=False,
            payload_on=device.command(command="resume", source=source),
            payload_off=device.command(command="pause", source=source),
            state_topic=device.topic("state"), state_on="ON", state_off="OFF",
            value_template=template("'OFF' if value_json.state == 'paused' else 'ON'"),
        )  # fmt: skip
    if device.allows("enroll") and kind == "stream" and models.speaker.name:
        command = f"dict(command='enroll', source={literal(source)}, name=value)"
        components["enroll"] = device.component(
            "enroll", "text", "Enrol the current voice as", icon="mdi:account-plus", entity_category="config",
            command_topic=f"{device.node_prefix}/command", command_template="{{ " + command + " | tojson }}",
            min=1, max=MAX_NAME_LENGTH, qos=1, retain=False,
        )  # fmt: skip
    return components


def person(device: Device) -> dict[str, Component]:
    """Return the components of an enrolled person."""
    state = device.topic("state")
    return {
        "speaks": device.component(
            "speaks", "binary_sensor", "Speaks", device_class="sound", state_topic=state,
            value_template=_on_off("value_json.speaking"),
        ),
        "room": device.component(
            "room", "sensor", "Last heard in", icon="mdi:home-account", state_topic=state,
            value_template=template("value_json.source"),
        ),
        "heard": device.component(
            "heard", "sensor", "Last heard", device_class="timestamp", state_topic=state,
            value_template=template("value_json.heard"),
        ),
        "emotion": device.component(
            "emotion", "sensor", "Sounds", icon="mdi:emoticon-outline", state_topic=state,
            value_template=template("value_json.emotion or 'unknown'"),
        ),
        "location": device.component(
            "location", "device_tracker", "Location", icon="mdi:account-voice", source_type="router",
            state_topic=device.topic("location"),
        ),
    }  # fmt: skip


def _speakers(device: Device, people: Sequence[str]) -> dict[str, Component]:
    """Return the components for who speaks."""
    components = {
        "speaker": device.component(
            "speaker", "sensor", "Speaker", icon="mdi:account-voice", state_topic=device.topic("home"),
            value_template=template("value_json.speaker"),
        ),
        "speakers": device.component(
            "speakers", "sensor", "Speakers", icon="mdi:account-multiple", state_topic=device.topic("home"),
            value_template=template(f"value_json.speakers | join(', ') or '{NOBODY}'"),
            json_attributes_topic=device.topic("home"),
            json_attributes_template=template("dict(speakers=value_json.speakers) | tojson", cleared="{}"),
        ),
        "stranger": _binary(device, "stranger", "Stranger", "value_json.stranger", icon="mdi:account-question"),
    }  # fmt: skip
    for name in people:
        key = "speaks_" + name.encode().hex()
        expression = f"{literal(name)} in value_json.speakers"
        components[key] = _binary(device, key, f"{name} speaks", expression, icon="mdi:account-voice")
    return components


def _binary(device: Device, key: str, name: str, expression: str, **more: Any) -> Component:
    return device.component(
        key, "binary_sensor", name, state_topic=device.topic("home"), value_template=_on_off(expression), **more
    )


def _figure(device: Device, key: str, name: str, field: str, *, icon: str, unit: str = "%") -> Component:
    """Return a numeric sensor with long-term statistics."""
    return device.component(
        key, "sensor", name, icon=icon, unit_of_measurement=unit, state_class="measurement",
        suggested_display_precision=0, state_topic=device.topic("home"),
        value_template=template(f"value_json.{field} if value_json.{field} is not none else 'None'"),
    )  # fmt: skip


def _phases(device: Device, key: str, icon: str) -> Component:
    """Return an event entity for events with a start and an end phase."""
    value, phase = device.value(""), device.value("phase")
    return device.component(
        key, "event", key.capitalize(), icon=icon, event_types=["start", "end"], state_topic=device.topic(key),
        value_template="{{ dict(" + value + ", event_type=" + phase + ") | tojson }}",
    )  # fmt: skip


def _alert_triggers(device: Device) -> dict[str, Component]:
    value = f"{device.value('kind')} ~ ' ' ~ {device.value('phase')}"
    return _triggers(device, "alert", {f"{kind} start": f"alert_{kind}" for kind in get_args(AlertKind)}, value=value)


def _triggers(device: Device, leaf: str, types: Mapping[str, str], *, value: str = "") -> dict[str, Component]:
    """Return device triggers: for each payload the name of its type."""
    return {
        f"trigger_{kind}": {
            "platform": "device_automation",
            "automation_type": "trigger",
            "type": kind,
            "subtype": leaf,
            "topic": device.topic(leaf),
            "payload": payload,
            "value_template": template(value or device.value("phase")),
        }
        for payload, kind in types.items()
    }


def template(expression: str, *, cleared: str = "None") -> str:
    """Return a template; where a retained message is cleared, which leaves it empty, the state is unknown."""
    return "{{ " + f"({expression}) if value_json is defined else '{cleared}'" + " }}"


def _on_off(expression: str) -> str:
    return template(f"'ON' if {expression} else 'OFF'")


def literal(text: str) -> str:
    """Return a text as a literal of a template."""
    return json.dumps(text, ensure_ascii=False)
