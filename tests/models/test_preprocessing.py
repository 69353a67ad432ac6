"""Scaling of windows: as the library's extractor, and gain for quiet windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.models.preprocessing import QUIET_RMS, prepare
from stream.types import Samples


def noise(rms: float, n: int = 8_000) -> Samples:
    samples = np.random.default_rng(1).normal(size=n)
    scaled: Samples = (samples * rms / np.sqrt(np.mean(samples**2))).astype(np.float32)
    return scaled


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("gain", [1.0, 1e-3, 0.0])
def test_normalised_as_the_librarys_extractor_does(gain: float) -> None:
    from transformers import Wav2Vec2FeatureExtractor  # noqa: PLC0415

    windows = [noise(0.1) * np.float32(gain) + np.float32(0.02), noise(0.01) * np.float32(gain)]
    extract = Wav2Vec2FeatureExtractor(do_normalize=True)
    wanted = extract(windows, sampling_rate=16_000, return_tensors="np").input_values
    np.testing.assert_allclose(prepare(windows, normalise=True), wanted, rtol=0, atol=1e-6)


@given(st.floats(QUIET_RMS * 1.001, 0.3))
def test_loud_enough_windows_pass_unchanged(level: float) -> None:
    np.testing.assert_array_equal(prepare([noise(level)], normalise=False)[0], noise(level))


@given(st.floats(1e-6, QUIET_RMS))
def test_quiet_windows_are_raised_to_one_level(level: float) -> None:
    (raised,) = prepare([noise(level)], normalise=False)
    assert rms(raised) == pytest.approx(QUIET_RMS, rel=1e-3)
    np.testing.assert_allclose(raised / rms(raised), noise(level) / rms(noise(level)), rtol=1e-4, atol=1e-6)


def test_raising_never_clips() -> None:
    samples = noise(1e-5, n=48_000)
    samples[17] = 0.5  # a click, which would become 2.2
    (raised,) = prepare([samples], normalise=False)
    assert np.abs(raised).max() == pytest.approx(1.0)


def test_silence_and_nan_pass_unchanged() -> None:
    silence = np.zeros(100, np.float32)
    np.testing.assert_array_equal(prepare([silence], normalise=False)[0], silence)
    bad = np.full(100, np.nan, np.float32)
    assert np.isnan(prepare([bad], normalise=False)).all()


def test_windows_are_scaled_independently() -> None:
    loud, quiet = noise(0.1), noise(0.001)
    np.testing.assert_array_equal(prepare([loud, quiet], normalise=False)[0], loud)
    assert prepare([loud, quiet], normalise=False).dtype == np.float32
