"""Random and corrupted messages."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

VALUES: list[Any] = [None, True, -1, 0, 1 << 70, 1e308, "", "x" * 300, "NaN", [], {}, [[]], {"a": 1}, "\ud800", "0"]
"""Replacements for the values of JSON fields."""


def corrupted(messages: list[str | bytes], chance: random.Random) -> Iterator[str | bytes]:
    """Yield random bytes, random text, and `messages`, mostly with a defect, without end."""
    while True:
        match chance.randrange(6):
            case 0:
                yield chance.randbytes(chance.randrange(200))
            case 1:
                yield "".join(chr(chance.randrange(32, 1_000)) for _ in range(chance.randrange(60)))
            case 2:
                yield chance.choice(messages)
            case _:
                yield _corrupt(chance.choice(messages), chance)


def _corrupt(message: str | bytes, chance: random.Random) -> str | bytes:
    if isinstance(message, str) and message.startswith("{") and chance.random() < 0.7:
        fields = json.loads(message)
        branch = fields
        while chance.random() < 0.5 and isinstance(branch, dict):
            inner = [value for value in branch.values() if isinstance(value, dict) and value]
            if not inner:
                break
            branch = chance.choice(inner)
        key = chance.choice(list(branch))
        if chance.random() < 0.3:
            del branch[key]
        else:
            branch[key] = chance.choice(VALUES)
        return json.dumps(fields)
    cut = chance.randrange(len(message) + 1)
    if isinstance(message, str):
        return message[:cut] + chance.choice(["", "\0", '"', "}", "{"]) + message[cut + chance.randrange(3) :]
    return message[:cut] + chance.randbytes(chance.randrange(3)) + message[cut + chance.randrange(3) :]
