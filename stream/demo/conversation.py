"""The bundled conversation: four people, two of them enrolled, with a reference of speakers and times.

`scripts/conversation` generates the files; README.md in this folder names their sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

AUDIO = Path(__file__).parent / "conversation.flac"
REFERENCE_RTTM = AUDIO.with_suffix(".rttm")

ENROLMENTS = {"Alice": AUDIO.with_name("alice.flac"), "Bob": AUDIO.with_name("bob.flac")}
"""Recordings of the enrolled people, from other files than their turns."""

PROFILES = AUDIO.with_name("profiles.json")
"""Their x-vectors by the bundled speaker models, as of `tonewatch profiles export FILE`."""


@dataclass(frozen=True, slots=True)
class ReferenceTurn:
    """One turn as it was mixed."""

    start_s: float
    end_s: float
    speaker: str


def turns() -> tuple[ReferenceTurn, ...]:
    """Return the conversation's turns, ordered by their starts."""
    rows = [line.split() for line in REFERENCE_RTTM.read_text(encoding="utf-8").splitlines()]
    return tuple(
        ReferenceTurn(float(start), round(float(start) + float(length), 3), speaker)
        for _, _, _, start, length, _, _, speaker, *_ in rows
    )
