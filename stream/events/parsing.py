"""Tolerant parsing of events from files and brokers (pure).

Events are validated against the wire contract. Fields added by newer versions are ignored, so that older dashboards
display newer nodes, and events of schema version 1 are upgraded; any other deviation is rejected.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from stream.events.envelope import EVENT_TYPES, Event, from_json
from stream.events.text import printable

MAX_EVENT_BYTES = 65_536
"""Maximum length of an event in JSON."""

EVENT_TYPE_NAMES = frozenset(str(kind.model_fields["type"].default) for kind in EVENT_TYPES)
"""Values of the field `type`."""


_RENAMED = {
    "cut": "submitted",
    "replaced": "workers_replaced",
    "owed": "pending",
    "refused": "rejected",
    "unsaved": "not_persisted",
}
"""Fields of lanes and sinks in `health` events: version 1 to version 2."""


def read_event(text: str | bytes) -> Event:
    """Parse one event, also of schema version 1. Raises `ValueError` with a readable reason."""
    if len(text) > MAX_EVENT_BYTES:
        raise ValueError(f"event too long: {len(text)} bytes, at most {MAX_EVENT_BYTES}")
    text = _shown(text)
    try:
        return from_json(text)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    if any(one["loc"][1:] == ("schema",) for one in errors):
        return _read_upgraded(text, errors)
    if any(one["type"] != "extra_forbidden" for one in errors):
        raise ValueError(_reason(errors[0]))
    try:
        return from_json(json.dumps(_without(json.loads(text), [one["loc"][1:] for one in errors])))
    except (ValidationError, RecursionError):
        raise ValueError("not a tonewatch event") from None


def _shown(text: str | bytes) -> str | bytes:
    """Return the event with hidden characters of its strings as escapes: names come from anywhere."""
    plain = text if isinstance(text, str) else text.decode(errors="replace")
    if "\\u" not in plain and plain.strip().isprintable():
        return text
    try:
        return json.dumps(_shown_value(json.loads(text)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text  # the parser says what is wrong


def _shown_value(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_shown_value(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _shown_value(item) for key, item in value.items()}
    return value


def _read_upgraded(text: str | bytes, errors: list[Any]) -> Event:
    """Parse an event of another schema version, if it is version 1."""
    event = json.loads(text)
    if event.get("schema") != 1:
        raise ValueError(_reason(errors[0]))
    try:
        return read_event(json.dumps(upgraded(event)))
    except (AttributeError, TypeError, RecursionError):
        raise ValueError("not a tonewatch event") from None


def upgraded(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of schema version 1 in version 2; its foremost speaker is the only one."""
    event = event | {"schema": 2}
    if event["type"] == "speaker_resolved" and "was" in event:
        event["previous"] = event.pop("was")
    if event["type"] == "health":
        if "gated" in event:
            event["windows_gated"] = event.pop("gated")
        for rows in ("lanes", "sinks"):
            event[rows] = [{_RENAMED.get(name, name): value for name, value in row.items()} for row in event[rows]]
    if event["type"] == "speaker" and event.get("state") != "silence":
        one = {name: event.get(name) for name in ("speaker", "enrolled", "probability")}
        event["speakers"] = [one | {"since_s": event.get("start_s")}]
    return event


def _without(event: Any, paths: list[tuple[int | str, ...]]) -> Any:
    """Return the object without the fields at `paths`."""
    for path in paths:
        inner = event
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]
    return event


def _reason(error: Any) -> str:
    if error["type"] == "json_invalid":
        return "not JSON"
    where = ".".join(str(part) for part in error["loc"])
    message = f"{error['msg'][:1].lower()}{error['msg'][1:]}"
    return f"not a tonewatch event ({where or 'whole value'}: {message})"
