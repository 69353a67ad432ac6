"""Events from outside: a line of a file, a message of a broker (pure).

Everything is judged by the wire contract. What a newer version of tonewatch adds to it is left away, so that old pages
show new nodes; anything else that is not of the contract is refused.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from stream.events.envelope import EVENT_TYPES, Event, from_json

MAX_EVENT_BYTES = 65_536
EVENT_TYPE_NAMES = frozenset(str(kind.model_fields["type"].default) for kind in EVENT_TYPES)


def read_event(text: str | bytes) -> Event:
    """One event. Raises `ValueError`, in words, for what is none."""
    if len(text) > MAX_EVENT_BYTES:
        raise ValueError(f"it is longer than {MAX_EVENT_BYTES} bytes")
    try:
        return from_json(text)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
    if any(fault["type"] != "extra_forbidden" for fault in faults):
        raise ValueError(_explain(faults[0]))
    try:
        return from_json(json.dumps(_without(json.loads(text), [fault["loc"][1:] for fault in faults])))
    except (ValidationError, RecursionError):
        raise ValueError("it is no event of tonewatch") from None


def _without(event: Any, places: list[tuple[int | str, ...]]) -> Any:
    """The object without what stands at the places."""
    for place in places:
        inner = event
        for step in place[:-1]:
            inner = inner[step]
        del inner[place[-1]]
    return event


def _explain(fault: Any) -> str:
    if fault["type"] == "json_invalid":
        return "it is not JSON"
    where = ".".join(str(part) for part in fault["loc"])
    return f"it is no event of tonewatch ({where or 'the whole'}: {fault['msg'][:1].lower()}{fault['msg'][1:]})"
