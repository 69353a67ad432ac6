"""Heads share a backbone only where every tensor of it is the same, and then say what they say alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from torch import nn

from stream.errors import InferenceError
from stream.models.fast.conversion import accelerate
from stream.models.pretrained import PretrainedModel
from stream.models.sharing import share_backbones
from stream.types import ModelInfo, Task, Window, WindowSpec
from tests.models.fast.conftest import made
from tests.support.fakes import FakeModel

SPEC = WindowSpec(32_000, 8_000, 8_000)


def pair(**changes: Any) -> list[PretrainedModel]:
    """A verifier and an identifier with one frozen backbone; `changes` are made to the second."""
    verifier = copy.deepcopy(made("Wav2Vec2ForXVector", "group"))
    identifier = copy.deepcopy(made("Wav2Vec2ForSequenceClassification", "group"))
    identifier.get_submodule("wav2vec2").load_state_dict(verifier.get_submodule("wav2vec2").state_dict())
    if "touch" in changes:
        changes["touch"](identifier)
    return [
        model("sv", Task.SPEAKER, verifier),
        model("sid", Task.IDENTITY, identifier, **{k: v for k, v in changes.items() if k != "touch"}),
    ]


def model(
    name: str, task: Task, net: nn.Module, *, spec: WindowSpec = SPEC, normalise: bool = False
) -> PretrainedModel:
    fast = accelerate(net, name=name)
    assert fast is not None
    return PretrainedModel(net=fast, info=ModelInfo(name, "0", task), spec=spec, normalise=normalise)


def test_one_pass_says_what_two_say(windows: Callable[..., list[Window]]) -> None:
    models = pair()
    heard = windows(3)
    alone = [each.infer(heard) for each in models]
    (ensemble,) = share_backbones([*models, FakeModel()])
    assert list(ensemble.models) == models
    first, second = (each.fast for each in models)
    assert first is not None
    assert second is not None
    assert first.backbone is second.backbone  # the other one's memory is let go
    for place, together in enumerate(ensemble.infer(heard)):
        for scores, before in zip(together, (said[place] for said in alone), strict=True):
            assert (scores.model, scores.index, scores.source_id) == (before.model, before.index, before.source_id)
            np.testing.assert_array_equal(scores.values, before.values)
    assert ensemble.infer([]) == []


def tuned(net: nn.Module) -> None:
    net.get_parameter("wav2vec2.encoder.layers.2.feed_forward.output_dense.bias").data[3] += 1e-6


@pytest.mark.parametrize(
    "changes",
    [{"touch": tuned}, {"spec": WindowSpec(48_000, 16_000, 8_000)}, {"normalise": True}],
    ids=["a tensor differs", "windows differ", "sound is scaled otherwise"],
)
def test_what_differs_is_not_shared(changes: Mapping[str, Any]) -> None:
    assert share_backbones(pair(**changes)) == []


def test_nothing_to_share() -> None:
    assert share_backbones([]) == []
    assert share_backbones([FakeModel()]) == []


def test_a_bad_batch_names_both(windows: Callable[..., list[Window]]) -> None:
    (ensemble,) = share_backbones(pair())
    with pytest.raises(InferenceError, match="sv and sid takes windows of one length"):
        ensemble.infer([*windows(1), *windows(1, length=20_000)])
