"""Which of a closed set of people speaks, gathered over a turn (pure). A demonstration: a stranger is called someone.

What a model says of single windows is averaged, each window counting by its new speech. What is averaged belongs to
one voice: a window counts from where the voice last changed on, and what was gathered before a pause only if the same
voice was made out after it, before the turn would have ended.
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

REMEMBERED = 64
"""Windows of a stretch of speech that are kept apart, until it is known whose they are."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Probabilities (people,) weighted by samples of new speech, and these samples."""

    weighted: Probabilities
    speech_samples: int

    def with_(self, other: _Evidence) -> _Evidence:
        return _Evidence(self.weighted + other.weighted, self.speech_samples + other.speech_samples)


class IdentityTracker:
    """The candidates of one stream."""

    def __init__(self, *, labels: Sequence[str], candidates: int, pause_s: float) -> None:
        self._labels = labels
        self._most = candidates
        self._pause = samples(pause_s)
        self._before: _Evidence | None = None  # of earlier stretches of this turn
        self._windows: deque[tuple[int, _Evidence]] = deque(maxlen=REMEMBERED)  # of this stretch, by their beginning
        self._owner: str | None = None  # whose `_before` is
        self._found: str | None = None  # who was made out in this stretch
        self._stretch: int | None = None
        self._heard_until = self._pure_from = 0

    def hear(self, cut: WindowSpan, probabilities: Probabilities | None) -> None:
        """A window's probabilities (people,), in the order of the labels; None if it was not scored."""
        if cut.stretch is None or probabilities is None:
            return
        if cut.stretch.start_sample != self._stretch:
            self._begin(cut.stretch.start_sample)
        self._heard_until = cut.stretch.end_sample
        fresh = max(cut.fresh_samples, 1)
        if cut.start_sample >= self._pure_from:
            self._windows.append((cut.start_sample, _Evidence(probabilities * np.float32(fresh), fresh)))

    def settle(self, speaker: str | None, cut: WindowSpan, *, changed_at: int | None) -> None:
        """It was decided who spoke in a window; None: nobody that is known."""
        if speaker == self._found:
            return
        if self._found is not None:  # the voice changed within the stretch
            middle = cut.end_sample - cut.length_samples // 2
            self._pure_from = middle if changed_at is None else changed_at
            while self._windows and self._windows[0][0] < self._pure_from:
                self._windows.popleft()
        if speaker != self._owner or self._found is not None:
            self._before = None
        self._owner = self._found = speaker

    def rename(self, was: str, speaker: str) -> None:
        """A voice turned out to be somebody else."""
        self._owner = speaker if self._owner == was else self._owner
        self._found = speaker if self._found == was else self._found

    def forget(self) -> None:
        """The sound broke off, and whoever comes back may be anybody."""
        self._before, self._owner, self._found, self._stretch = None, None, None, None
        self._windows.clear()

    def best(self) -> Identity | None:
        """The likeliest people, as far as the turn has been heard; None before anything of it was."""
        gathered = self._of_stretch()
        if self._before is not None and self._found is not None:
            gathered = self._before if gathered is None else self._before.with_(gathered)
        if gathered is None:
            return None
        mean = gathered.weighted / np.float32(gathered.speech_samples)
        order = np.argsort(-mean, kind="stable")[: self._most]
        likeliest = tuple(
            Candidate(label=self._labels[at], probability=round(min(1.0, float(mean[at])), 4)) for at in order
        )
        return Identity(
            label=likeliest[0].label,
            probability=likeliest[0].probability,
            candidates=likeliest,
            evidence_s=seconds(gathered.speech_samples),
        )

    def _begin(self, start_sample: int) -> None:
        """Another stretch of speech: what was gathered waits until the same voice is made out again."""
        same_turn = self._found is not None and start_sample - self._heard_until < self._pause
        gathered = self._of_stretch() if same_turn else None
        if gathered is not None:
            self._before = gathered if self._before is None else self._before.with_(gathered)
        elif not same_turn:
            self._before, self._owner = None, None
        self._windows.clear()
        self._found, self._stretch = None, start_sample
        self._pure_from = 0  # windows of a stretch hold nothing from before it

    def _of_stretch(self) -> _Evidence | None:
        parts = [evidence for _, evidence in self._windows]
        if not parts:
            return None
        weighted = np.stack([part.weighted for part in parts]).sum(axis=0)
        return _Evidence(weighted, sum(part.speech_samples for part in parts))
