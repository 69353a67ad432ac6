"""The comparison encoder: its arithmetic, and weights from another package."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from math import ceil, log
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import InferenceError, ModelFormatError, ModelNotFound
from stream.models import resemblyzer
from stream.models.resemblyzer import NAME, VoiceEncoder, load, mel_filters, partial_starts
from stream.settings import ModelSettings
from stream.types import Task, Window

PART, STEP = 160 * 160, 77 * 160  # samples of a partial utterance, and from one to the next


class Package:
    """Stand-in for an installed package: version and files."""

    version = "0.1.4"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def locate_file(self, name: str) -> Path:
        return self._folder / name


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a package with random weights in place of the real ones."""
    torch.manual_seed(5)
    path = tmp_path / "resemblyzer" / "pretrained.pt"
    path.parent.mkdir()
    state = {name: torch.randn_like(tensor) * 0.05 for name, tensor in VoiceEncoder().state_dict().items()}
    # the original also contains the similarity weights of its training
    torch.save({"step": 1, "model_state": {**state, "similarity_weight": torch.tensor([10.0])}}, path)
    monkeypatch.setattr(resemblyzer, "distribution", lambda _: Package(tmp_path))
    return path


def chosen(**values: object) -> ModelSettings:
    return ModelSettings.model_validate({"name": NAME, "window_s": 2.0, "hop_s": 0.5, **values})


def window(samples: np.ndarray) -> Window:
    return Window("a", 3, 800, np.asarray(samples, dtype=np.float32), 1.0, len(samples))


def noise(samples: int, *, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return np.asarray(level * np.random.default_rng(seed).normal(size=samples), dtype=np.float32)


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        (1, [0]),
        (8_000, [0]),
        (PART, [0]),
        (STEP + PART * 3 // 4 - 1, [0]),  # a second one would be filled to less than three quarters
        (STEP + PART * 3 // 4, [0, 77]),
        (STEP + PART, [0, 77]),
        (5 * 16_000, [0, 77, 154, 231, 308]),  # 385 would be filled to 72 %
    ],
)
def test_partial_utterances_by_hand(samples: int, starts: list[int]) -> None:
    assert partial_starts(samples) == starts


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 40 * 16_000))
def test_partial_utterances_cover_the_audio_but_for_a_remainder(samples: int) -> None:
    starts = partial_starts(samples)
    assert starts == list(range(0, 77 * len(starts), 77))
    last = starts[-1] * 160
    assert last + PART > samples - STEP, "another one would fit"
    if len(starts) > 1:
        assert (samples - last) / PART >= 0.75
    frames = ceil((samples + 1) / 160)
    assert starts[-1] <= max(0, frames - 160 + 77)


def test_mel_filters_are_triangles_of_unit_area_in_order() -> None:
    filters = mel_filters().double()
    assert filters.shape == (201, 40)
    assert (filters >= 0).all()
    peaks = filters.argmax(dim=0)
    assert (peaks.diff() > 0).all()
    assert peaks[-1] < 200
    wide = filters[:, 15:]  # above 1 kHz a triangle spans bins enough for its area to show
    assert wide.sum(dim=0).mul(40.0).numpy() == pytest.approx(np.ones(25), rel=0.1)  # bins of 40 Hz
    for column in filters.T:
        inside = column[column > 0]
        top = int(inside.argmax())
        assert (inside[: top + 1].diff() >= 0).all()
        assert (inside[top:].diff() <= 0).all()
    low = peaks[:12].diff() * 40  # Hz; a step is (15 + 27 ln 8 / ln 6.4) / 41 mel of 200 / 3 Hz up to 1 kHz
    assert low.double().mean().item() == pytest.approx((15 + 27 * log(8) / log(6.4)) / 41 * 200 / 3, rel=0.1)
    assert (peaks[-12:].diff() * 40 > 150).all(), "and wider ones above"


def test_without_the_package_one_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(resemblyzer, "distribution", absent)
    with pytest.raises(ModelNotFound, match="pip install --no-deps resemblyzer"):
        load(chosen())


def test_a_package_without_its_file(package: Path) -> None:
    package.unlink()
    with pytest.raises(ModelNotFound, match=r"pretrained\.pt is missing; install resemblyzer again"):
        load(chosen())


def _other_keys(path: Path) -> None:
    torch.save({"model_state": {"linear.weight": torch.zeros(256, 256)}}, path)


def _other_shapes(path: Path) -> None:
    state = {name: torch.zeros(3) for name in VoiceEncoder().state_dict()}
    torch.save({"model_state": state}, path)


def _no_state(path: Path) -> None:
    torch.save({"weights": {}}, path)


def _text(path: Path) -> None:
    path.write_text("hello, this is text")


@pytest.mark.parametrize("damage", [_other_keys, _other_shapes, _no_state, _text])
def test_a_file_with_another_net(package: Path, damage: Callable[[Path], None]) -> None:
    damage(package)
    with pytest.raises(ModelFormatError, match=r"does not match the encoder; install resemblyzer 0\.1\.4"):
        load(chosen())


def test_a_d_vector_has_unit_length_and_no_negative_component(package: Path) -> None:
    assert package.is_file()
    model = load(chosen())
    assert (model.info.name, model.info.revision, model.info.task) == (NAME, "0.1.4", Task.SPEAKER)
    assert (model.spec.length_samples, model.spec.hop_samples, model.spec.minimum_samples) == (32_000, 8_000, 8_000)
    found = model.infer([window(noise(length, seed=length)) for length in (8_000, 25_600, 80_000)])
    for scores in found:
        assert scores.values.shape == (256,)
        assert scores.values.dtype == np.float32
        assert np.linalg.norm(scores.values) == pytest.approx(1.0, abs=1e-5)
        assert (scores.values >= 0).all()
        assert (scores.source_id, scores.index, scores.start_sample) == ("a", 3, 800)
    assert model.infer([]) == []


def test_a_d_vector_does_not_depend_on_its_batch(package: Path) -> None:
    assert package.is_file()
    model = load(chosen())
    batch = [window(noise(32_000, seed=seed)) for seed in range(3)]
    batched, again = model.infer(batch), model.infer(batch)
    for one, scores, repeated in zip(batch, batched, again, strict=True):
        assert np.array_equal(model.infer([one])[0].values, scores.values)
        assert np.array_equal(repeated.values, scores.values)


def test_only_quiet_audio_is_raised(package: Path) -> None:
    assert package.is_file()
    model = load(chosen())
    audio = noise(32_000, level=0.01)
    quiet, quieter = (model.infer([window(audio * by)])[0].values for by in (1.0, 0.1))
    assert np.allclose(quiet, quieter, atol=1e-4)
    loud, louder = (model.infer([window(audio * by)])[0].values for by in (10.0, 30.0))
    assert not np.allclose(loud, louder, atol=1e-4)


@pytest.mark.parametrize(
    "samples", [noise(7_999), np.zeros((8_000, 2), np.float32), np.full(16_000, np.nan, np.float32)]
)
def test_invalid_samples_are_rejected(package: Path, samples: np.ndarray) -> None:
    assert package.is_file()
    with pytest.raises(InferenceError, match=r"at least 8000 samples of one channel|not finite"):
        load(chosen()).infer([window(samples)])
