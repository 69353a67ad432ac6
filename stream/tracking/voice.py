"""A voice: the x-vectors by which a person is known again.

An enrolled voice has frozen exemplars; nothing heard later changes them. A voice met in the stream has a centroid that
follows its x-vectors, weighted by seconds of speech, with a cap so that it can follow a voice that tires.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

CAP_S = 30.0
"""Speech after which new x-vectors replace old ones instead of adding to them."""


RECENT = 40
"""X-vectors of a voice met that are remembered one by one, so that it can be enrolled."""


def unit(vector: Vector) -> Vector:
    """The vector at length one (zeros stay zeros)."""
    length = float(np.linalg.norm(vector))
    return vector if length == 0.0 else np.asarray(vector / length, dtype=np.float32)


class Voice:
    """One person's voice; cosines are against its best exemplar and its centroid."""

    def __init__(self, *, name: str, exemplars: Sequence[Vector], enrolled: bool, evidence_s: float = 0.0) -> None:
        self.name = name
        self.enrolled = enrolled
        self.evidence_s = evidence_s
        self.recent: deque[tuple[Vector, float]] = deque(maxlen=RECENT)  # each with its seconds of speech
        if not enrolled:
            self.recent.extend((exemplar, evidence_s / len(exemplars)) for exemplar in exemplars)
        self.heard_until = 0
        self._exemplars = np.stack([unit(exemplar) for exemplar in exemplars])  # (exemplars, dimensions)
        self._sum = self._exemplars.mean(axis=0) * max(evidence_s, 1e-3)
        self._centroid = unit(self._exemplars.mean(axis=0))

    @property
    def centroid(self) -> Vector:
        """The mean direction, at length one."""
        return self._centroid

    def similarity(self, vector: Vector) -> float:
        """Cosine to `vector` (of length one)."""
        cosine = float(self._centroid @ vector)
        if self.enrolled:
            cosine = max(cosine, float((self._exemplars @ vector).max()))
        return cosine

    def heard(self, end_sample: int) -> None:
        """It spoke up to there; enrolled voices do not keep that, since streams share them."""
        if not self.enrolled:
            self.heard_until = end_sample

    def update(self, vector: Vector, speech_s: float) -> None:
        """Learn from `speech_s` of new speech; enrolled voices do not."""
        if self.enrolled:
            return
        if self.evidence_s + speech_s > CAP_S:
            self._sum *= np.float32((CAP_S - min(speech_s, CAP_S)) / max(self.evidence_s, 1e-3))
            self.evidence_s = CAP_S - min(speech_s, CAP_S)
        self.recent.append((vector, speech_s))
        self._sum = self._sum + vector * np.float32(speech_s)
        self.evidence_s += speech_s
        self._centroid = unit(self._sum)
