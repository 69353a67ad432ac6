"""Home Assistant's MQTT discovery: the messages that announce a node, its streams and calls, and people (pure).

There is one device per stream, one per call, one for the node, and, where people are published, one per enrolled
person; each is announced by one retained message at `PREFIX/device/ID/config`, and an empty message removes it.
`components` says what each consists of.

Sensors of names have no `options`: Home Assistant drops a state that comes before its option, and new voices come at
any time. The labels of a model are a closed set; they are announced before the first emotion that has them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from stream import __version__, events
from stream.events import Event
from stream.events.text import printable
from stream.settings import Settings
from stream.sinks.mqtt import topics
from stream.sinks.mqtt.components import Component, Device, Kind, call, node, person, room
from stream.sinks.mqtt.condition_components import conditions

STATUS = "status"
"""Topic below the discovery prefix on which Home Assistant publishes `online` after its start."""

DEFAULT_NODE = "tonewatch"
"""Name of a node without one of its own."""


@dataclass(slots=True)
class _Announced:
    """What a stream or call was announced with."""

    kind: Kind
    labels: tuple[str, ...] = ()
    has_arousal: bool = False
    has_alerts: bool = False
    people: tuple[str, ...] = ()


class Discovery:
    """The announced streams and calls, with what is known of each."""

    def __init__(self, *, settings: Settings, prefix: str) -> None:
        self._settings = settings
        self._node = settings.node
        self._prefix = prefix
        self._discovery_prefix = settings.mqtt.discovery_prefix.strip("/")
        self._announced: dict[str, _Announced] = {}

    @property
    def status_topic(self) -> str:
        """Topic of Home Assistant's own status."""
        return f"{self._discovery_prefix}/{STATUS}"

    def node(self) -> tuple[str, str]:
        """Return the topic and payload that announce the node."""
        device = self._device("")
        name = "tonewatch" if self._node == DEFAULT_NODE else f"tonewatch {self._node}"
        return self._topic(), self._announcement(node(device) | conditions(device), name=name, model="node")

    def person(self, name: str) -> tuple[str, str]:
        """Return the topic and payload that announce an enrolled person."""
        device = Device(
            identifier=self._id(name, "person"),
            prefix=f"{self._prefix}/{topics.topic_level(self._node)}/person/{topics.topic_level(name)}",
            node_prefix=self._node_prefix,
            settings=self._settings,
        )
        return self.person_topic(name), self._announcement(
            person(device), name=printable(name), model="person", device=device, via_device=self._id()
        )

    def person_topic(self, name: str) -> str:
        """Return the topic of a person's announcement."""
        return f"{self._discovery_prefix}/device/{self._id(name, 'person')}/config"

    def is_person_topic(self, topic: str) -> bool:
        """Return whether a topic of this node is the announcement of a person."""
        return re.search("_person_[0-9a-f]+/config$", topic) is not None

    def observe(self, event: Event) -> tuple[str, str] | None:
        """Return the announcement needed before `event` is published: of a new device, or of new values; else None."""
        if event.source == events.NODE:
            return None
        source, kind = event.source, _kind(event)
        known = self._announced.get(source)
        changed = known is None or known.kind != kind
        if known is None or changed:
            people = tuple(self._settings.speakers.enrolled) if self._settings.mqtt.people else ()
            known = self._announced[source] = _Announced(
                kind, has_alerts=bool(self._settings.alerts.rules), people=people if kind == "stream" else ()
            )
        if isinstance(event, events.EmotionEvent) and event.probabilities and not known.labels:
            known.labels, known.has_arousal = tuple(event.probabilities), event.arousal is not None
            changed = True
        if isinstance(event, events.AlertEvent) and not known.has_alerts:
            known.has_alerts = changed = True
        if isinstance(event, events.SpeakerEvent) and self._settings.mqtt.people and kind == "stream":
            enrolled = {one.speaker for one in event.speakers if one.enrolled and one.speaker is not None}
            if new := sorted(enrolled.difference(known.people)):
                known.people = (*known.people, *new)
                changed = True
        return (self._topic(source), self._source(source, known)) if changed else None

    def forget(self, source: str) -> str | None:
        """Forget an ended stream or call; returns the topic of its announcement, if there was one."""
        return self._topic(source) if self._announced.pop(source, None) is not None else None

    def _source(self, source: str, known: _Announced) -> str:
        device = self._device(source)
        if known.kind == "call":
            components = call(device)
        else:
            components = room(
                device,
                source=source,
                kind=known.kind,
                labels=known.labels,
                has_arousal=known.has_arousal,
                has_alerts=known.has_alerts,
                people=known.people,
            )
        area = self._settings.mqtt.areas.get(source)
        return self._announcement(
            components,
            name=printable(f"{self._node} {source}"),
            model=known.kind,
            device=device,
            has_availability=known.kind != "call",  # a call has none of its own
            via_device=self._id(),
            **({"suggested_area": area} if area else {}),
        )

    def _announcement(
        self,
        components: dict[str, Component],
        *,
        name: str,
        model: str,
        device: Device | None = None,
        has_availability: bool = False,
        **more: str,
    ) -> str:
        availability = [{"topic": f"{self._node_prefix}/availability"}]
        if device is not None and has_availability:
            availability.append({"topic": f"{device.prefix}/availability"})
        return _json(
            {
                "device": {
                    "identifiers": [device.identifier if device is not None else self._id()],
                    "manufacturer": "tonewatch",
                    "sw_version": __version__,
                    "name": name,
                    "model": model,
                    **more,
                },
                "origin": {"name": "tonewatch", "sw_version": __version__},
                "components": components,
                "availability": availability,
                "availability_mode": "all",
            }
        )

    @property
    def _node_prefix(self) -> str:
        return f"{self._prefix}/{topics.topic_level(self._node)}"

    def _device(self, source: str) -> Device:
        prefix = f"{self._node_prefix}/{topics.topic_level(source)}" if source else self._node_prefix
        return Device(
            identifier=self._id(source) if source else self._id(),
            prefix=prefix,
            node_prefix=self._node_prefix,
            settings=self._settings,
        )

    def _topic(self, source: str | None = None) -> str:
        return f"{self._discovery_prefix}/device/{self._id(source)}/config"

    def _id(self, name: str | None = None, kind: str = "") -> str:
        return identifier(self._node, *(() if name is None else (name,)), kind=kind)


def identifier(*names: str, kind: str = "") -> str:
    """Return the identifier of a node, or of a node's stream or person; different names give different identifiers.

    Names of letters, digits and `-` stay as they are. With any other character a hash of all names is appended, which
    has one part more, separated by `_`, than the identifiers without it.
    """
    plain = [re.sub(r"[^A-Za-z0-9-]", "_", name) for name in names]
    parts = ["tonewatch", *plain]
    if kind or "_" in "".join(plain):
        names_hash = hashlib.sha256(json.dumps([kind, *names]).encode()).hexdigest()[:10]
        parts += [kind, names_hash] if kind else ["", names_hash]
    return "_".join(parts)


def _kind(event: Event) -> Kind:
    """Return the kind of an event's source."""
    if event.call is None:
        return "stream"
    return "call" if event.party is None else "track"


def _json(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
