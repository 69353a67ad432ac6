"""The speech detector against the TorchScript original, and its independence of request boundaries and batching."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from stream.errors import InferenceError
from stream.models import vad
from stream.models.vad import SileroNet, SileroVad, VadState
from stream.types import FRAME_SAMPLES, Samples, SpeechRequest, SpeechResult

ROOT = Path(__file__).resolve().parents[2]
DETECTOR = SileroVad()


def speech(frames: int, *, start: int = 0) -> Samples:
    samples, rate_hz = soundfile.read(ROOT / "stream" / "demo" / "conversation.flac", dtype="float32", always_2d=True)
    assert rate_hz == 16_000
    mono: Samples = np.ascontiguousarray(samples[start * FRAME_SAMPLES : (start + frames) * FRAME_SAMPLES, 0])
    assert len(mono) == frames * FRAME_SAMPLES
    return mono


def state_of(result: SpeechResult) -> VadState:
    assert isinstance(result.state, VadState)
    return result.state


def probabilities(samples: Samples, lengths: Sequence[int] = ()) -> Samples:
    """Return the probabilities of a stream split into requests of the given numbers of frames, then the rest."""
    state: object | None = None
    found: list[Samples] = []
    for part in np.split(samples, np.cumsum(lengths, dtype=int) * FRAME_SAMPLES):
        (result,) = DETECTOR.infer([SpeechRequest("a", part, state)])
        state = result.state
        found.append(result.probabilities)
    return np.concatenate(found)


@pytest.mark.long
def test_equals_the_original_frame_by_frame() -> None:
    package = importlib.metadata.distribution("silero-vad")  # not imported: that would set torch to one thread
    (archive,) = [file for file in package.files or () if file.name == "silero_vad.jit"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        original = torch.jit.load(str(archive.locate()))  # type: ignore[no-untyped-call]
    samples = speech(800, start=100)  # single precision: elsewhere both round by up to 2.1e-6 from each other
    samples[600 * FRAME_SAMPLES :] = np.random.default_rng(0).normal(0, 0.05, 200 * FRAME_SAMPLES)  # then noise
    with torch.inference_mode():
        expected = torch.cat([original(frame[None], 16_000)[0] for frame in torch.from_numpy(samples).view(-1, 512)])
    assert 0.2 < (expected > 0.5).float().mean() < 0.8
    np.testing.assert_allclose(probabilities(samples, [1] * 799), expected, rtol=0, atol=1e-6)
    # in one request rounding differs: the original deviates as much from the exact value
    np.testing.assert_allclose(probabilities(samples), expected, rtol=0, atol=3e-6)


def test_is_exact_to_single_precision() -> None:
    samples = speech(800)
    net = SileroNet()
    net.load_state_dict(DETECTOR._net.state_dict())
    audio = torch.from_numpy(np.concatenate((np.zeros(64), samples)))[None]  # float64
    zeros = torch.zeros(1, 128, dtype=torch.float64)
    with torch.inference_mode():
        exact = net.double().eval()(audio, zeros, zeros)[0][0].numpy()
    np.testing.assert_allclose(probabilities(samples), exact, rtol=0, atol=1.5e-6)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=12))
def test_request_boundaries_have_no_effect(lengths: list[int]) -> None:
    samples = speech(500)
    np.testing.assert_allclose(probabilities(samples, lengths), probabilities(samples), rtol=0, atol=3e-6)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=10))
def test_batching_has_no_effect(lengths: list[int]) -> None:
    samples = speech(400)
    started = DETECTOR.infer([SpeechRequest("a", samples[: 50 * FRAME_SAMPLES], None)])[0].state
    requests = [
        SpeechRequest(
            str(i), samples[(50 + 7 * i) * FRAME_SAMPLES :][: frames * FRAME_SAMPLES], started if i % 2 else None
        )
        for i, frames in enumerate(lengths)
    ]
    batched = DETECTOR.infer(requests)
    for request, result in zip(requests, batched, strict=True):
        (alone,) = DETECTOR.infer([request])
        assert result.probabilities.shape == (len(request.samples) // FRAME_SAMPLES,)
        np.testing.assert_allclose(result.probabilities, alone.probabilities, rtol=0, atol=1e-6)
        one, other = state_of(result), state_of(alone)
        np.testing.assert_allclose(one.h, other.h, rtol=0, atol=1e-5)
        np.testing.assert_allclose(one.c, other.c, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(one.context, other.context)


def test_results_are_plain_arrays_that_own_their_memory() -> None:
    samples = speech(4)
    before = samples.copy()
    results: list[SpeechResult] = DETECTOR.infer([SpeechRequest(i, samples, None) for i in "ab"])
    for result in results:
        state = state_of(result)
        for array, shape in ((result.probabilities, 4), (state.context, 64), (state.h, 128), (state.c, 128)):
            assert isinstance(array, np.ndarray)
            assert array.dtype == np.float32
            assert array.shape == (shape,)
            assert array.base is None  # a stored state must not keep its whole batch
    np.testing.assert_array_equal(state_of(results[0]).context, samples[-64:])
    np.testing.assert_array_equal(samples, before)


def test_empty_input() -> None:
    assert DETECTOR.infer([]) == []
    state = DETECTOR.infer([SpeechRequest("a", speech(3), None)])[0].state
    (result,) = DETECTOR.infer([SpeechRequest("a", np.zeros(0, np.float32), state)])
    assert len(result.probabilities) == 0
    assert result.state is state


@pytest.mark.parametrize("shape", [(511,), (1, 512)])
def test_only_whole_frames(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="whole frames of 512"):
        DETECTOR.infer([SpeechRequest("a", np.zeros(shape, np.float32), None)])


def test_repr_hides_audio_and_state() -> None:
    (result,) = DETECTOR.infer([SpeechRequest("a", speech(1), None)])
    assert "array" not in repr(SpeechRequest("a", speech(1), result.state))
    assert "array" not in repr(result.state)


def test_metadata_of_the_weights() -> None:
    with safe_open(vad._WEIGHTS, "pt") as weights:
        metadata = weights.metadata()
    assert metadata["version"] == "6.2.3"
    assert metadata["licence"].startswith("MIT")
    assert "silero_vad.jit" in metadata["source"]
    assert "Silero Team" in vad._WEIGHTS.with_name("silero_vad.LICENSE").read_text(encoding="utf-8")


def test_failures_of_torch_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(DETECTOR._net, "forward", fail)
    with pytest.raises(InferenceError, match="speech detection failed on 2 streams: out of memory"):
        DETECTOR.infer([SpeechRequest(i, speech(1), None) for i in "ab"])
