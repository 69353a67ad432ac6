"""Home Assistant's MQTT discovery: the messages that announce a node and its streams (pure).

There is one device per stream, one per call and one for the node, each announced by one retained message at
`PREFIX/device/ID/config`; an empty message removes it. A device consists of components: a stream has enum sensors for
emotion and speaker, a binary sensor for speech, an event entity for turns, and a switch for pausing if that is allowed.
A party's track of a call has no speaker sensor; the call has a sensor for the floor and an event entity for its alerts.

An enum sensor accepts announced values only, so `Discovery` keeps the labels and names seen and reports when a device
must be announced again. The sink publishes the announcement before the state.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

from stream import __version__, events
from stream.events import Event, FloorState
from stream.settings import Settings
from stream.sinks.mqtt import topics
from stream.text import printable

SILENCE = "nobody"
"""Value of the speaker sensor in silence."""

UNKNOWN_SPEAKER = "somebody"
"""Value of the speaker sensor while an unknown speaker speaks."""

STATUS = "status"
"""Topic below the discovery prefix on which Home Assistant publishes `online` after its start."""


Kind = Literal["stream", "track", "call"]


class Discovery:
    """The announced streams and calls, with the labels and names of each."""

    def __init__(self, *, settings: Settings, prefix: str) -> None:
        self._settings = settings
        self._node = settings.node
        self._prefix = prefix
        self._discovery_prefix = settings.mqtt.discovery_prefix.strip("/")
        self._kinds: dict[str, Kind] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._aroused: set[str] = set()  # sources whose emotions have arousal
        self._names: dict[str, list[str]] = {}

    @property
    def status_topic(self) -> str:
        """Topic of Home Assistant's own status."""
        return f"{self._discovery_prefix}/{STATUS}"

    def node(self) -> tuple[str, str]:
        """Return the topic and payload that announce the node."""
        return self._topic(""), _json(self._node_config())

    def observe(self, event: Event) -> tuple[str, str] | None:
        """Return the announcement needed before `event` is published: of a new device, or of new values; else None."""
        if event.source == events.NODE:
            return None
        source, kind = event.source, _kind(event)
        changed = self._kinds.get(source) != kind
        if changed:
            self._kinds[source] = kind
            self._names[source] = list(self._settings.speakers.enrolled)
        names = self._names[source]
        if isinstance(event, events.SpeakerEvent) and event.speaker is not None and event.speaker not in names:
            names.append(event.speaker)
            changed = changed or kind == "stream"
        if isinstance(event, events.EmotionEvent) and event.probabilities and source not in self._labels:
            self._labels[source] = tuple(event.probabilities)
            if event.arousal is not None:
                self._aroused.add(source)
            changed = True
        return (self._topic(source), _json(self._source_config(source))) if changed else None

    def forget(self, source: str) -> str | None:
        """Forget an ended stream or call; returns the topic of its announcement, if there was one."""
        self._labels.pop(source, None)
        self._aroused.discard(source)
        self._names.pop(source, None)
        return self._topic(source) if self._kinds.pop(source, None) is not None else None

    def _topic(self, source: str) -> str:
        return f"{self._discovery_prefix}/device/{self._id(source)}/config"

    def _id(self, source: str) -> str:
        parts = ["tonewatch", self._node, source] if source else ["tonewatch", self._node]
        return "_".join(_slug(part) for part in parts)

    def _device(self, source: str) -> dict[str, Any]:
        device = {"identifiers": [self._id(source)], "manufacturer": "tonewatch", "sw_version": __version__}
        if not source:
            return {**device, "name": f"tonewatch {self._node}", "model": "node"}
        return {
            **device,
            "name": printable(f"{self._node} {source}"),
            "model": self._kinds[source],
            "via_device": self._id(""),
        }

    def _origin(self) -> dict[str, str]:
        return {"name": "tonewatch", "sw_version": __version__}

    def _availability(self, source: str) -> dict[str, Any]:
        entries = [{"topic": topics.node_topic(self._prefix, self._node, "availability")}]
        if self._kinds.get(source, "call") != "call":  # a call has no availability of its own
            entries.append({"topic": self._source_topic(source, "availability")})
        return {"availability": entries, "availability_mode": "all"}

    def _source_topic(self, source: str, leaf: str) -> str:
        return topics.source_topic(self._prefix, self._node, source, leaf)

    def _component(self, source: str, key: str, platform: str, name: str, **more: Any) -> dict[str, Any]:
        return {"platform": platform, "unique_id": f"{self._id(source)}_{key}", "name": name, **more}

    def _source_config(self, source: str) -> dict[str, Any]:
        components = self._call(source) if self._kinds[source] == "call" else self._stream(source)
        return {
            "device": self._device(source),
            "origin": self._origin(),
            "components": components,
            **self._availability(source),
        }

    def _call(self, source: str) -> dict[str, Any]:
        floor = self._component(
            source, "floor", "sensor", "Floor", icon="mdi:phone-in-talk", device_class="enum",
            options=list(get_args(FloorState)), state_topic=self._source_topic(source, "call"),
            value_template="{{ " + self._value("state") + " }}",
        )  # fmt: skip
        return {"floor": floor, "alert": self._phases(source, "alert", "mdi:alert-outline")}

    def _stream(self, source: str) -> dict[str, Any]:
        component, topic, value = self._component, self._source_topic, self._value
        components: dict[str, Any] = {"turn": self._phases(source, "turn", "mdi:account-clock")}
        has_speaker = self._kinds[source] == "stream" and bool(self._settings.models.speaker.name)
        if has_speaker:
            components["speaker"] = component(
                source, "speaker", "sensor", "Speaker", icon="mdi:account-voice", device_class="enum",
                options=[SILENCE, UNKNOWN_SPEAKER, *self._names[source]], state_topic=topic(source, "speaker"),
                value_template="{{ '" + SILENCE + "' if " + value("state") + " == 'silence' else "
                + value("speaker") + " or '" + UNKNOWN_SPEAKER + "' }}",
            )  # fmt: skip
            components["speakers"] = component(
                source, "speakers", "sensor", "Speakers", icon="mdi:account-multiple",
                state_topic=topic(source, "speaker"),
                value_template="{{ " + value("speakers") + " | map(attribute='speaker') | map('default', '"
                + UNKNOWN_SPEAKER + "', true) | join(', ') or '" + SILENCE + "' }}",
                json_attributes_topic=topic(source, "speaker"),
                json_attributes_template="{{ dict(state=" + value("state") + ", speakers=" + value("speakers")
                + ") | tojson }}",
            )  # fmt: skip
        if source in self._labels:
            components["emotion"] = component(
                source, "emotion", "sensor", "Emotion", icon="mdi:emoticon-outline", device_class="enum",
                options=[*self._labels[source], "uncertain", "silence"], state_topic=topic(source, "emotion"),
                value_template="{{ " + value("label") + " }}",
            )  # fmt: skip
            components["confidence"] = component(
                source, "confidence", "sensor", "Confidence", icon="mdi:percent", unit_of_measurement="%",
                state_class="measurement", suggested_display_precision=0, state_topic=topic(source, "emotion"),
                value_template="{{ (100 * " + value("confidence") + ") | round(1) }}",
            )  # fmt: skip
            if source in self._aroused:
                components["arousal"] = component(
                    source, "arousal", "sensor", "Arousal", icon="mdi:pulse", unit_of_measurement="%",
                    state_class="measurement", suggested_display_precision=0, state_topic=topic(source, "emotion"),
                    value_template="{{ (100 * (" + value("arousal") + " or 0)) | round(1) }}",
                )  # fmt: skip
        by_speaker = has_speaker or self._kinds[source] == "track"
        leaf, field = ("speaker", "state") if by_speaker else ("emotion", "label")
        components["speech"] = component(
            source, "speech", "binary_sensor", "Speech", device_class="sound", state_topic=topic(source, leaf),
            value_template="{{ 'OFF' if " + value(field) + " == 'silence' else 'ON' }}",
        )  # fmt: skip
        if {"pause", "resume"} <= set(self._settings.mqtt.commands):
            components["listening"] = component(
                source, "listening", "switch", "Listening", icon="mdi:ear-hearing",
                command_topic=topics.node_topic(self._prefix, self._node, "command"), qos=1, retain=False,
                payload_on=_json({"command": "resume", "source": source}),
                payload_off=_json({"command": "pause", "source": source}),
                state_topic=topic(source, "state"), state_on="ON", state_off="OFF",
                value_template="{{ 'OFF' if value_json.state == 'paused' else 'ON' }}",
            )  # fmt: skip
        return components

    def _phases(self, source: str, key: str, icon: str) -> dict[str, Any]:
        """Return an event entity for events with a start and an end phase."""
        return self._component(
            source, key, "event", key.capitalize(), icon=icon, event_types=["start", "end"],
            state_topic=self._source_topic(source, key),
            value_template="{{ dict(" + self._value("") + ", event_type=" + self._value("phase") + ") | tojson }}",
        )  # fmt: skip

    def _node_config(self) -> dict[str, Any]:
        figures: Sequence[tuple[str, str, str, str | None]] = (
            ("latency", "Latency", "latency_p95_ms", "ms"),
            ("memory", "Memory", "memory_mb", "MB"),
            ("streams", "Streams", "streams", None),
        )
        components = {}
        for key, name, field, unit in figures:
            components[key] = self._component(
                "", key, "sensor", name, entity_category="diagnostic", state_class="measurement",
                state_topic=topics.node_topic(self._prefix, self._node, "health"),
                value_template="{{ " + self._value(field) + " }}",
                expire_after=max(60, round(3 * self._settings.health_s)),
                **({"unit_of_measurement": unit} if unit else {}),
            )  # fmt: skip
        return {
            "device": self._device(""),
            "origin": self._origin(),
            "components": components,
            **self._availability(""),
        }

    def _value(self, field: str) -> str:
        """Return the template expression of an event's field."""
        base = "value_json.data" if self._settings.mqtt.payload == "cloudevents" else "value_json"
        return f"{base}.{field}" if field else base


def _kind(event: Event) -> Kind:
    """Return the kind of an event's source."""
    if event.call is None:
        return "stream"
    return "call" if event.party is None else "track"


def _slug(name: str) -> str:
    """Reduce a name to letters, digits, `_` and `-`, as identifiers require; different names stay different."""
    plain = re.sub(r"[^A-Za-z0-9-]", "_", name)
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:6]}"


def _json(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
