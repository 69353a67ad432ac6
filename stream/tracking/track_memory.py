"""What is believed about the tracks of a window while another one is in the foreground (pure)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class TrackMemory:
    """Probabilities of voices and the current speaker of a track, by name, and the speech they rest on."""

    probabilities: Mapping[str, float]
    current: str | None
    evidence_samples: int


class TrackMemories(dict[int, TrackMemory]):
    """Memories by the track's number."""

    def keep(self, present: Collection[int]) -> None:
        """Forget tracks that have left the window."""
        for number in [number for number in self if number not in present]:
            del self[number]

    def rename(self, previous: str, name: str) -> None:
        """Apply a speaker correction."""
        for memory in self.values():
            memory.current = name if memory.current == previous else memory.current
