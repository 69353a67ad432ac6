"""Rolling emotion of one speaker: smoothed probabilities and a label with hysteresis (pure).

Probabilities are averaged exponentially over *seconds of speech*; silence does not change them. A label starts when its
smoothed probability reaches `enter` and leads by `margin`, ends when it falls below `exit`, and lasts for at least
`dwell_s` of speech. Between labels the state is `uncertain`, which unlike `silence` is a result of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from stream.settings import EmotionSettings

UNCERTAIN = "uncertain"
SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class EmotionState:
    """The rolling state after an update. `since_sample` is the end of the window that started the label."""

    label: str
    confidence: float
    since_sample: int
    probabilities: tuple[float, ...]


class EmotionTracker:
    """Rolling emotion of one speaker."""

    def __init__(self, *, labels: Sequence[str], settings: EmotionSettings) -> None:
        self._labels = tuple(labels)
        self._settings = settings
        self._smoothed: tuple[float, ...] | None = None
        self._label = UNCERTAIN
        self._since = 0
        self._held_s = 0.0

    def update(self, probabilities: Sequence[float], *, speech_s: float, end_sample: int) -> EmotionState:
        """Add the probabilities of one window (in label order), which hold `speech_s` of new speech."""
        if self._smoothed is None:
            self._smoothed = tuple(probabilities)
            self._since = end_sample
        else:
            weight = 1.0 - exp(-speech_s / self._settings.smoothing_s)
            self._smoothed = tuple(
                old + weight * (new - old) for old, new in zip(self._smoothed, probabilities, strict=True)
            )
        self._held_s += speech_s
        label = self._decide(self._smoothed)
        if label != self._label:
            self._label, self._since, self._held_s = label, end_sample, 0.0
        return EmotionState(label, self._probability(self._label), self._since, self._smoothed)

    def _decide(self, smoothed: tuple[float, ...]) -> str:
        ranked = sorted(range(len(smoothed)), key=lambda place: -smoothed[place])
        best, second = ranked[0], ranked[1] if len(ranked) > 1 else None
        lead = smoothed[best] - (smoothed[second] if second is not None else 0.0)
        settings = self._settings
        candidate = self._labels[best] if smoothed[best] >= settings.enter and lead >= settings.margin else None
        if self._label == UNCERTAIN:
            return candidate or UNCERTAIN
        if candidate == self._label or self._held_s < settings.dwell_s:
            return self._label
        if candidate is not None:
            return candidate
        return self._label if self._probability(self._label) >= settings.exit else UNCERTAIN

    def _probability(self, label: str) -> float:
        if self._smoothed is None:
            return 0.0
        return self._smoothed[self._labels.index(label)] if label in self._labels else max(self._smoothed)
