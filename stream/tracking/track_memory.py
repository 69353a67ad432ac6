"""What is believed about the tracks of a window while another one is in the foreground (pure)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from stream.clock import samples

MAX_HELD_PAUSE_S = 0.7
"""Pause of a track from which its speaker is not held but has to be recognised again."""


@dataclass(slots=True)
class TrackMemory:
    """Probabilities of voices and the current speaker of a track, by name, the speech they rest on, and its end."""

    probabilities: Mapping[str, float]
    current: str | None
    evidence_samples: int
    end_sample: int

    def held(self, start_sample: int) -> str | None:
        """Return the speaker who goes on at `start_sample`: after a pause, speech may be another person's."""
        return self.current if start_sample - self.end_sample < samples(MAX_HELD_PAUSE_S) else None


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
