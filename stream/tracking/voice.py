"""Voice model of one person: the x-vectors that new windows are compared with (pure).

An enrolled voice has fixed exemplars, which no stream changes. A session voice (discovered in a stream: S1, S2 …) has a
centroid of its x-vectors, weighted by seconds of speech; the weight is limited, so that it follows a changing voice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.clock import seconds
from stream.types import WindowSpan

Vector = NDArray[np.float32]

MAX_EVIDENCE_S = 30.0
"""Maximum weight of a centroid, in seconds of speech; beyond it new x-vectors displace older ones."""

MAX_RECENT_VECTORS = 40
"""X-vectors of a session voice that are kept one by one, so that it can be enrolled."""


def unit(vector: Vector) -> Vector:
    """Scale a vector to length one (zeros stay zeros)."""
    length = float(np.linalg.norm(vector))
    return vector if length == 0.0 else np.asarray(vector / length, dtype=np.float32)


class Voice:
    """One person's voice; similarity is the cosine to its centroid or, if enrolled, to its best exemplar."""

    def __init__(self, *, name: str, exemplars: Sequence[Vector], enrolled: bool, evidence_s: float = 0.0) -> None:
        self.name = name
        self.enrolled = enrolled
        self.evidence_s = evidence_s
        self.recent: deque[tuple[Vector, float]] = deque(maxlen=MAX_RECENT_VECTORS)  # with seconds of speech
        if not enrolled:
            self.recent.extend((exemplar, evidence_s / len(exemplars)) for exemplar in exemplars)
        self.last_speech_sample = 0
        self._exemplars = np.stack([unit(exemplar) for exemplar in exemplars])  # (exemplars, dimensions)
        self._sum = self._exemplars.mean(axis=0) * max(evidence_s, 1e-3)
        self._centroid = unit(self._exemplars.mean(axis=0))

    @property
    def centroid(self) -> Vector:
        """The unit mean of the x-vectors."""
        return self._centroid

    def similarity(self, vector: Vector) -> float:
        """Return the cosine to a unit vector."""
        cosine = float(self._centroid @ vector)
        if self.enrolled:
            cosine = max(cosine, float((self._exemplars @ vector).max()))
        return cosine

    def mark_speech(self, end_sample: int) -> None:
        """Store where the voice spoke last; not for enrolled voices, which streams share."""
        if not self.enrolled:
            self.last_speech_sample = end_sample

    def update(self, vector: Vector, speech_s: float) -> None:
        """Update the centroid with `speech_s` of new speech; enrolled voices do not change."""
        if self.enrolled:
            return
        if self.evidence_s + speech_s > MAX_EVIDENCE_S:
            self._sum *= np.float32((MAX_EVIDENCE_S - min(speech_s, MAX_EVIDENCE_S)) / max(self.evidence_s, 1e-3))
            self.evidence_s = MAX_EVIDENCE_S - min(speech_s, MAX_EVIDENCE_S)
        self.recent.append((vector, speech_s))
        self._sum = self._sum + vector * np.float32(speech_s)
        self.evidence_s += speech_s
        self._centroid = unit(self._sum)


@dataclass(frozen=True, slots=True)
class NewVoiceCandidate:
    """A possible new voice from one window, which another window has to confirm."""

    voice: Voice
    end_sample: int


def voice_of_window(name: str, span: WindowSpan, vector: Vector) -> Voice:
    """Return a session voice that rests on one window."""
    return Voice(name=name, exemplars=[vector], enrolled=False, evidence_s=seconds(span.speech_samples))
