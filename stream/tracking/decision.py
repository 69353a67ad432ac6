"""Speaker decision for one window, and the evidence it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.events import Reason, SpeakerState
from stream.tracking.scoring import Scorer
from stream.tracking.voice import Voice

MIN_ALIKE_PROBABILITY = 0.9
"""Probability of one person from which two enrolled voices that share the belief are called too alike."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one window. `changed_at` is the sample of a speaker change within the segment, if any.

    `best`, `score`, `runner_up` and `margin` describe the nearest voices, independent of the decision.
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
    settled: bool = True  # False: later windows may still show whose speech it is
    likely_unknown: bool = False  # if later windows do not settle it, the speaker is unknown
    mixed: bool = False  # two voices seem to share the window


@dataclass(frozen=True, slots=True)
class SpeakerCorrection:
    """A voice published as `previous` since `since_sample` is identified as another voice."""

    previous: str
    voice: Voice
    since_sample: int
    probability: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence behind a decision: cosines to `voices` (n,), belief in each and in an unknown speaker (n + 1,)."""

    voices: Sequence[Voice]
    cosines: NDArray[np.float64]
    belief: NDArray[np.float64]
    evidence_s: float
    mixed: bool

    def ambiguity(self, match: float, scorer: Scorer) -> Reason:
        """Return why no voice reaches `match`: the two likeliest are one enrolled voice under two names, or not."""
        order = np.argsort(-self.belief[:-1])[:2]
        likeliest = [self.voices[place] for place in order]
        if len(likeliest) == 2 and all(voice.enrolled for voice in likeliest) and self.belief[order].sum() >= match:  # noqa: PLR2004
            return "too_alike" if scorer.probability(*likeliest) >= MIN_ALIKE_PROBABILITY else "ambiguous"
        return "ambiguous"

    def decision(
        self,
        state: SpeakerState,
        reason: Reason,
        voice: Voice | None = None,
        *,
        changed_at: int | None = None,
        settled: bool = True,
        likely_unknown: bool = False,
    ) -> Decision:
        """Build a decision that carries this evidence."""
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
            likely_unknown=likely_unknown,
            mixed=self.mixed,
        )
