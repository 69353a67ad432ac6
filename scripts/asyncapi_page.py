"""Generate docs/asyncapi.yaml, the AsyncAPI document of the MQTT topics, from the event models."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from stream import __version__, events
from stream.control import commands
from stream.sinks.mqtt.presence import NodeInfo, OutboxState, SourceState

PAGE = Path(__file__).parent.parent / "docs" / "asyncapi.yaml"

NODE, SOURCE = "{prefix}/{node}", "{prefix}/{node}/{source}"
PARAMETERS = {
    "prefix": {"description": "The path of the sink's address; `tonewatch` by default."},
    "node": {"description": "The setting `node`."},
    "source": {"description": "The stream's name in events; `+ # / %` and control characters as %XX."},
}
RETAINED = "Retained: new subscribers receive it at once."


def page() -> str:
    """Return the document as YAML."""
    text: str = yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by scripts/asyncapi_page.py.\n{text}"


def document() -> dict[str, Any]:
    """Return the document (AsyncAPI 3.0.0)."""
    channels: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    operations: dict[str, Any] = {}

    def channel(name: str, address: str, action: str, description: str, payload: Mapping[str, Any]) -> None:
        parameters = {key: value for key, value in PARAMETERS.items() if f"{{{key}}}" in address}
        text = payload.get("type") == "string"
        messages[name] = {"name": name, "contentType": "text/plain" if text else "application/json", "payload": payload}
        channels[name] = {
            "address": address,
            "description": description,
            "parameters": parameters,
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        operations[name] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        }

    presence = {"type": "string", "enum": ["online", "offline"]}
    channel(
        "availability",
        f"{NODE}/availability",
        "send",
        f"Whether the node is online; also its will message. {RETAINED}",
        presence,
    )
    channel("info", f"{NODE}/info", "send", f"Metadata of the node. {RETAINED}", _of(NodeInfo))
    channel("outbox", f"{NODE}/outbox", "send", f"Lost messages, once there are any. {RETAINED}", _of(OutboxState))
    channel(
        "sourceAvailability", f"{SOURCE}/availability", "send", f"Whether the stream is available. {RETAINED}", presence
    )
    channel("sourceState", f"{SOURCE}/state", "send", f"State of the stream. {RETAINED}", _of(SourceState))
    for kind in events.EVENT_TYPES:
        name = kind.model_fields["type"].default
        rolling = kind in _ROLLING
        delivery = f"{RETAINED} It expires." if rolling else "Not retained; delivered in order, at least once."
        channel(name, f"{NODE if name == 'health' else SOURCE}/{name}", "send", f"{kind.__doc__} {delivery}", _of(kind))
    requests = {"oneOf": [_of(kind) for kind in get_args(commands.Command)]}
    channel(
        "command",
        f"{NODE}/command",
        "receive",
        "Commands, where the settings allow them. Retained commands are ignored.",
        requests,
    )
    channel(
        "response",
        f"{NODE}/response",
        "send",
        "Replies to commands without a response topic of their own.",
        _of(commands.CommandReply),
    )
    operations["command"]["reply"] = {
        "address": {"location": "$message.header#/responseTopic", "description": "MQTT 5's response topic."},
        "channel": {"$ref": "#/channels/response"},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tonewatch over MQTT",
            "version": __version__,
            "description": "Live speaker and speech emotion events. Payloads are those of `mqtt.payload = native`; "
            "with `cloudevents` each event is the `data` of a CloudEvents 1.0 object.",
            "license": {"name": "MIT"},
        },
        "servers": {
            "broker": {"host": "{host}:{port}", "protocol": "mqtt", "variables": {
                "host": {"default": "localhost"}, "port": {"default": "1883"}
            }}
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": _schemas()},
    }  # fmt: skip


_ROLLING = (events.EmotionEvent, events.SpeakerEvent, events.HealthEvent)
_PAYLOADS: tuple[type[BaseModel], ...] = (
    *events.EVENT_TYPES,
    *get_args(commands.Command),
    commands.CommandReply,
    NodeInfo,
    OutboxState,
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
