"""What telephone systems say about a call: caller, called number, agent, queue (pure).

The texts come from outside: they are shortened, freed of control characters, and masked where numbers are private.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from stream.events import CallChange

LABELS = ("caller", "caller_name", "called", "agent", "queue")
"""Names of labels, as in `stream` events."""

SYNONYMS: Mapping[str, str] = {
    "from": "caller",
    "ani": "caller",
    "callerid": "caller",
    "caller_id": "caller",
    "callernumber": "caller",
    "aniname": "caller_name",
    "callername": "caller_name",
    "to": "called",
    "dnis": "called",
    "agentname": "agent",
    "agent_name": "agent",
    "queuename": "queue",
    "queue_name": "queue",
}
"""Other names that peers give them, in lower case."""

CHANGES: Mapping[str, CallChange] = {"hold": "hold", "retrieve": "retrieve", "transfer": "transfer"}
"""What the field `change` may say."""

MAX_LABEL_CHARACTERS = 80
MAX_ANNOUNCED_CALLS = 1_000
VISIBLE_DIGITS = 2
MIN_NUMBER_DIGITS = 5


def read_labels(*given: Any) -> dict[str, str]:
    """Return the labels among the fields of `given` objects; the first object that has one decides."""
    found: dict[str, str] = {}
    for fields in given:
        for name, value in fields.items() if isinstance(fields, Mapping) else ():
            key = str(name).lower()
            key = SYNONYMS.get(key, key)
            if key in LABELS and isinstance(value, str) and (text := _clean(value)):
                found.setdefault(key, text)
    return found


def read_change(fields: Mapping[str, Any]) -> CallChange | None:
    """Return what happened to a call by its field `change`, None for anything else."""
    return CHANGES.get(change) if isinstance(change := fields.get("change"), str) else None


def transfer_text(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return to whom a call was transferred: to another agent, or to a queue."""
    name = next((key for key in ("agent", "queue") if after.get(key) and after.get(key) != before.get(key)), "")
    if not name:
        return "transferred"
    return f"transferred{f' from {before[name]}' if before.get(name) else ''} to {after[name]}"


def masked(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels whose telephone numbers show their last digits only."""
    return {name: _mask(text) for name, text in labels.items()}


class AnnouncedCalls:
    """Labels that were posted for calls before or while they are connected, by the call's id."""

    def __init__(self) -> None:
        self._labels: OrderedDict[str, dict[str, str]] = OrderedDict()

    def set(self, call: str, labels: Mapping[str, str]) -> None:
        """Add labels of a call."""
        self._labels[call] = {**self._labels.pop(call, {}), **labels}
        if len(self._labels) > MAX_ANNOUNCED_CALLS:
            self._labels.popitem(last=False)

    def get(self, call: str) -> dict[str, str]:
        """Return the labels of a call."""
        return self._labels.get(call, {})


def _clean(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * MAX_LABEL_CHARACTERS])
    return " ".join(printable.split())[:MAX_LABEL_CHARACTERS]


def _mask(text: str) -> str:
    digits = sum(letter.isdigit() for letter in text)
    if digits < MIN_NUMBER_DIGITS:
        return text
    hidden = digits - VISIBLE_DIGITS
    return re.sub(r"\d", lambda _: "•", text, count=hidden)
