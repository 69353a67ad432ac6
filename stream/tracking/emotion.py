"""Rolling emotion of one speaker: smoothed probabilities and dimensions, and a label with hysteresis (pure).

Probabilities are averaged exponentially over *seconds of speech*; silence does not change them. A label starts when its
smoothed probability reaches `enter` and leads by `margin`, ends when it falls below `exit`, and lasts for at least
`dwell_s` of speech. Between labels the state is `uncertain`, which unlike `silence` is a result of the model.

Dimensions (arousal, with some models dominance and valence) are averaged alike. The trend of each is its smoothed value
minus a slow average, so that a person who gets excited is seen whatever their usual manner.
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
    dimensions: tuple[float, ...] = ()
    trends: tuple[float, ...] = ()


class EmotionTracker:
    """Rolling emotion of one speaker."""

    def __init__(self, *, labels: Sequence[str], settings: EmotionSettings) -> None:
        self._labels = tuple(labels)
        self._settings = settings
        self._smoothed: tuple[float, ...] | None = None
        self._dimensions: tuple[float, ...] = ()
        self._slow: tuple[float, ...] = ()
        self._label = UNCERTAIN
        self._since = 0
        self._held_s = 0.0

    def update(
        self, probabilities: Sequence[float], *, speech_s: float, end_sample: int, dimensions: Sequence[float] = ()
    ) -> EmotionState:
        """Add the probabilities (in label order) and dimensions of one window, which hold `speech_s` of new speech."""
        if self._smoothed is None:
            self._smoothed = tuple(probabilities)
            self._dimensions = self._slow = tuple(dimensions)
            self._since = end_sample
        else:
            weight = 1.0 - exp(-speech_s / self._settings.smoothing_s)
            self._smoothed = _average(self._smoothed, probabilities, weight)
            self._dimensions = _average(self._dimensions, dimensions, weight)
            self._slow = _average(self._slow, dimensions, 1.0 - exp(-speech_s / self._settings.trend_s))
        self._held_s += speech_s
        label = self._decide(self._smoothed)
        if label != self._label:
            self._label, self._since, self._held_s = label, end_sample, 0.0
        trends = tuple(fast - slow for fast, slow in zip(self._dimensions, self._slow, strict=True))
        probability = self._probability(self._label)
        return EmotionState(label, probability, self._since, self._smoothed, self._dimensions, trends)

    def _decide(self, smoothed: tuple[float, ...]) -> str:
        if not smoothed:  # a model of dimensions only
            return UNCERTAIN
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
        if not self._smoothed:
            return 0.0
        return self._smoothed[self._labels.index(label)] if label in self._labels else max(self._smoothed)


def _average(before: Sequence[float], newest: Sequence[float], weight: float) -> tuple[float, ...]:
    return tuple(old + weight * (new - old) for old, new in zip(before, newest, strict=True))
