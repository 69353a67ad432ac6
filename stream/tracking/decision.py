"""What is decided about one window of a stream, and what it was decided by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.events import Reason, SpeakerState
from stream.tracking.voice import Voice


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one window. `changed_at` is where inside a stretch the voice changed, if it did.

    `best`, `score`, `runner_up` and `margin` are about the nearest voices, whoever was decided on.
    """

    state: SpeakerState
    reason: Reason
    voice: Voice | None = None
    best: str | None = None
    score: float | None = None
    probability: float | None = None
    runner_up: str | None = None
    margin: float | None = None
    evidence_s: float = 0.0
    changed_at: int | None = None
    settled: bool = True  # False: whose it is may still turn out
    stranger: bool = False  # if nothing else turns out, it was nobody who is known
    mixed: bool = False  # two voices seem to share the window


@dataclass(frozen=True, slots=True)
class SpeakerCorrection:
    """A voice turned out to be another one, since a sample."""

    was: str
    voice: Voice
    since_sample: int
    probability: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a decision rests on: cosines to `voices` (n,), belief in them and in nobody known (n + 1,)."""

    voices: Sequence[Voice]
    cosines: NDArray[np.float64]
    belief: NDArray[np.float64]
    evidence_s: float
    mixed: bool

    def decision(
        self,
        state: SpeakerState,
        reason: Reason,
        voice: Voice | None = None,
        *,
        changed_at: int | None = None,
        settled: bool = True,
        stranger: bool = False,
    ) -> Decision:
        """Say what was decided, and on which grounds."""
        order = np.argsort(-self.cosines)
        return Decision(
            state=state,
            reason=reason,
            voice=voice,
            best=self.voices[order[0]].name if len(order) else None,
            score=float(self.cosines[order[0]]) if len(order) else None,
            probability=float(self.belief.max()) if len(self.belief) else None,
            runner_up=self.voices[order[1]].name if len(order) > 1 else None,
            margin=float(self.cosines[order[0]] - self.cosines[order[1]]) if len(order) > 1 else None,
            evidence_s=self.evidence_s,
            changed_at=changed_at,
            settled=settled,
            stranger=stranger,
            mixed=self.mixed,
        )
