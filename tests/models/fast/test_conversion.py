"""Unsupported architectures, and forwards whose outputs differ, use the library's forward."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from stream.models.fast import conversion
from stream.models.fast.attention import MAX_CACHED_LENGTHS, PositionBias
from stream.models.fast.conversion import accelerate
from stream.models.fast.dense import Convolution
from stream.models.fast.net import forward_shared
from stream.models.fast.positions import PositionalConv
from tests.models.fast.conftest import Make, library_output, noise

CLASSIFIER = "Wav2Vec2ForSequenceClassification"


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"feat_extract_activation": "relu"}, "activation relu"),
        ({"hidden_act": "gelu_new"}, "activation gelu_new"),
        ({"do_stable_layer_norm": True, "adapter_attn_dim": 4}, "adapter"),
    ],
)
def test_unsupported_architectures_use_the_librarys_forward(
    make: Make, caplog: pytest.LogCaptureFixture, changes: dict[str, object], why: str
) -> None:
    net = make(CLASSIFIER, "layer", **changes)
    with caplog.at_level(logging.WARNING):
        assert accelerate(net, name="odd") is None
    assert "odd has no fast forward" in caplog.text
    assert why in caplog.text
    assert "using the library's" in caplog.text


def test_a_batch_norm_before_the_positions_is_unsupported(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    net = make("HubertForSequenceClassification", "group", conv_pos_batch_norm=True)
    assert accelerate(net, name="odd") is None
    assert "batch norm" in caplog.text


def test_a_missing_module_is_unsupported(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    net = copy.deepcopy(make(CLASSIFIER, "group"))
    del net.projector
    assert accelerate(net, name="odd") is None
    assert "projector" in caplog.text


def test_a_forward_with_other_outputs_is_not_used(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A release of the library whose modules look the same but compute something else."""
    net = copy.deepcopy(make(CLASSIFIER, "group"))
    layer = net.get_submodule("wav2vec2.encoder.layers.1")
    layer.register_forward_hook(lambda module, args, output: output * 1.1)  # noqa: ARG005
    assert accelerate(net, name="odd") is None
    assert "outputs of the fast forward differ" in caplog.text


@pytest.mark.parametrize("normed", [True, False])
def test_the_last_layer_with_and_without_final_norm(make: Make, normed: bool) -> None:  # noqa: FBT001
    """Releases differ in whether the last layer enters the sum after the encoder's final norm."""
    net = make(CLASSIFIER, "layer")
    audio = noise(1, 16_000)
    with torch.inference_mode():
        output = net.wav2vec2(audio, output_hidden_states=True)  # type: ignore[operator]
        hidden = list(output.hidden_states)
        hidden[-1] = output.last_hidden_state if normed else hidden[-1]
        weights = torch.softmax(net.layer_weights, 0)  # type: ignore[arg-type]
        total = sum(w * h for w, h in zip(weights, hidden, strict=True))
        expected = net.classifier(net.projector(total).mean(dim=1))  # type: ignore[operator]
        actual = conversion.build(net, last_normed=normed).eval()(audio)
    assert (torch.equal(hidden[-1], output.last_hidden_state)) is normed
    assert float((actual - expected).abs().max()) < 1e-5


def test_too_few_frames_for_an_x_vector_are_rejected(make: Make) -> None:
    fast = accelerate(make("WavLMForXVector", "group"), name="it")
    assert fast is not None
    with pytest.raises(RuntimeError, match="too few"):
        fast(noise(1, 4_900))
    with pytest.raises(RuntimeError, match="shorter than one frame"):
        fast(noise(1, 300))


def test_the_cache_of_position_biases_is_bounded() -> None:
    computed: list[int] = []

    def compute(rows: int, columns: int) -> torch.Tensor:
        computed.append(rows)
        return torch.zeros(2, rows, columns)

    bias = PositionBias(compute=compute)
    for length in [*range(1, 3 * MAX_CACHED_LENGTHS), 3 * MAX_CACHED_LENGTHS - 1, 3 * MAX_CACHED_LENGTHS - 1]:
        assert bias.for_frames(torch.zeros(1, length, 4)).shape == (2, length, length)
    assert len(bias) == MAX_CACHED_LENGTHS
    assert len(computed) == 3 * MAX_CACHED_LENGTHS - 1


@pytest.mark.parametrize(("kernel", "groups"), [(128, 4), (19, 2), (5, 1), (16, 8)])
def test_positions_by_products_equal_the_convolution(kernel: int, groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(32, 32, kernel, padding=kernel // 2, groups=groups)
    positions = PositionalConv(conv=conv)
    for length in (1, 7, 150):
        x = torch.randn(3, length, 32)
        with torch.inference_mode():
            expected = conv(x.transpose(1, 2))[..., :length].transpose(1, 2)
            assert torch.allclose(positions(x), functional.gelu(expected), atol=1e-5)
            assert torch.allclose(positions._products(x), expected, atol=1e-5)  # all windows at once, as on a GPU


def test_cudnns_convolution_equals_the_product() -> None:
    torch.manual_seed(0)
    convolution = Convolution(weight=torch.randn(8, 3, 16), bias=torch.randn(8), stride=2, activation="gelu")
    x = torch.randn(2, 31, 16)
    assert torch.allclose(convolution(x), convolution._on_cuda(x), atol=1e-5)


def test_heads_on_a_shared_pass_equal_separate_passes(make: Make) -> None:
    first = accelerate(make("Wav2Vec2ForXVector", "group"), name="a")
    second = accelerate(make(CLASSIFIER, "group"), name="b")
    assert first is not None
    assert second is not None
    second.backbone.load_state_dict(first.backbone.state_dict())
    assert first.backbone.digest() == second.backbone.digest()
    audio = noise(2, 16_000)
    with torch.inference_mode():
        both = forward_shared([first, second], audio)
        assert torch.equal(both[0], first(audio))
        assert torch.equal(both[1], second(audio))


def test_digests_of_different_backbones_differ(make: Make) -> None:
    fast = accelerate(make(CLASSIFIER, "group"), name="a")
    assert fast is not None
    other = copy.deepcopy(fast)
    before = other.backbone.digest()
    next(iter(other.backbone.encoder.layers[1].outer.buffers()))[0, 0] += 1e-6  # type: ignore[union-attr]
    assert before == fast.backbone.digest() != other.backbone.digest()


@pytest.mark.usefixtures("faster_in_int8")
@pytest.mark.parametrize("how", [{"pack": True}, {"int8": True}])
def test_digests_of_different_backbones_differ_in_any_layout(make: Make, how: dict[str, bool]) -> None:
    """Weights in opaque layouts of torch are part of the digest."""
    digests = []
    for change in (0.0, 0.0, 0.5):
        fast = accelerate(copy.deepcopy(make(CLASSIFIER, "group")), name="a")
        assert fast is not None
        next(iter(fast.backbone.encoder.layers[1].outer.buffers()))[0, 0] += change  # type: ignore[union-attr]
        fast.place(device=torch.device("cpu"), dtype=torch.float32, **how)
        digests.append(fast.backbone.digest())
    assert digests[0] == digests[1] != digests[2]


def test_conversion_does_not_change_the_original(make: Make) -> None:
    net = make("WavLMForXVector", "layer")
    audio = noise(1, 8_000)
    before = library_output(net, audio)
    assert accelerate(net, name="it") is not None
    assert torch.equal(library_output(net, audio), before)
