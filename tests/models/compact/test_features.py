"""Front end of the compact nets: independence of gain, finite values, and pitch."""

from __future__ import annotations

import torch
from torch import Tensor

from stream.models.compact.features import MELS, PITCH_LAGS, Correlogram, mel_filters, pitch_lags
from stream.models.compact.nets import FrontEnd
from stream.types import SAMPLE_RATE_HZ


def voice(*, hz: float, seconds: float = 1.0) -> Tensor:
    """Return a periodic signal of ten harmonics."""
    at_s = torch.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return sum((torch.sin(2 * torch.pi * hz * n * at_s) / n for n in range(1, 11)), torch.zeros_like(at_s)) * 0.05


def test_no_filter_is_empty_and_each_averages() -> None:
    filters = mel_filters()
    assert filters.shape == (257, MELS)
    assert torch.allclose(filters.sum(dim=0), torch.ones(MELS))


def test_gain_has_no_effect() -> None:
    audio = voice(hz=140) + 0.01 * torch.randn(SAMPLE_RATE_HZ, generator=torch.Generator().manual_seed(1))
    front = FrontEnd()
    for gain in (0.01, 10.0):
        assert (front(gain * audio) - front(audio)).abs().max() < 1e-3


def test_silence_gives_finite_features() -> None:
    assert FrontEnd()(torch.zeros(SAMPLE_RATE_HZ)).isfinite().all()


def test_the_correlogram_peaks_at_the_pitch() -> None:
    for hz in (90.0, 150.0, 240.0):
        found = Correlogram()(voice(hz=hz))
        assert found.shape[1] == PITCH_LAGS
        best_hz = SAMPLE_RATE_HZ / pitch_lags()[found.mean(dim=0).argmax()]
        assert abs(float(best_hz) / hz - 1) < 0.05


def test_log_mel_and_pitch_have_equally_many_frames() -> None:
    for samples in (8_000, 8_001, 32_000, 47_999):
        features = FrontEnd()(torch.randn(samples))
        assert features.shape == (2 * ((samples - 640) // 320 + 1), MELS + PITCH_LAGS)  # each pitch frame is repeated
