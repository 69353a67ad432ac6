"""Damaged, unsupported or malicious checkpoints: each is rejected with one sentence that names the file."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stream.errors import ModelError, ModelFormatError, ModelNotFound
from stream.models.loading import load
from stream.settings import ModelSettings
from tests.models.test_loading import Windows, Write, assert_parity, settings

pytestmark = pytest.mark.slow


def edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop(folder: Path, *prefixes: str) -> None:
    state = torch.load(folder / "pytorch_model.bin")
    torch.save({k: v for k, v in state.items() if not k.startswith(prefixes)}, folder / "pytorch_model.bin")


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/tonewatch-executed",)


def pickled(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"classifier.bias": Malicious()}))


def pickled_in_a_zip(folder: Path) -> None:
    torch.save({"classifier.bias": Malicious()}, folder / "pytorch_model.bin")


def half(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])


Damage = Callable[[Path], Any]
REJECTED: dict[str, tuple[Damage, type[ModelError], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), ModelNotFound, "has no config.json"),
    "no weights": (lambda f: (f / "pytorch_model.bin").unlink(), ModelNotFound, "has no weights"),
    "no preprocessor": (
        lambda f: (f / "preprocessor_config.json").unlink(),
        ModelNotFound,
        "has no preprocessor_config.json",
    ),
    "broken config": (lambda f: half(f, "config.json"), ModelFormatError, r"config.json cannot be read"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), ModelFormatError, "not a JSON object"),
    "config is binary": (
        lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"),
        ModelFormatError,
        "cannot be read",
    ),
    "another family": (
        lambda f: edit(f, "config.json", model_type="whisper"),
        ModelFormatError,
        "family 'whisper'; supported: wav2vec2, wavlm, unispeech-sat, hubert, data2vec-audio",
    ),
    "another head": (
        lambda f: edit(f, "config.json", architectures=["HubertForCTC"]),
        ModelFormatError,
        ("has HubertForCTC; use a fine-tuned …ForSequenceClassification, …ForXVector or …ForAudioFrameClassification"),
    ),
    "a head that does not exist": (
        lambda f: edit(f, "config.json", architectures=["HubertForXVector"]),
        ModelFormatError,
        "needs a HubertForXVector, which transformers does not provide",
    ),
    "one label": (lambda f: edit(f, "config.json", id2label={"0": "x"}), ModelFormatError, "fewer than two labels"),
    "unnumbered labels": (
        lambda f: edit(f, "config.json", id2label={"x": "y"}),
        ModelFormatError,
        "keys in id2label that are not numbers",
    ),
    "impossible config": (
        lambda f: edit(f, "config.json", hidden_size="many"),
        ModelFormatError,
        "cannot be loaded as HubertForSequenceClassification",
    ),
    "8 kHz": (
        lambda f: edit(f, "preprocessor_config.json", sampling_rate=8_000),
        ModelFormatError,
        "needs audio at 8000 Hz; only 16000 Hz",
    ),
    "another extractor": (
        lambda f: edit(f, "preprocessor_config.json", feature_extractor_type="SeamlessM4TFeatureExtractor"),
        ModelFormatError,
        "only Wav2Vec2FeatureExtractor is supported",
    ),
    "no head weights": (
        lambda f: drop(f, "classifier.", "projector."),
        ModelFormatError,
        r"lacks weights of HubertForSequenceClassification \(classifier.bias, classifier.weight, projector.bias",
    ),
    "no layer weights": (lambda f: drop(f, "layer_weights"), ModelFormatError, r"lacks weights .*\(layer_weights\)"),
    "no positions": (lambda f: drop(f, "hubert.encoder.pos_conv_embed"), ModelFormatError, "lacks weights"),
    "fewer layers in config": (
        lambda f: edit(f, "config.json", num_hidden_layers=2, use_weighted_layer_sum=False),
        ModelFormatError,
        r"weights that its config.json does not define \(hubert.encoder.layers.2",
    ),
    "other shapes": (
        lambda f: edit(f, "config.json", classifier_proj_size=8),
        ModelFormatError,
        r"other shapes than its config.json \(classifier.weight, projector.bias",
    ),
    "truncated bin": (lambda f: half(f, "pytorch_model.bin"), ModelFormatError, "cannot be loaded"),
    "empty bin": (lambda f: (f / "pytorch_model.bin").write_bytes(b""), ModelFormatError, "cannot be loaded"),
    "pickled code": (pickled, ModelFormatError, "cannot be loaded"),
    "pickled code in a zip": (pickled_in_a_zip, ModelFormatError, "cannot be loaded"),
    "a pointer": (
        lambda f: (f / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        ModelFormatError,
        "run `git lfs pull`",
    ),
}


@pytest.mark.parametrize("what", REJECTED)
def test_damaged_checkpoints_are_rejected(what: str, write: Write, tmp_path: Path) -> None:
    damage, error, sentence = REJECTED[what]
    folder, _ = write(tmp_path / "model", "hubert-base")
    damage(folder)
    with pytest.raises(error, match=sentence) as caught:
        load(settings(folder))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert not Path("/tmp/tonewatch-executed").exists()  # noqa: S108


def test_truncated_safetensors(write: Write, tmp_path: Path) -> None:
    folder, _ = write(tmp_path / "model", "hubert-base", safetensors=True)
    half(folder, "model.safetensors")
    with pytest.raises(ModelFormatError, match=r"model.safetensors is damaged or incomplete .*; download it again"):
        load(settings(folder))


def test_training_leftovers_are_tolerated(write: Write, windows: Windows, tmp_path: Path) -> None:
    folder, net = write(tmp_path / "model", "speaker-wavlm")
    drop(folder, "objective.", "wavlm.masked_spec_embed")
    state = torch.load(folder / "pytorch_model.bin")
    torch.save(state | {"quantizer.codevectors": torch.zeros(1, 2)}, folder / "pytorch_model.bin")
    assert_parity(load(settings(folder)), net, folder, windows(1))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no-such-model", r"unknown model or folder 'no-such-model'; use a zoo name \(emotion-campplus"),
        ("/no/such/folder", "unknown model or folder '/no/such/folder'"),
        (__file__, "is a file; give its folder"),
    ],
)
def test_names_without_a_model(name: str, sentence: str) -> None:
    with pytest.raises(ModelNotFound, match=sentence):
        load(ModelSettings(name=name, window_s=2.0, hop_s=0.5))
