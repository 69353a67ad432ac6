"""Small models of every architecture, with random weights large enough to show differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

Make = Callable[..., nn.Module]

ARCHITECTURES = (
    "Wav2Vec2ForSequenceClassification",
    "Wav2Vec2ForXVector",
    "HubertForSequenceClassification",
    "WavLMForSequenceClassification",
    "WavLMForXVector",
    "UniSpeechSatForSequenceClassification",
    "UniSpeechSatForXVector",
    "Wav2Vec2ForAudioFrameClassification",
    "WavLMForAudioFrameClassification",
    "UniSpeechSatForAudioFrameClassification",
    "Data2VecAudioForSequenceClassification",
    "Data2VecAudioForXVector",
)
NORMS = ("group", "layer")
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "classifier_proj_size": 16,
    "num_labels": 5,
    "tdnn_dim": (24, 24, 24, 24, 40),
    "xvector_output_dim": 24,
    "num_conv_pos_embedding_groups": 4,
    "use_weighted_layer_sum": True,
}


@cache
def build_small(architecture: str, norm: str, changes: tuple[tuple[str, Any], ...] = ()) -> nn.Module:
    """Build a model with the given norm in its front end and the encoder that the family combines with it."""
    import transformers  # noqa: PLC0415

    net_class = getattr(transformers, architecture)
    shape = {**SMALL, "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer", "conv_bias": norm == "layer"}
    if architecture.startswith("Data2Vec"):
        shape |= {"conv_pos_kernel_size": 19, "num_conv_pos_embeddings": 5, "do_stable_layer_norm": False}
    torch.manual_seed(1)
    net: nn.Module = net_class(net_class.config_class(**{**shape, **dict(changes)}))
    for key, weight in net.named_parameters():
        if weight.ndim > 1 and "original" not in key:
            nn.init.xavier_normal_(weight)
        elif key == "layer_weights" or "norm" in key:
            nn.init.normal_(weight, mean=1.0, std=0.3)
        elif weight.ndim == 1:
            nn.init.normal_(weight, std=0.2)
    return net.eval().requires_grad_(requires_grad=False)


def library_output(net: nn.Module, audio: Tensor) -> Tensor:
    """Return the output of the library's forward."""
    with torch.inference_mode():
        output = net(audio)
    values: Tensor = output.embeddings if "embeddings" in output else output.logits
    return values


def noise(batch: int, samples: int, *, seed: int = 0) -> Tensor:
    """Return noise with a hum and an offset, shape (batch, samples)."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / 16_000
    return 0.1 * torch.randn(batch, samples, generator=generator) + 0.2 * torch.sin(900 * time) + 0.05


@pytest.fixture
def make() -> Make:
    """Return `make(architecture, norm, setting=value …)`; models are shared, so tests must not change them."""
    return lambda architecture, norm, **changes: build_small(architecture, norm, tuple(sorted(changes.items())))
