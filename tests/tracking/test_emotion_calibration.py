"""Corrected probabilities, and a calibration that belongs to one model."""

from __future__ import annotations

import numpy as np
import pytest

from stream.settings import EmotionCalibrationSettings, EmotionSettings
from stream.tracking.emotion_calibration import EmotionCalibration
from stream.types import ModelInfo, Task

MODEL = ModelInfo("m", "1", Task.EMOTION, ("neutral", "sad"))


def settings(**more: object) -> EmotionSettings:
    return EmotionSettings(calibration=EmotionCalibrationSettings.model_validate({"model": "m", **more}))


def test_no_change_by_default() -> None:
    calibration = EmotionCalibration.of(settings(), MODEL)
    assert calibration is not None
    assert calibration.apply([0.8, 0.2]) == pytest.approx([0.8, 0.2])


def test_temperature_and_bias_act_on_logits() -> None:
    calibration = EmotionCalibration.of(settings(temperature=2.0, bias={"sad": 1.0}), MODEL)
    assert calibration is not None
    logits = np.log([0.8, 0.2]) / 2 + [0.0, 1.0]
    assert calibration.apply([0.8, 0.2]) == pytest.approx(np.exp(logits) / np.exp(logits).sum())
    assert sum(calibration.apply([1.0, 0.0])) == pytest.approx(1.0)


def test_another_model_is_left_alone() -> None:
    assert EmotionCalibration.of(EmotionSettings(), MODEL) is None
    assert EmotionCalibration.of(settings(), ModelInfo("other", "1", Task.EMOTION, ("neutral", "sad"))) is None
    dimensions_only = ModelInfo("m", "1", Task.EMOTION, dimensions=("arousal",))
    assert EmotionCalibration.of(settings(), dimensions_only) is None
