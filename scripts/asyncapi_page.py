"""Generate docs/asyncapi.yaml, the AsyncAPI document of the MQTT topics, from the event models."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from stream import __version__, events
from stream.control import commands
from stream.sinks.mqtt.presence import AlertConditions, NodeInfo, OutboxState, PersonState, RoomState, SourceState

PAGE = Path(__file__).parent.parent / "docs" / "asyncapi.yaml"

NODE, SOURCE = "{prefix}/{node}", "{prefix}/{node}/{source}"
PERSON = "{prefix}/{node}/person/{name}"
PARAMETERS = {
    "prefix": {"description": "The path of the sink's address; `tonewatch` by default."},
    "node": {"description": "The setting `node`."},
    "name": {"description": "Name of an enrolled person, as that of a stream."},
    "source": {"description": "The stream's name in events; `+ # / %` and control characters as %XX."},
}
RETAINED = "Retained: new subscribers receive it at once."


def page() -> str:
    """Return the document as YAML."""
    text: str = yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by scripts/asyncapi_page.py.\n{text}"


class _Channel(NamedTuple):
    """A topic with its payload; `action` is `send` or `receive`, seen from the node."""

    name: str
    address: str
    description: str
    payload: Mapping[str, Any]
    action: str = "send"

    @property
    def message(self) -> dict[str, Any]:
        text = self.payload.get("type") == "string"
        content_type = "text/plain" if text else "application/json"
        return {"name": self.name, "contentType": content_type, "payload": self.payload}

    @property
    def channel(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "description": self.description,
            "parameters": {key: value for key, value in PARAMETERS.items() if f"{{{key}}}" in self.address},
            "messages": {self.name: {"$ref": f"#/components/messages/{self.name}"}},
        }

    @property
    def operation(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "channel": {"$ref": f"#/channels/{self.name}"},
            "messages": [{"$ref": f"#/channels/{self.name}/messages/{self.name}"}],
        }


def _channels() -> list[_Channel]:
    presence = {"type": "string", "enum": ["online", "offline"]}
    node_presence = f"Whether the node is online; also its will message. {RETAINED}"
    channels = [
        _Channel("availability", f"{NODE}/availability", node_presence, presence),
        _Channel("info", f"{NODE}/info", f"Metadata of the node. {RETAINED}", _of(NodeInfo)),
        _Channel("outbox", f"{NODE}/outbox", f"Lost messages, once there are any. {RETAINED}", _of(OutboxState)),
        _Channel(
            "conditions",
            f"{NODE}/conditions",
            f"With `set_alert`: {AlertConditions.__doc__} {RETAINED}",
            _of(AlertConditions),
        ),
        _Channel(
            "sourceAvailability", f"{SOURCE}/availability", f"Whether the stream is available. {RETAINED}", presence
        ),
        _Channel("sourceState", f"{SOURCE}/state", f"State of the stream. {RETAINED}", _of(SourceState)),
        _Channel(
            "room", f"{SOURCE}/home", f"With `mqtt.discovery_prefix`: {RoomState.__doc__} {RETAINED}", _of(RoomState)
        ),
        _Channel(
            "person", f"{PERSON}/state", f"With `mqtt.people`: {PersonState.__doc__} {RETAINED}", _of(PersonState)
        ),
        _Channel(
            "location",
            f"{PERSON}/location",
            f"With `mqtt.people`: whether the person was heard lately. {RETAINED}",
            {"type": "string", "enum": ["home", "None"]},
        ),
    ]
    for kind in events.EVENT_TYPES:
        name = kind.model_fields["type"].default
        rolling = kind in _ROLLING
        delivery = f"{RETAINED} It expires." if rolling else "Not retained; delivered in order, at least once."
        address = f"{NODE if name in ('health', 'rooms') else SOURCE}/{name}"
        channels.append(_Channel(name, address, f"{kind.__doc__} {delivery}", _of(kind)))
    requests = {"oneOf": [_of(kind) for kind in get_args(commands.Command)]}
    about_requests = "Commands, where the settings allow them. Retained commands are ignored."
    about_replies = "Replies to commands without a response topic of their own."
    channels.append(_Channel("command", f"{NODE}/command", about_requests, requests, "receive"))
    channels.append(_Channel("response", f"{NODE}/response", about_replies, _of(commands.CommandReply)))
    return channels


def document() -> dict[str, Any]:
    """Return the document (AsyncAPI 3.0.0)."""
    channels = _channels()
    operations = {one.name: one.operation for one in channels}
    operations["command"]["reply"] = {
        "address": {"location": "$message.header#/responseTopic", "description": "Response topic of MQTT 5."},
        "channel": {"$ref": "#/channels/response"},
    }
    host = {"host": {"default": "localhost"}, "port": {"default": "1883"}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tonewatch over MQTT",
            "version": __version__,
            "description": "Live speaker and speech emotion events. Payloads are those of `mqtt.payload = native`; "
            "with `cloudevents` each event is the `data` of a CloudEvents 1.0 object.",
            "license": {"name": "MIT"},
        },
        "servers": {"broker": {"host": "{host}:{port}", "protocol": "mqtt", "variables": host}},
        "defaultContentType": "application/json",
        "channels": {one.name: one.channel for one in channels},
        "operations": operations,
        "components": {"messages": {one.name: one.message for one in channels}, "schemas": _schemas()},
    }


_ROLLING = (events.EmotionEvent, events.SpeakerEvent, events.HealthEvent, events.RoomsEvent)
_PAYLOADS: tuple[type[BaseModel], ...] = (
    *events.EVENT_TYPES,
    *get_args(commands.Command),
    commands.CommandReply,
    AlertConditions,
    NodeInfo,
    OutboxState,
    PersonState,
    RoomState,
    SourceState,
)


def _of(kind: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _schemas() -> dict[str, Any]:
    _, schema = models_json_schema(
        [(kind, "serialization") for kind in _PAYLOADS], by_alias=True, ref_template="#/components/schemas/{model}"
    )
    found: dict[str, Any] = schema["$defs"]
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
