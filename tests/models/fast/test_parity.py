"""The fast forward equals the library's: every architecture, both norms, any length and batch size."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stream.models import benchmark
from stream.models.fast import quantisation
from stream.models.fast.attention import MAX_CACHED_LENGTHS
from stream.models.fast.conversion import accelerate
from stream.models.fast.dense import Dense
from stream.models.fast.net import FastNet
from stream.models.graphs import USES, CudaForward
from stream.models.onednn import pack_weight
from tests.models.fast.conftest import ARCHITECTURES, NORMS, Make, build_small, library_output, noise

pytestmark = pytest.mark.slow

MAX_DIFFERENCE = 2e-6
"""For values about 1: float32 rounding in another order."""


def min_samples(architecture: str) -> int:
    """Return the shortest input that the head accepts."""
    return 5_200 if architecture.endswith("XVector") else 400


def difference(net: nn.Module, fast: nn.Module, batch: int, samples: int) -> float:
    audio = noise(batch, samples, seed=samples)
    expected = library_output(net, audio)
    with torch.inference_mode():
        actual = fast(audio)
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lengths_and_batches(make: Make, architecture: str, norm: str) -> None:
    net = make(architecture, norm)
    fast = accelerate(net, name="it")
    assert fast is not None
    shortest = min_samples(architecture)
    cases = [(1, shortest), (2, shortest + 1), (8, 8_000), (3, 16_001), (1, 160_000)]
    for batch, samples in cases:
        assert difference(net, fast, batch, samples) < MAX_DIFFERENCE, (batch, samples)


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=12, deadline=None)
@given(samples=st.integers(5_200, 40_000), batch=st.integers(1, 8), which=st.sampled_from(ARCHITECTURES))
def test_any_length(norm: str, samples: int, batch: int, which: str) -> None:
    net = build_small(which, norm)
    fast = accelerate(net, name="it")
    assert fast is not None
    assert difference(net, fast, batch, samples) < MAX_DIFFERENCE


@pytest.mark.parametrize("architecture", ["Wav2Vec2ForSequenceClassification", "WavLMForXVector"])
@pytest.mark.parametrize("stable", [True, False])
def test_norms_in_any_combination(make: Make, architecture: str, stable: bool) -> None:  # noqa: FBT001
    net = make(architecture, "group" if stable else "layer", do_stable_layer_norm=stable, conv_bias=not stable)
    fast = accelerate(net, name="it")
    assert fast is not None
    assert difference(net, fast, 2, 20_000) < MAX_DIFFERENCE


def test_without_weighted_layer_sum(make: Make) -> None:
    for norm in NORMS:
        net = make("Wav2Vec2ForSequenceClassification", norm, use_weighted_layer_sum=False)
        fast = accelerate(net, name="it")
        assert fast is not None
        assert difference(net, fast, 2, 16_000) < MAX_DIFFERENCE


def test_other_kernels_and_strides(make: Make) -> None:
    """Kernels and strides that no known checkpoint has."""
    net = make(
        "HubertForSequenceClassification",
        "group",
        conv_kernel=(11, 5, 3, 4),
        conv_stride=(4, 2, 3, 2),
        conv_dim=(12, 16, 8, 20),
        num_feat_extract_layers=4,
        num_conv_pos_embeddings=15,
    )
    fast = accelerate(net, name="it")
    assert fast is not None
    for samples in (4_001, 16_000):
        assert difference(net, fast, 3, samples) < MAX_DIFFERENCE


@pytest.mark.parametrize("architecture", ["Wav2Vec2ForXVector", "WavLMForXVector"])
def test_silence_and_loud_audio(make: Make, architecture: str) -> None:
    net = make(architecture, "group")
    fast = accelerate(net, name="it")
    assert fast is not None
    for audio in (torch.zeros(2, 8_000), 100 * noise(2, 8_000), 1e-4 * noise(2, 8_000), torch.full((1, 8_000), 0.5)):
        with torch.inference_mode():
            actual = fast(audio)
        assert torch.isfinite(actual).all()
        expected = library_output(net, audio)
        assert float((actual - expected).abs().max()) < 1e-3 * float(expected.abs().max())


def can_pack(dtype: torch.dtype) -> bool:
    """Whether torch has a packed layout for this type on this processor."""
    try:
        pack_weight(torch.zeros(16, 16, dtype=dtype))
    except (AttributeError, RuntimeError):
        return False
    return True


def placed(net: nn.Module, dtype: torch.dtype, *, pack: bool) -> FastNet:
    """Convert a copy of `net`, with packed weights if requested and possible, else with plain ones."""
    fast = accelerate(copy.deepcopy(net), name="it")
    assert fast is not None
    fast.place(device=torch.device("cpu"), dtype=dtype, pack=pack and can_pack(dtype))
    return fast


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_weights_give_equal_outputs(make: Make, architecture: str, norm: str) -> None:
    net = make(architecture, norm)
    fast = placed(net, torch.float32, pack=True)
    for batch, samples in ((1, min_samples(architecture)), (3, 8_001)):
        assert difference(net, fast, batch, samples) < MAX_DIFFERENCE, (batch, samples)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", NORMS)
def test_nan_stays_nan(make: Make, norm: str, dtype: torch.dtype) -> None:
    fast = placed(make("Wav2Vec2ForXVector", norm), dtype, pack=True)
    audio = noise(3, 8_000)
    audio[1, 4_000] = float("nan")
    with torch.inference_mode():
        assert torch.isfinite(fast(audio)).all(dim=1).tolist() == [True, False, True]


@pytest.mark.long
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_is_close(make: Make, architecture: str, norm: str, pack: bool) -> None:  # noqa: FBT001
    net = make(architecture, norm)
    half = placed(net, torch.bfloat16, pack=pack)
    for batch, samples in ((1, 6_001), (4, 16_000)):
        audio = noise(batch, samples)
        with torch.inference_mode():
            actual = half(audio)
        assert actual.dtype == torch.float32  # two of a thousand logits can be closer than bfloat16 resolves
        assert float(nn.functional.cosine_similarity(actual, library_output(net, audio)).min()) > 0.999


@pytest.mark.usefixtures("faster_in_int8")
def test_int8_is_close(make: Make) -> None:
    net = make("Wav2Vec2ForXVector", "group")
    fast = accelerate(net, name="it")
    assert fast is not None
    small = accelerate(copy.deepcopy(net), name="it")
    assert small is not None
    assert small.place(device=torch.device("cpu"), dtype=torch.float32, int8=True) == 4 * len(
        small.backbone.encoder.layers
    )
    audio = noise(3, 16_000)
    with torch.inference_mode():
        cosine = nn.functional.cosine_similarity(small(audio), fast(audio))
    assert 0.98 < float(cosine.min()) < 1


def test_a_loud_row_takes_no_precision_from_a_quiet_one() -> None:
    layer = Dense(weight=torch.randn(32, 64), bias=torch.randn(32))
    x = torch.randn(2, 64) * torch.tensor([[1.0], [1_000.0]])
    exact = layer(x)
    layer.quantise()
    error = (layer(x) - exact).norm(dim=1) / exact.norm(dim=1)
    assert float(error.max()) < 0.03


def test_layers_that_are_no_faster_in_int8_stay_as_they_are(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantisation, "speed_up", lambda *_, **__: 1.05)
    fast, plain = (accelerate(copy.deepcopy(make("Wav2Vec2ForXVector", "group")), name="it") for _ in range(2))
    assert fast is not None
    assert plain is not None
    assert fast.place(device=torch.device("cpu"), dtype=torch.float32, int8=True) == 0
    audio = noise(1, 16_000)
    with torch.inference_mode():
        assert torch.equal(fast(audio), plain(audio))


def test_the_trial_compares_both_layouts() -> None:
    layer = Dense(weight=torch.randn(8, 16), bias=torch.randn(8), activation="gelu")
    assert quantisation.speed_up(layer, pack=False) > 0
    assert quantisation.speed_up(layer, pack=True) > 0
    assert layer.weight.shape == (8, 16)


@pytest.mark.gpu
def test_cuda_graphs_give_equal_outputs(make: Make) -> None:
    fast = accelerate(make("WavLMForXVector", "group"), name="it")
    assert fast is not None
    device = torch.device("cuda")
    fast.place(device=device, dtype=torch.float32)
    cuda = CudaForward(device=device)
    lengths = [8_000 + 320 * step for step in range(MAX_CACHED_LENGTHS + 4)]
    with torch.inference_mode():
        for _ in range(USES + 1):  # without a graph, captured, and replayed after position biases of other lengths
            for length in lengths:
                audio = noise(3, length)
                (replayed,) = cuda.run(lambda windows: [fast(windows)], audio)
                assert float((replayed - fast(audio.to(device))).abs().max()) < 1e-4
    assert len(cuda._graphs) == len(lengths)


@pytest.mark.gpu
def test_cuda_gives_equal_outputs(make: Make) -> None:
    for norm in NORMS:
        net = make("WavLMForXVector", norm)
        fast = accelerate(copy.deepcopy(net), name="it")
        assert fast is not None
        audio = noise(4, 16_000)
        expected = library_output(net, audio)
        fast.place(device=torch.device("cuda"), dtype=torch.float32)
        with torch.inference_mode():
            assert float((fast(audio.cuda()).cpu() - expected).abs().max()) < 1e-3


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("layers", [2, pytest.param(None, id="all")])
@pytest.mark.parametrize("name", list(benchmark.SHAPES))
def test_full_width(name: str, layers: int | None) -> None:
    net = benchmark.random_model(name, layers=layers)
    fast = accelerate(net, name=name)
    assert fast is not None
    audio = noise(2, 16_000)
    expected = library_output(net, audio)
    with torch.inference_mode():
        assert float((fast(audio) - expected).abs().max()) < 1e-4
