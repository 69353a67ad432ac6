"""Bounded history of one card, with serial numbers for incremental updates (pure).

Every entry has the serial number of its last change. A page that has everything up to one serial number receives the
entries with a higher one, each once and in its newest state.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from stream.dashboard.views import DecisionView, NoteView, PointView, TurnView

MAX_TURNS = 300
MAX_POINTS = 360
MAX_DECISIONS = 40
MAX_NOTES = 100

Value = TypeVar("Value")


@dataclass(slots=True)
class LogEntry(Generic[Value]):
    """One value and the serial number of its last change."""

    serial: int
    value: Value


@dataclass(slots=True)
class BoundedLog(Generic[Value]):
    """The newest `capacity` entries by name, oldest first."""

    capacity: int
    entries: OrderedDict[str, LogEntry[Value]] = field(default_factory=OrderedDict)

    def put(self, name: str, serial: int, value: Value) -> None:
        """Add an entry or replace the one of that name; drop the oldest beyond the capacity."""
        self.entries[name] = LogEntry(serial, value)
        while len(self.entries) > self.capacity:
            self.entries.popitem(last=False)

    def since(self, serial: int) -> tuple[Value, ...]:
        """Return the values that changed after a serial number."""
        return tuple(entry.value for entry in self.entries.values() if entry.serial > serial)


class History:
    """Turns, emotions over time, decisions about the speaker, and notes."""

    def __init__(self) -> None:
        self.turns: BoundedLog[TurnView] = BoundedLog(MAX_TURNS)
        self.points: BoundedLog[PointView] = BoundedLog(MAX_POINTS)
        self.decisions: BoundedLog[DecisionView] = BoundedLog(MAX_DECISIONS)
        self.notes: BoundedLog[NoteView] = BoundedLog(MAX_NOTES)
