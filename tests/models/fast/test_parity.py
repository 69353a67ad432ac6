"""The fast forward says what the library says: every architecture, both norms, any length and batch."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stream.models import benchmark
from stream.models.fast.conversion import accelerate
from stream.models.fast.net import FastNet
from stream.models.onednn import pack_weight
from tests.models.fast.conftest import ARCHITECTURES, NORMS, Make, made, said, sound

CLOSE = 2e-6
"""Of a value about 1: float32 rounding in another order."""


def shortest(architecture: str) -> int:
    """The least that the head can say something of."""
    return 5_200 if architecture.endswith("XVector") else 400


def differs(net: nn.Module, fast: nn.Module, batch: int, samples: int) -> float:
    heard = sound(batch, samples, seed=samples)
    theirs = said(net, heard)
    with torch.inference_mode():
        ours = fast(heard)
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lengths_and_batches(make: Make, architecture: str, norm: str) -> None:
    net = make(architecture, norm)
    fast = accelerate(net, name="it")
    assert fast is not None
    least = shortest(architecture)
    cases = [(1, least), (2, least + 1), (8, 8_000), (3, 16_001), (1, 160_000)]
    for batch, samples in cases:
        assert differs(net, fast, batch, samples) < CLOSE, (batch, samples)


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=12, deadline=None)
@given(samples=st.integers(5_200, 40_000), batch=st.integers(1, 8), which=st.sampled_from(ARCHITECTURES))
def test_any_length(norm: str, samples: int, batch: int, which: str) -> None:
    net = made(which, norm)
    fast = accelerate(net, name="it")
    assert fast is not None
    assert differs(net, fast, batch, samples) < CLOSE


@pytest.mark.parametrize("architecture", ["Wav2Vec2ForSequenceClassification", "WavLMForXVector"])
@pytest.mark.parametrize("stable", [True, False])
def test_norms_in_any_combination(make: Make, architecture: str, stable: bool) -> None:  # noqa: FBT001
    net = make(architecture, "group" if stable else "layer", do_stable_layer_norm=stable, conv_bias=not stable)
    fast = accelerate(net, name="it")
    assert fast is not None
    assert differs(net, fast, 2, 20_000) < CLOSE


def test_the_last_layer_alone(make: Make) -> None:
    for norm in NORMS:
        net = make("Wav2Vec2ForSequenceClassification", norm, use_weighted_layer_sum=False)
        fast = accelerate(net, name="it")
        assert fast is not None
        assert differs(net, fast, 2, 16_000) < CLOSE


def test_other_kernels_and_strides(make: Make) -> None:
    """Nothing rests on the sizes every known checkpoint has."""
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
        assert differs(net, fast, 3, samples) < CLOSE


@pytest.mark.parametrize("architecture", ["Wav2Vec2ForXVector", "WavLMForXVector"])
def test_silence_and_loud_sound(make: Make, architecture: str) -> None:
    net = make(architecture, "group")
    fast = accelerate(net, name="it")
    assert fast is not None
    for heard in (torch.zeros(2, 8_000), 100 * sound(2, 8_000), 1e-4 * sound(2, 8_000), torch.full((1, 8_000), 0.5)):
        with torch.inference_mode():
            ours = fast(heard)
        assert torch.isfinite(ours).all()
        theirs = said(net, heard)
        assert float((ours - theirs).abs().max()) < 1e-3 * float(theirs.abs().max())


def placed(net: nn.Module, dtype: torch.dtype, *, pack: bool) -> FastNet:
    fast = accelerate(copy.deepcopy(net), name="it")
    assert fast is not None
    if pack:
        try:
            pack_weight(torch.zeros(16, 16, dtype=dtype))
        except (AttributeError, RuntimeError):
            pytest.skip("this torch packs nothing on this processor")
    fast.place(device=torch.device("cpu"), dtype=dtype, pack=pack)
    return fast


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_weights_say_the_same(make: Make, architecture: str, norm: str) -> None:
    net = make(architecture, norm)
    fast = placed(net, torch.float32, pack=True)
    for batch, samples in ((1, shortest(architecture)), (3, 8_001)):
        assert differs(net, fast, batch, samples) < CLOSE, (batch, samples)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_no_number_stays_none(make: Make, norm: str, dtype: torch.dtype) -> None:
    fast = placed(make("Wav2Vec2ForXVector", norm), dtype, pack=True)
    heard = sound(3, 8_000)
    heard[1, 4_000] = float("nan")
    with torch.inference_mode():
        assert torch.isfinite(fast(heard)).all(dim=1).tolist() == [True, False, True]


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_is_close(make: Make, architecture: str, norm: str, pack: bool) -> None:  # noqa: FBT001
    net = make(architecture, norm)
    half = placed(net, torch.bfloat16, pack=pack)
    for batch, samples in ((1, 6_001), (4, 16_000)):
        heard = sound(batch, samples)
        with torch.inference_mode():
            ours = half(heard)
        assert ours.dtype == torch.float32  # two of a thousand logits lie nearer than bfloat16 can tell
        assert float(nn.functional.cosine_similarity(ours, said(net, heard)).min()) > 0.999


def test_int8_is_near(make: Make) -> None:
    net = make("Wav2Vec2ForXVector", "group")
    fast = accelerate(net, name="it")
    assert fast is not None
    small = accelerate(copy.deepcopy(net), name="it")
    assert small is not None
    small.place(device=torch.device("cpu"), dtype=torch.float32, int8=True)
    heard = sound(3, 16_000)
    with torch.inference_mode():
        cosine = nn.functional.cosine_similarity(small(heard), fast(heard))
    assert 0.98 < float(cosine.min()) < 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_says_the_same(make: Make) -> None:
    for norm in NORMS:
        net = make("WavLMForXVector", norm)
        fast = accelerate(copy.deepcopy(net), name="it")
        assert fast is not None
        heard = sound(4, 16_000)
        theirs = said(net, heard)
        fast.place(device=torch.device("cuda"), dtype=torch.float32)
        with torch.inference_mode():
            assert float((fast(heard.cuda()).cpu() - theirs).abs().max()) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", list(benchmark.SHAPES))
def test_full_size(name: str) -> None:
    net = benchmark.random_model(name)
    fast = accelerate(net, name=name)
    assert fast is not None
    heard = sound(2, 16_000)
    theirs = said(net, heard)
    with torch.inference_mode():
        assert float((fast(heard) - theirs).abs().max()) < 1e-4
