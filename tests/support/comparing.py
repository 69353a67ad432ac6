"""Events of two runs compared: everything but identifiers, wall times and latencies."""

from __future__ import annotations

import json
from typing import Any

DIFFERENT = ("id", "session", "time", "latency_ms")


def comparable_lines(lines: bytes) -> list[dict[str, Any]]:
    """Return the events of lines without what differs between runs; `health` counts time, and is left out."""
    events = [json.loads(line) for line in lines.splitlines()]
    return [
        {key: value for key, value in event.items() if key not in DIFFERENT}
        for event in events
        if event["type"] != "health"
    ]
