"""The emotion head on CAM++: scores, sounds outside its labels, and one forward for voice and emotion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stream.app.assembly import build_ensembles
from stream.errors import ModelFormatError, ModelNotFound
from stream.models.campplus.emotion import LABELS, PitchQuantiles, emotion, probabilities
from stream.models.campplus.emotion import WEIGHTS as HEAD
from stream.models.campplus.model import speaker
from stream.models.campplus.trunk import share_trunks
from stream.settings import ModelSettings, load
from stream.types import Samples, Task, Window
from tests.support.voices import demo_speech

SETTINGS = ModelSettings(name="emotion-campplus", window_s=2.0, hop_s=0.5)
VOICE = ModelSettings(name="speaker-campplus", window_s=2.0, hop_s=0.5)


def window(samples: Samples, index: int = 0) -> Window:
    return Window("a", index, 0, samples, 1.0, len(samples))


def voiced(pitch_hz: float, seconds: float = 2.0) -> Samples:
    """Return a harmonic tone like a sustained vowel."""
    time_s = np.arange(round(16_000 * seconds)) / 16_000
    waves = [np.sin(2 * np.pi * pitch_hz * n * time_s) / n for n in range(1, 12)]
    return np.asarray(0.05 * np.sum(waves, axis=0), np.float32)


def test_gives_probabilities_and_arousal() -> None:
    model = emotion(SETTINGS)
    assert (model.info.task, model.info.labels, model.info.dimensions) == (Task.EMOTION, LABELS, ("arousal",))
    (scores,) = model.infer([window(demo_speech("Alice")[:32_000])])
    assert scores.values.shape == (5,)
    assert scores.values[:4].sum() == pytest.approx(1.0, abs=1e-5)
    assert ((scores.values >= 0) & (scores.values <= 1)).all()


@pytest.mark.slow
def test_does_not_depend_on_gain_or_on_the_batch() -> None:
    model = emotion(SETTINGS)
    speech = demo_speech("Alice")[:32_000]
    first, quiet, again = (one.values for one in model.infer([window(speech), window(speech * 0.05), window(speech)]))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, quiet, atol=0.05)


def test_noise_gets_no_firm_label() -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, 32_000).astype(np.float32)
    (scores,) = emotion(SETTINGS).infer([window(noise)])
    assert scores.values[:4].max() < 0.5


@pytest.mark.slow
def test_voice_and_emotion_share_one_forward() -> None:
    models = [emotion(SETTINGS), speaker(VOICE)]
    (ensemble,) = share_trunks([*models, object()])
    assert list(ensemble.models) == models
    batch = [window(demo_speech("Alice")[at : at + 32_000], at) for at in (0, 8_000)]
    for shared, *alone in zip(ensemble.infer(batch), *(model.infer(batch) for model in models), strict=True):
        for scores, before in zip(shared, alone, strict=True):
            assert (scores.model, scores.index) == (before.model, before.index)
            np.testing.assert_array_equal(scores.values, before.values)


def test_the_default_preset_runs_the_trunk_once() -> None:
    models = load().models
    assert models.emotion.name == "emotion-campplus"
    assert (models.emotion.window_s, models.emotion.hop_s) == (models.speaker.window_s, models.speaker.hop_s)
    (ensemble,) = build_ensembles([emotion(models.emotion), speaker(models.speaker)])
    assert [model.info.task for model in ensemble.models] == [Task.EMOTION, Task.SPEAKER]


def test_other_windows_share_memory_only() -> None:
    apart = [emotion(SETTINGS.model_copy(update={"window_s": 3.0})), speaker(VOICE)]
    assert share_trunks(apart) == []
    assert apart[0].trunk is apart[1].trunk


@pytest.mark.parametrize("pitch_hz", [85.0, 130.0])  # half and a third of it are below the range
def test_pitch_is_found(pitch_hz: float) -> None:
    low, middle, high = PitchQuantiles()(torch.from_numpy(voiced(pitch_hz))).tolist()
    assert middle == pytest.approx(12 * np.log2(pitch_hz), abs=1.0)
    assert low <= middle <= high


def test_sounds_outside_the_labels_come_close_to_chance() -> None:
    logits = torch.tensor([5.0, 0.0, 0.0, 0.0, 8.0, 3.0])
    values = probabilities(logits, 1.0)
    assert values[:4].tolist() == pytest.approx([0.25] * 4, abs=0.01)
    assert float(values[4]) == pytest.approx(0.5, abs=0.01)
    assert probabilities(logits * torch.tensor([1, 1, 1, 1, -1, 1]), 1.0)[0] > 0.95


def test_refuses_weights_that_are_not_its_own(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="revision 1 only"):
        emotion(SETTINGS.model_copy(update={"revision": "0"}))
    tensors = load_file(HEAD)
    other = tmp_path / "emotion.safetensors"
    header = {"name": "x", "revision": "1", "sample_rate_hz": "16000", "temperature": "1,0"}
    save_file({**tensors, "bias": tensors["bias"][:4].clone()}, other, metadata=header)
    with pytest.raises(ModelFormatError, match="is a different net"):
        emotion(SETTINGS, weights=other)
    save_file(tensors, other, metadata={**header, "temperature": "1"})
    with pytest.raises(ModelFormatError, match="no valid 'temperature'"):
        emotion(SETTINGS, weights=other)
