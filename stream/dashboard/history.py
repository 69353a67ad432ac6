"""What a card keeps of the past, bounded, and which of it is new to whom (pure).

Every entry carries a serial number that rises with each change, so that a page which knows entries up to one serial can
be told the rest, whatever it missed in between; an entry that changed twice is told once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

TURNS = 300
POINTS = 360
DECISIONS = 40
NOTES = 100
"""How many turns, emotions, decisions and notes are kept."""

Json = dict[str, Any]


@dataclass(slots=True)
class LogEntry:
    """Something of the past and when it last changed."""

    serial: int
    value: Json


@dataclass(slots=True)
class BoundedLog:
    """The newest entries of one kind by name, oldest first; touching one gives it a new serial."""

    capacity: int
    entries: OrderedDict[str, LogEntry] = field(default_factory=OrderedDict)

    def put(self, name: str, serial: int, value: Json) -> None:
        """Keep an entry, or what it has become."""
        self.entries[name] = LogEntry(serial, value)
        while len(self.entries) > self.capacity:
            self.entries.popitem(last=False)

    def since(self, serial: int) -> list[Json]:
        """What changed after a serial."""
        return [entry.value for entry in self.entries.values() if entry.serial > serial]


class History:
    """Turns, emotions over time, decisions on the speaker, and notes."""

    def __init__(self) -> None:
        self.turns, self.points = BoundedLog(TURNS), BoundedLog(POINTS)
        self.decisions, self.notes = BoundedLog(DECISIONS), BoundedLog(NOTES)

    def since(self, serial: int) -> Json:
        """What changed after a serial, by kind."""
        return {
            "turns": self.turns.since(serial),
            "points": self.points.since(serial),
            "decisions": self.decisions.since(serial),
            "notes": self.notes.since(serial),
        }
