"""The compact models: scores, metadata, folding, and errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

from stream.errors import InferenceError, ModelError, ModelFormatError, ModelNotFound
from stream.models.bundled import BundledModel
from stream.models.compact.folding import fold
from stream.models.compact.model import load_emotion, load_speaker
from stream.models.compact.nets import EmotionNet, SpeakerNet
from stream.models.onednn import Linear, traceable_linear
from stream.settings import ModelSettings
from stream.types import Model, Task, Window

FOLDER = Path(load_speaker.__code__.co_filename).parent
SPEAKER = ModelSettings(name="compact-speaker", window_s=2.0, hop_s=0.5)
EMOTION = ModelSettings(name="compact-emotion", window_s=3.0, hop_s=1.0)

Extract = Callable[..., list[Window]]


@pytest.fixture(scope="module", params=["speaker", "emotion"])
def model(request: pytest.FixtureRequest) -> Model:
    return load_speaker(SPEAKER) if request.param == "speaker" else load_emotion(EMOTION)


@pytest.fixture(scope="module")
def speaker() -> Model:
    return load_speaker(SPEAKER)


@pytest.fixture(scope="module")
def emotion() -> Model:
    return load_emotion(EMOTION)


def with_samples(window: Window, samples: NDArray[Any]) -> Window:
    return dataclasses.replace(window, samples=samples.astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("length", [8_000, 23_456, 32_000, 48_000])
def test_a_score_does_not_depend_on_its_batch(model: Model, windows: Extract, length: int) -> None:
    batch = [with_samples(window, window.samples[:length]) for window in windows(8, length=48_000)]
    batched = model.infer(batch)
    for window, score in zip(batch, batched, strict=True):
        (alone,) = model.infer([window])
        assert alone.values.tobytes() == score.values.tobytes()  # bit for bit
        assert (score.source_id, score.index, score.start_sample) == (
            window.source_id,
            window.index,
            window.start_sample,
        )
        assert score.end_sample == window.end_sample
    assert [s.values.tobytes() for s in model.infer(batch[::-1])] == [s.values.tobytes() for s in batched[::-1]]


def test_an_empty_batch(model: Model) -> None:
    assert list(model.infer([])) == []


def test_input_samples_are_not_changed(model: Model, windows: Extract) -> None:
    (window,) = windows(1)
    before = window.samples.copy()
    window.samples.setflags(write=False)
    model.infer([window])
    assert np.array_equal(window.samples, before)


def test_gain_has_little_effect(speaker: Model, emotion: Model, windows: Extract) -> None:
    for window in windows(3, length=32_000):
        for gain in (0.01, 0.1, 10.0):
            louder = with_samples(window, gain * window.samples)
            here, there = (speaker.infer([w])[0].values for w in (window, louder))
            assert float(here @ there) > 0.98
            here, there = (emotion.infer([w])[0].values for w in (window, louder))
            assert np.abs(here - there).max() < 0.02


def test_speakers_are_unit_vectors(speaker: Model, windows: Extract) -> None:
    assert speaker.info.task is Task.SPEAKER
    assert speaker.info.labels == ()
    assert speaker.info.threshold is not None
    assert 0.1 < speaker.info.threshold < 0.9
    for score in speaker.infer(windows(4)):
        assert score.values.shape == (SpeakerNet.DIMENSIONS,)
        assert score.values.dtype == np.float32
        assert float(np.linalg.norm(score.values)) == pytest.approx(1, abs=1e-5)


def test_emotions_are_probabilities(emotion: Model, windows: Extract) -> None:
    assert emotion.info.task is Task.EMOTION
    assert emotion.info.labels == ("neutral", "happy", "angry", "sad")
    assert emotion.info.threshold is None
    for score in emotion.infer(windows(4)):
        assert score.values.shape == (4,)
        assert (score.values > 0).all()
        assert float(score.values.sum()) == pytest.approx(1, abs=1e-5)


def test_windows_are_as_configured(model: Model) -> None:
    settings = SPEAKER if model.info.task is Task.SPEAKER else EMOTION
    assert model.spec.length_samples == settings.window_s * 16_000
    assert model.spec.hop_samples == settings.hop_s * 16_000
    assert model.spec.minimum_samples == 8_000


def test_silence_and_noise_have_finite_scores(model: Model, windows: Extract) -> None:
    (window,) = windows(1)
    noise = np.random.default_rng(0).normal(0, 0.1, len(window.samples))
    for samples in (np.zeros(len(window.samples)), noise):
        (score,) = model.infer([with_samples(window, samples)])
        assert np.isfinite(score.values).all()


@pytest.mark.parametrize(
    "samples", [np.zeros(7_999), np.zeros((8_000, 2)), np.full(8_000, np.nan), np.full(8_000, np.inf)]
)
def test_invalid_samples_are_rejected(model: Model, windows: Extract, samples: NDArray[Any]) -> None:
    (window,) = windows(1)
    with pytest.raises(InferenceError):
        model.infer([with_samples(window, samples)])


def test_size_of_the_nets() -> None:
    assert sum(weight.numel() for weight in SpeakerNet().parameters()) <= 3_000_000
    assert sum(weight.numel() for weight in EmotionNet().parameters()) <= 2_000_000


@pytest.mark.parametrize("name", ["speaker", "emotion"])
def test_metadata_of_the_weights(name: str) -> None:
    path = FOLDER / f"{name}.safetensors"
    assert path.stat().st_size <= 12_000_000
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["name"] == f"compact-{name}"
    assert metadata["sample_rate_hz"] == "16000"
    assert metadata["revision"]
    assert metadata["training"]
    assert ("threshold" if name == "speaker" else "temperature") in metadata
    assert (FOLDER / f"{name.upper()}.md").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("net", [SpeakerNet(), EmotionNet()])
@pytest.mark.parametrize("linear", [lambda: functional.linear, traceable_linear], ids=["torch's", "oneDNN's"])
@pytest.mark.parametrize("frames", [47, 200, 301])
def test_folding_changes_rounding_only(net: SpeakerNet | EmotionNet, linear: Callable[[], Linear], frames: int) -> None:
    draw = torch.Generator().manual_seed(frames)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0, generator=draw)
        elif name.endswith("running_mean"):
            value.normal_(generator=draw)
    whole = type(net)().eval()
    whole.load_state_dict(net.state_dict())
    folded = type(net)().eval()
    folded.load_state_dict(net.state_dict())
    fold(folded.trunk, linear=linear())
    features = torch.randn(1, frames, 104, generator=draw)
    with torch.inference_mode():
        assert torch.allclose(whole(features), folded(features), atol=1e-5)
    with pytest.raises(TypeError, match="folded only once"):
        fold(folded.trunk)


def test_an_unavailable_device_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="device"):
        load_speaker(SPEAKER.model_copy(update={"device": "cuda"}))


def test_another_revision_is_rejected() -> None:
    with pytest.raises(ModelNotFound, match="revision"):
        load_speaker(SPEAKER.model_copy(update={"revision": "0"}))


def test_missing_and_wrong_weights_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load_speaker(SPEAKER, weights=tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not weights")
    with pytest.raises(ModelFormatError):
        load_speaker(SPEAKER, weights=damaged)
    with pytest.raises(ModelFormatError):
        load_speaker(SPEAKER, weights=FOLDER / "emotion.safetensors")
    nameless = tmp_path / "nameless.safetensors"
    save_file(load_file(FOLDER / "speaker.safetensors"), nameless)
    with pytest.raises(ModelFormatError):
        load_speaker(SPEAKER, weights=nameless)


def test_bfloat16_is_close(windows: Extract) -> None:
    batch = windows(3, length=32_000)
    exact = load_speaker(SPEAKER).infer(batch)
    coarse: BundledModel = load_speaker(SPEAKER.model_copy(update={"dtype": "bfloat16"}))
    for a, b in zip(exact, coarse.infer(batch), strict=True):
        assert float(a.values @ b.values) > 0.98
