"""Journals on clocks that stand still, and their messages."""

from __future__ import annotations

from pathlib import Path

from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message

NAME = "outbox-kitchen"


class Clock:
    """A monotonic and a wall clock that stand still until a test moves them."""

    def __init__(self, *, now_s: float = 100.0, wall_s: float = 1_800_000_000.0) -> None:
        self.now_s, self.wall_s = now_s, wall_s

    def open(self, folder: Path) -> Journal:
        return Journal(folder=folder, name=NAME, clock=lambda: self.now_s, time_of_day=lambda: self.wall_s)


def message(number: int, *, added_s: float = 100.0) -> Message:
    return Message("turn", f'{{"id":"{number}"}}', rolling=False, number=number, added_s=added_s)
