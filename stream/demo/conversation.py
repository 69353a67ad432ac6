"""The bundled conversation: three synthesised voices, with a reference of speakers, times, texts and emotions.

`scripts/conversation` generates the files; README.md in this folder names their sources.
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
    """One turn as it was synthesised; `emotion` is the speaking style, in the compact model's labels."""

    start_s: float
    end_s: float
    speaker: str
    emotion: str
    text: str


def turns() -> tuple[ReferenceTurn, ...]:
    """Return the conversation's turns, ordered by their starts."""
    with REFERENCE_CSV.open(encoding="utf-8", newline="") as file:
        return tuple(
            ReferenceTurn(float(row["start_s"]), float(row["end_s"]), row["speaker"], row["emotion"], row["text"])
            for row in csv.DictReader(file)
        )
