"""A turn that is open, with its speech and emotions (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from stream.clock import seconds
from stream.events import TurnBody
from stream.tracking.voice import Vector, unit

DIGITS = 5
"""Decimal places of x-vectors."""


@dataclass(slots=True)
class SpeechSpan:
    """A span with its speech, and the speech of each emotion, in samples."""

    start_sample: int
    end_sample: int
    speech_samples: int = 0
    likely_unknown: bool = False  # if no speaker is decided, the speaker is unknown
    emotions: Counter[str] = field(default_factory=Counter)
    voice: Vector | float = 0.0  # sum of x-vectors; 0 without one

    @property
    def length_samples(self) -> int:
        """Samples from start to end."""
        return self.end_sample - self.start_sample

    def extend(self, other: SpeechSpan) -> None:
        """Append a later span."""
        self.end_sample = max(self.end_sample, other.end_sample)
        self.speech_samples += other.speech_samples
        self.emotions += other.emotions
        self.voice = self.voice + other.voice

    def copy(self) -> SpeechSpan:
        """Return a span that can be changed without changing this one."""
        return replace(self, emotions=Counter(self.emotions))


@dataclass(slots=True)
class OpenTurn:
    """A turn that has not ended; it has a `name` once its start event is out. `track` is by segmentation."""

    speaker: str | None
    speech: SpeechSpan
    track: int | None = None
    name: str | None = None

    def start_body(self, new_name: Callable[[], str], *, minimum_samples: int) -> list[TurnBody]:
        """Return the turn's start event, once it is long enough."""
        if self.name is not None or self.speech.length_samples < minimum_samples:
            return []
        self.name = new_name()
        return [self._body(self.name, "start")]

    def end_body(self) -> list[TurnBody]:
        """Return the turn's end event, if its start was published."""
        return [self._body(self.name, "end")] if self.name is not None else []

    def _body(self, name: str, phase: Literal["start", "end"]) -> TurnBody:
        speech = self.speech
        total = speech.emotions.total()
        shares = (
            {label: round(held / total, 4) for label, held in speech.emotions.items()}
            if phase == "end" and total
            else {}
        )
        return TurnBody(
            phase=phase,
            turn=name,
            start_s=seconds(speech.start_sample),
            end_s=seconds(speech.end_sample),
            speaker=self.speaker,
            emotion=max(shares, key=lambda label: shares[label]) if shares else None,
            emotions=shares,
            speech_s=seconds(speech.speech_samples),
            embedding=_embedding(speech.voice) if phase == "end" else None,
        )


def _embedding(voice: Vector | float) -> tuple[float, ...] | None:
    """Return the mean direction of x-vectors, None without one."""
    if isinstance(voice, float) or not np.any(voice):
        return None
    return tuple(round(float(value), DIGITS) for value in unit(voice))
