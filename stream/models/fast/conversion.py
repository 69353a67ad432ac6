"""Conversion of a loaded transformers model to a `FastNet` with its weights.

Rules:

* Nothing is assumed unchecked: every module, activation and shape that the fast forward relies on is verified, and an
  unsupported one (adapters, batch norms, other activations, other heads) raises `UnsupportedArchitecture`.
* Then the library's forward and the fast one process the same short noise. The fast one is used only if they agree
  within `TOLERANCE`, whatever release of transformers is installed.
* Otherwise the library's forward is used, and the reason is logged. Outputs are never wrong.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from stream.models.fast.attention import Attention, Gate, PositionBias
from stream.models.fast.dense import Convolution
from stream.models.fast.encoder import Encoder, EncoderLayer
from stream.models.fast.frontend import ConvLayer, FirstLayer, Frontend, Norm
from stream.models.fast.heads import Classifier, FrameClassifier, Head, XVector
from stream.models.fast.net import Backbone, FastNet
from stream.models.fast.positions import PositionalConv, Positions
from stream.models.pooled import PooledNet

TOLERANCE = 1e-3
"""Relative to the largest output: rounding is a hundred times smaller, a wrong layout a hundred times larger."""

PROBE_SAMPLES = 5_840
"""Minimum that leaves an x-vector head four frames."""

log = logging.getLogger(__name__)


class UnsupportedArchitecture(Exception):
    """A part that the fast forward does not support; the message describes it."""


def accelerate(net: nn.Module, *, name: str) -> FastNet | None:
    """Convert a model in float32 on the processor, or return None if the library's forward has to be used.

    Shares weights with `net` where possible.
    """
    audio = torch.randn(1, PROBE_SAMPLES, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            fast = build(net, last_normed=_last_normed(net, audio)).eval().requires_grad_(requires_grad=False)
        with torch.inference_mode():
            difference = _difference(fast(audio), net(audio))
    except (UnsupportedArchitecture, AttributeError, RuntimeError, TypeError, ValueError) as reason:
        log.warning("%s has no fast forward (%s); using the library's", name, reason)
        return None
    if not difference <= TOLERANCE:
        log.warning("%s: outputs of the fast forward differ by %.2g; using the library's", name, difference)
        return None
    return fast


def build(net: nn.Module, *, last_normed: bool) -> FastNet:
    """Build a `FastNet` from the modules of a model.

    Raises `UnsupportedArchitecture`, or `AttributeError` for a missing module.
    """
    config: Any = net.config
    backbone: Any = getattr(net, str(net.base_model_prefix))
    for key in ("feat_extract_activation", "hidden_act"):
        _require(getattr(config, key) == "gelu", f"the activation {getattr(config, key)}")
    _require(getattr(backbone, "adapter", None) is None, "an adapter")
    weights = None
    if config.use_weighted_layer_sum:
        layer_weights: Any = net.layer_weights
        weights = tuple(torch.softmax(layer_weights.detach().float(), dim=0).tolist())
    return FastNet(
        backbone=Backbone(
            frontend=_frontend(backbone.feature_extractor),
            projection=backbone.feature_projection,
            encoder=_encoder(backbone.encoder, last_normed=last_normed),
        ),
        head=_head(net),
        weights=weights,
    )


def _frontend(encoder: Any) -> Frontend:
    convs: list[nn.Conv1d] = []
    norms: list[Norm | None] = []
    for layer in encoder.conv_layers:
        conv = layer.conv
        plain = (conv.padding, conv.dilation, conv.groups) == ((0,), (1,), 1)
        _require(isinstance(conv, nn.Conv1d) and plain, f"the frontend's {conv}")
        norm = getattr(layer, "layer_norm", None)
        convs.append(conv)
        norms.append(None if norm is None else Norm(weight=norm.weight, bias=norm.bias, eps=norm.eps))
        first = len(convs) == 1
        grouped = isinstance(norm, nn.GroupNorm) and norm.num_groups == norm.num_channels
        _require((grouped and first) or isinstance(norm, nn.LayerNorm) or (norm is None and not first), f"{norm}")
    per_frame = isinstance(encoder.conv_layers[0].layer_norm, nn.LayerNorm)
    _require(convs[0].in_channels == 1 and norms[0] is not None, f"the first layer {convs[0]}")
    assert norms[0] is not None  # noqa: S101 - for mypy
    return Frontend(
        first=FirstLayer(conv=convs[0], norm=norms[0], per_frame=per_frame),
        layers=[ConvLayer(conv=conv, norm=norm) for conv, norm in zip(convs[1:], norms[1:], strict=True)],
    )


def _encoder(encoder: Any, *, last_normed: bool) -> Encoder:
    norm_first = "StableLayerNorm" in type(encoder).__name__
    layers = list(encoder.layers)
    gated = hasattr(layers[0].attention, "gru_rel_pos_linear")
    return Encoder(
        positions=_positions(encoder.pos_conv_embed),
        norm=encoder.layer_norm,
        layers=[_layer(layer, norm_first=norm_first, gated=gated) for layer in layers],
        position_bias=PositionBias(compute=layers[0].attention.compute_bias) if gated else None,
        norm_first=norm_first,
        last_normed=last_normed,
    )


def _positions(embedding: Any) -> Positions:
    _require(getattr(embedding, "batch_norm", None) is None, "a batch norm before the positions")
    stages = list(embedding.layers) if hasattr(embedding, "layers") else [embedding]
    converted = []
    for stage in stages:
        conv, norm = stage.conv, getattr(stage, "layer_norm", None)
        size, channels = conv.kernel_size[0], conv.out_channels
        same = (conv.stride, conv.dilation, conv.padding) == ((1,), (1,), (size // 2,))
        _require(same and conv.in_channels == channels and conv.bias is not None, f"positional {conv}")
        _require(stage.padding.num_pad_remove == 1 - size % 2, f"positional padding {stage.padding}")
        _require(norm is None or norm.weight is None, "a norm with weights after the positions")
        converted.append(PositionalConv(conv=conv, norm_eps=None if norm is None else norm.eps))
    return Positions(stages=converted)


def _layer(layer: Any, *, norm_first: bool, gated: bool) -> EncoderLayer:
    attention, feed = layer.attention, layer.feed_forward
    _require(getattr(layer, "adapter_layer", None) is None, "an adapter in a layer")
    _require(("StableLayerNorm" in type(layer).__name__) == norm_first, f"a {type(layer).__name__}")
    gate = None
    if gated:
        linear = attention.gru_rel_pos_linear
        _require(linear.out_features == 8, f"a gate of {linear}")  # noqa: PLR2004
        gate = Gate(linear=linear, constant=attention.gru_rel_pos_const)
    return EncoderLayer(
        attention=Attention(
            query=attention.q_proj,
            key=attention.k_proj,
            value=attention.v_proj,
            out=attention.out_proj,
            heads=attention.num_heads,
            gate=gate,
        ),
        norm=layer.layer_norm,
        inner=feed.intermediate_dense,
        outer=feed.output_dense,
        final_norm=layer.final_layer_norm,
        norm_first=norm_first,
    )


def _head(net: Any) -> Head:
    if isinstance(net, PooledNet):
        return net.head
    if hasattr(net, "tdnn"):
        layers = [
            Convolution(
                weight=layer.kernel.weight.detach().view(layer.kernel.out_features, layer.kernel_size, -1),
                bias=layer.kernel.bias,
                dilation=layer.dilation,
                activation="relu",
            )
            for layer in net.tdnn
        ]
        return XVector(projector=net.projector, layers=layers, extractor=net.feature_extractor)
    if type(net).__name__.endswith("ForAudioFrameClassification"):
        return FrameClassifier(classifier=net.classifier)
    _require(type(net).__name__.endswith("ForSequenceClassification"), f"a {type(net).__name__}")
    return Classifier(projector=net.projector, classifier=net.classifier)


def _last_normed(net: nn.Module, audio: Tensor) -> bool:
    """Whether the library applies the encoder's final norm to the last hidden state that heads receive."""
    backbone: Any = getattr(net, str(net.base_model_prefix))
    if "StableLayerNorm" not in type(backbone.encoder).__name__:
        return False  # no final norm
    output = backbone(audio, output_hidden_states=True)
    return torch.equal(output.hidden_states[-1], output.last_hidden_state)


def _difference(actual: Tensor, output: Any) -> float:
    expected: Tensor = output.embeddings if "embeddings" in output else output.logits
    if actual.shape != expected.shape:
        raise UnsupportedArchitecture(f"outputs of shape {tuple(actual.shape)} instead of {tuple(expected.shape)}")
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


def _require(supported: object, part: str) -> None:
    if not supported:
        raise UnsupportedArchitecture(part)
