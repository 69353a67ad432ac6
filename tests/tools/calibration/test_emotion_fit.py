"""Fit of temperature and biases on labelled recordings: what it corrects, and when it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream.tools.calibration.emotion_fit import fit
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.emotion import EmotionResult, UtteranceResult

LABELS = ("neutral", "happy", "angry", "sad")


def recordings(
    count: int, *, sharpness: float, shift: float = 0.0, people: int = 6, noise: float = 1.6
) -> EmotionResult:
    """Return recordings of a model that is `sharpness` times too confident and has `shift` too much of sad."""
    draw = np.random.default_rng(7)
    rows = []
    for at in range(count):
        truth = at % 2 * 3  # neutral or sad
        logits = draw.normal(0, noise, 4) + 2.5 * (np.arange(4) == truth)
        logits = logits * sharpness + shift * (np.arange(4) == 3)
        values = np.exp(logits - logits.max())
        one = Utterance((Path(f"{at}.wav"),), f"p{at % people}" if people else "", LABELS[truth])
        rows.append(UtteranceResult(one, truth, values / values.sum(), LABELS[truth], 1.0, 1.0, 0))
    return EmotionResult("m", "1", LABELS, tuple(rows), {})


@pytest.mark.parametrize("people", [0, 6])
def test_too_confident_a_model_gets_a_temperature(people: int) -> None:
    fitted = fit(recordings(200, sharpness=4.0, people=people))
    assert not fitted.refusal
    assert fitted.temperature > 2.0
    assert fitted.after["ece"] < fitted.before["ece"] / 2
    assert fitted.after["loss"] < fitted.before["loss"]


def test_a_label_that_is_given_too_often_gets_a_negative_bias() -> None:
    fitted = fit(recordings(200, sharpness=1.0, shift=3.0))
    assert fitted.bias["sad"] < -1.0 < 1.0 < fitted.bias["neutral"]
    assert fitted.bias["happy"] == fitted.bias["angry"] == 0.0, "labels without recordings stay as they are"
    assert fitted.after["recall"] > fitted.before["recall"]


def test_few_recordings_and_fits_without_gain_are_refused() -> None:
    assert "two labels need 5 recordings" in fit(recordings(8, sharpness=1.0)).refusal
    good = fit(recordings(12, sharpness=1.0, noise=6.0))
    assert good.refusal == "" or "does not hold for recordings left out" in good.refusal
