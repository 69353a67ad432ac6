"""The bundled conversation: three synthesised voices, and what was truly said by whom, when and in which manner.

`scripts/conversation` makes the files; README.md beside this says of what.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

AUDIO = Path(__file__).parent / "conversation.flac"
REFERENCE_RTTM = AUDIO.with_suffix(".rttm")
REFERENCE_CSV = AUDIO.with_suffix(".csv")


@dataclass(frozen=True, slots=True)
class ReferenceTurn:
    """One turn as it was made: `emotion` is the manner of speaking, in the compact model's labels."""

    start_s: float
    end_s: float
    speaker: str
    emotion: str
    text: str


def turns() -> tuple[ReferenceTurn, ...]:
    """The conversation's turns, in order of their starts."""
    with REFERENCE_CSV.open(encoding="utf-8", newline="") as file:
        return tuple(
            ReferenceTurn(float(row["start_s"]), float(row["end_s"]), row["speaker"], row["emotion"], row["text"])
            for row in csv.DictReader(file)
        )
