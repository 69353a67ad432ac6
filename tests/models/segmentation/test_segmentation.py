"""segmentation-3.0 against outputs of the original module, and as an overlap model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stream.errors import InferenceError, ModelFormatError
from stream.models import bundled
from stream.models.campplus import model as campplus
from stream.models.segmentation.model import WEIGHTS, nearest_frames, overlap
from stream.models.segmentation.net import FRAME_HOP_SAMPLES, POWERSET, Segmentation
from stream.settings import ModelSettings
from stream.types import OVERLAP_FRAME_SAMPLES, Task, Window
from tests.support.voices import demo_speech

SETTINGS = ModelSettings(name="overlap-segmentation", window_s=5.0, hop_s=0.5)


def test_probabilities_are_those_of_the_original() -> None:
    expected = np.load(Path(__file__).parent / "golden.npz")["probabilities"]
    draw = np.random.default_rng(20261126)
    samples = (draw.normal(0, 0.1, 48_000) * np.sin(np.arange(48_000) / 5_000)).astype(np.float32)
    net = Segmentation(bundled.read_bundle(WEIGHTS, SETTINGS).tensors).eval()
    with torch.inference_mode():
        found = net(torch.from_numpy(samples)[None])[0].exp().numpy()
    assert found.shape == expected.shape == (175, len(POWERSET))
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)  # weights are rounded to half precision


def test_windows_scored_together_give_the_same_activity() -> None:
    model = overlap(SETTINGS)
    speech = demo_speech("Alice")
    batch = [Window("a", 0, 0, speech[start : start + 48_000], 1.0, 48_000) for start in (0, 16_000)]
    assert model.score_batch is not None
    with torch.inference_mode():
        together = model.score_batch(torch.stack([model.samples(window) for window in batch])).numpy()  # as on a GPU
    for one, values in zip(model.infer(batch), together, strict=True):
        np.testing.assert_allclose(values, one.values, rtol=0, atol=1e-5)


def test_gives_the_activity_of_three_speakers_every_20_ms() -> None:
    model = overlap(SETTINGS)
    assert model.info.task is Task.OVERLAP
    assert not model.spec.from_onset
    samples = demo_speech("Alice")[:80_000]
    (scores,) = model.infer([Window("a", 0, 0, samples, 1.0, len(samples))])
    assert scores.values.shape == (len(samples) // OVERLAP_FRAME_SAMPLES, 3)
    assert scores.values.min() >= 0
    assert scores.values.max() <= 1 + 1e-5
    active = (scores.values > 0.5).sum(axis=1)
    assert np.mean(active == 1) > 0.6  # one speaker, most of the time
    assert np.mean(active >= 2) < 0.05


def test_frames_are_taken_by_their_centres() -> None:
    frames = nearest_frames(80_000, 293).numpy()
    centres = frames * FRAME_HOP_SAMPLES + 991 / 2
    wanted = np.arange(len(frames)) * OVERLAP_FRAME_SAMPLES + OVERLAP_FRAME_SAMPLES / 2
    assert len(frames) == 250
    assert np.abs(centres - wanted)[2:-2].max() <= FRAME_HOP_SAMPLES / 2 + 1


def test_refuses_what_it_cannot_score() -> None:
    with pytest.raises(InferenceError, match="at least 16000 samples"):
        overlap(SETTINGS).infer([Window("a", 0, 0, np.zeros(15_999, np.float32), 1.0, 15_999)])
    with pytest.raises(ModelFormatError, match="is a different net"):
        overlap(SETTINGS, weights=campplus.WEIGHTS)
