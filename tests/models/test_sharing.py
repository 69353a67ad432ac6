"""Models share a backbone only if every tensor of it is equal, and then give the same scores as alone."""

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
from tests.models.fast.conftest import build_small
from tests.support.fakes import FakeModel

SPEC = WindowSpec(32_000, 8_000, 8_000)


def pair(**changes: Any) -> list[PretrainedModel]:
    """Build a verification and an identification model on one backbone; `changes` apply to the second."""
    verifier = copy.deepcopy(build_small("Wav2Vec2ForXVector", "group"))
    identifier = copy.deepcopy(build_small("Wav2Vec2ForSequenceClassification", "group"))
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
    info = ModelInfo(name, "0", task)  # `singly`: stacked windows round differently
    return PretrainedModel(net=fast, info=info, spec=spec, normalise=normalise, singly=True)


def test_one_pass_gives_the_scores_of_two(windows: Callable[..., list[Window]]) -> None:
    models = pair()
    batch = windows(3)
    alone = [each.infer(batch) for each in models]
    (ensemble,) = share_backbones([*models, FakeModel()])
    assert list(ensemble.models) == models
    first, second = (each.fast for each in models)
    assert first is not None
    assert second is not None
    assert first.backbone is second.backbone  # the memory of the other one is freed
    for position, shared in enumerate(ensemble.infer(batch)):
        for scores, before in zip(shared, (scores[position] for scores in alone), strict=True):
            assert (scores.model, scores.index, scores.source_id) == (before.model, before.index, before.source_id)
            np.testing.assert_array_equal(scores.values, before.values)
    assert ensemble.infer([]) == []


def tuned(net: nn.Module) -> None:
    net.get_parameter("wav2vec2.encoder.layers.2.feed_forward.output_dense.bias").data[3] += 1e-6


@pytest.mark.parametrize(
    "changes",
    [{"touch": tuned}, {"spec": WindowSpec(48_000, 16_000, 8_000)}, {"normalise": True}],
    ids=["a tensor differs", "windows differ", "scaling differs"],
)
def test_different_models_share_nothing(changes: Mapping[str, Any]) -> None:
    assert share_backbones(pair(**changes)) == []


def test_nothing_to_share() -> None:
    assert share_backbones([]) == []
    assert share_backbones([FakeModel()]) == []


def test_a_bad_batch_names_both(windows: Callable[..., list[Window]]) -> None:
    (ensemble,) = share_backbones(pair())
    with pytest.raises(InferenceError, match="sv and sid needs windows of equal length"):
        ensemble.infer([*windows(1), *windows(1, length=20_000)])
