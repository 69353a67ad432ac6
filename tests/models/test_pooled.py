"""Checkpoints of arousal, dominance and valence, in the layout in which they are published, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stream.errors import ModelFormatError
from stream.events import EmotionEvent
from stream.models.loading import load
from stream.settings import EmotionSettings, ModelSettings
from stream.tracking.emotion import UNCERTAIN, EmotionTracker
from stream.types import Task, Window

SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "conv_dim": [32] * 7,
}


def write(folder: Path, labels: list[str], *, binary: bool = False, outputs: int | None = None) -> nn.Module:
    """Write a checkpoint named like audeering's; returns its backbone."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model  # noqa: PLC0415

    torch.manual_seed(5)
    config = Wav2Vec2Config(**SIZES, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)
    net: nn.Module = Wav2Vec2Model(config).eval()
    tensors = {f"wav2vec2.{name}": value.clone() for name, value in net.state_dict().items()}
    for layer, size in (("classifier.dense", 48), ("classifier.out_proj", outputs or len(labels))):
        linear = nn.Linear(48, size)
        nn.init.normal_(linear.weight, std=0.5)
        tensors |= {f"{layer}.weight": linear.weight.detach(), f"{layer}.bias": linear.bias.detach() + 0.5}
    folder.mkdir(parents=True, exist_ok=True)
    if binary:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    described = json.loads(config.to_json_string(use_diff=False)) | {
        "architectures": ["Wav2Vec2ForSpeechClassification"],
        "id2label": {str(at): label for at, label in enumerate(labels)},
        "problem_type": "regression",
    }
    (folder / "config.json").write_text(json.dumps(described))
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return net


def settings(folder: Path) -> ModelSettings:
    return ModelSettings(name=str(folder), window_s=2.0, hop_s=0.5, device="cpu", dtype="float32")


def window() -> Window:
    samples = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)
    return Window("a", 0, 0, samples, 1.0, len(samples))


@pytest.mark.slow
@pytest.mark.parametrize("binary", [False, True])
def test_dimensions_pass_through(tmp_path: Path, binary: bool) -> None:  # noqa: FBT001
    net = write(tmp_path / "dims", ["arousal", "dominance", "valence"], binary=binary)
    model = load(settings(tmp_path / "dims"))
    assert model.fast is not None, "the fast forward knows the layout"
    assert (model.info.task, model.info.labels) == (Task.EMOTION, ())
    assert model.info.dimensions == ("arousal", "dominance", "valence")
    (scores,) = model.infer([window()])
    samples = window().samples
    audio = torch.from_numpy((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7))[None]
    weights = torch.load(tmp_path / "dims/pytorch_model.bin") if binary else None
    if weights is not None:
        with torch.inference_mode():
            pooled = net(audio).last_hidden_state.mean(dim=1)
            hidden = torch.tanh(pooled @ weights["classifier.dense.weight"].T + weights["classifier.dense.bias"])
            wanted = hidden @ weights["classifier.out_proj.weight"].T + weights["classifier.out_proj.bias"]
        np.testing.assert_allclose(scores.values, wanted[0].clamp(0, 1), atol=1e-4)
    assert ((scores.values >= 0) & (scores.values <= 1)).all()


def test_labels_of_the_same_layout_are_probabilities(tmp_path: Path) -> None:
    write(tmp_path / "labels", ["anger", "happiness", "sadness"])
    model = load(settings(tmp_path / "labels"))
    assert (model.info.labels, model.info.dimensions) == (("angry", "happy", "sad"), ())
    (scores,) = model.infer([window()])
    assert scores.values.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_head_of_another_size_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "odd", ["arousal", "dominance", "valence"], outputs=2)
    with pytest.raises(ModelFormatError, match=r"has no head of classifier\.dense and classifier\.out_proj with 3"):
        load(settings(tmp_path / "odd"))


def test_without_labels_the_state_is_uncertain_and_has_dimensions() -> None:
    tracker = EmotionTracker(labels=(), settings=EmotionSettings())
    tracker.update((), speech_s=1.0, end_sample=16_000, dimensions=(0.2, 0.5))
    state = tracker.update((), speech_s=1.0, end_sample=32_000, dimensions=(0.8, 0.5))
    assert (state.label, state.confidence, state.probabilities) == (UNCERTAIN, 0.0, ())
    assert 0.2 < state.dimensions[0] < 0.8
    assert state.trends[0] > 0.1
    assert state.trends[1] == 0.0
    assert {"arousal", "arousal_trend", "dominance", "valence"} <= EmotionEvent.model_fields.keys()
