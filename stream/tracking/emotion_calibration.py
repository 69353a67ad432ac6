"""A user's own calibration of an emotion model: a temperature, and a bias for each label (pure).

Temperature corrects confidence (Guo et al. 2017); biases correct what a model takes for another label, such as a calm
voice for a sad one. Both act on the logarithms of the probabilities, so they fit any model that gives labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

from stream.settings import EmotionSettings
from stream.types import ModelInfo

FLOOR = 1e-4
"""Smaller probabilities are not published, and count as this."""


class EmotionCalibration:
    """Corrects probabilities in the order of a model's labels."""

    def __init__(self, *, temperature: float = 1.0, bias: Sequence[float] = ()) -> None:
        self._temperature = temperature
        self._bias = tuple(bias)

    @classmethod
    def of(cls, settings: EmotionSettings, model: ModelInfo) -> EmotionCalibration | None:
        """Return the calibration of the settings if it is of this model, else None."""
        fitted = settings.calibration
        if not fitted.model or fitted.model != model.name or not model.labels:
            return None
        return cls(temperature=fitted.temperature, bias=[fitted.bias.get(label, 0.0) for label in model.labels])

    def apply(self, probabilities: Sequence[float]) -> list[float]:
        """Return corrected probabilities, which sum to 1."""
        logits = [
            log(max(value, FLOOR)) / self._temperature + bias
            for value, bias in zip(probabilities, self._bias, strict=True)
        ]
        highest = max(logits)
        weights = [exp(value - highest) for value in logits]
        total = sum(weights)
        return [weight / total for weight in weights]
