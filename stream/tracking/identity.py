"""Closed-set identification: the likeliest of a fixed set of people, accumulated over a turn (pure).

This is a demonstration: an unknown speaker also gets the label of one of the people. Window probabilities are averaged
with their new speech as weights. The average covers one voice only: windows count from the last speaker change on, and
evidence from before a pause counts only if the same voice is recognised after it before the turn ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.clock import samples, seconds
from stream.events import Candidate, Identity
from stream.types import WindowSpan

Probabilities = NDArray[np.float32]

MAX_PENDING_WINDOWS = 64
"""Windows of a speech segment kept one by one, until their speaker is known."""


@dataclass(frozen=True, slots=True)
class _WeightedProbabilities:
    """Probabilities (people,) times samples of new speech, and these samples."""

    weighted: Probabilities
    speech_samples: int

    def plus(self, other: _WeightedProbabilities) -> _WeightedProbabilities:
        return _WeightedProbabilities(self.weighted + other.weighted, self.speech_samples + other.speech_samples)


class IdentityTracker:
    """Closed-set candidates of one stream."""

    def __init__(self, *, labels: Sequence[str], candidates: int, pause_s: float) -> None:
        self._labels = labels
        self._candidates = candidates
        self._pause = samples(pause_s)
        self._earlier: _WeightedProbabilities | None = None  # of earlier segments of this turn
        self._earlier_speaker: str | None = None  # the speaker of `_earlier`
        self._windows: deque[tuple[int, _WeightedProbabilities]] = deque(maxlen=MAX_PENDING_WINDOWS)  # by their starts
        self._speaker: str | None = None  # recognised in this segment
        self._segment: int | None = None
        self._speech_end = self._pure_from = 0

    def observe(self, span: WindowSpan, probabilities: Probabilities | None) -> None:
        """Add the probabilities (people,) of a window, in label order; None if the window was not scored."""
        if span.segment is None or probabilities is None:
            return
        if span.segment.start_sample != self._segment:
            self._begin_segment(span.segment.start_sample)
        self._speech_end = span.segment.end_sample
        new_speech = max(span.new_speech_samples, 1)
        if span.start_sample >= self._pure_from:
            weighted = _WeightedProbabilities(probabilities * np.float32(new_speech), new_speech)
            self._windows.append((span.start_sample, weighted))

    def set_speaker(self, speaker: str | None, span: WindowSpan, *, changed_at: int | None) -> None:
        """Set the speaker decided for a window; None is an unknown speaker."""
        if speaker == self._speaker:
            return
        if self._speaker is not None:  # the speaker changed within the segment
            middle = span.end_sample - span.length_samples // 2
            self._pure_from = middle if changed_at is None else changed_at
            while self._windows and self._windows[0][0] < self._pure_from:
                self._windows.popleft()
        if speaker != self._earlier_speaker or self._speaker is not None:
            self._earlier = None
        self._earlier_speaker = self._speaker = speaker

    def rename(self, previous: str, speaker: str) -> None:
        """Apply a speaker correction."""
        self._earlier_speaker = speaker if self._earlier_speaker == previous else self._earlier_speaker
        self._speaker = speaker if self._speaker == previous else self._speaker

    def reset(self) -> None:
        """Forget all evidence at a gap; another person may speak after it."""
        self._earlier, self._earlier_speaker, self._speaker, self._segment = None, None, None, None
        self._windows.clear()

    def identity(self) -> Identity | None:
        """Return the likeliest people of the turn so far, or None without evidence."""
        total = self._segment_total()
        if self._earlier is not None and self._speaker is not None:
            total = self._earlier if total is None else self._earlier.plus(total)
        if total is None:
            return None
        mean = total.weighted / np.float32(total.speech_samples)
        order = np.argsort(-mean, kind="stable")[: self._candidates]
        likeliest = tuple(
            Candidate(label=self._labels[at], probability=round(min(1.0, float(mean[at])), 4)) for at in order
        )
        return Identity(
            label=likeliest[0].label,
            probability=likeliest[0].probability,
            candidates=likeliest,
            evidence_s=seconds(total.speech_samples),
        )

    def _begin_segment(self, start_sample: int) -> None:
        """Start a speech segment; earlier evidence waits until the same voice is recognised again."""
        same_turn = self._speaker is not None and start_sample - self._speech_end < self._pause
        total = self._segment_total() if same_turn else None
        if total is not None:
            self._earlier = total if self._earlier is None else self._earlier.plus(total)
        elif not same_turn:
            self._earlier, self._earlier_speaker = None, None
        self._windows.clear()
        self._speaker, self._segment = None, start_sample
        self._pure_from = 0  # windows of a segment hold nothing from before it

    def _segment_total(self) -> _WeightedProbabilities | None:
        parts = [weighted for _, weighted in self._windows]
        if not parts:
            return None
        total = np.stack([part.weighted for part in parts]).sum(axis=0)
        return _WeightedProbabilities(total, sum(part.speech_samples for part in parts))
