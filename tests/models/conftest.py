"""Shared by the tests of models: checkpoints as the hub stores them, with random weights, and windows of speech."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from torch import nn

from stream.models.fast import quantisation
from stream.types import Window

ROOT = Path(__file__).resolve().parents[2]

# config.json of the originals, as written by transformers 4.10
COMMON = {
    "activation_dropout": 0.1,
    "apply_spec_augment": True,
    "attention_dropout": 0.1,
    "bos_token_id": 1,
    "classifier_proj_size": 256,
    "conv_bias": False,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "ctc_loss_reduction": "sum",
    "do_stable_layer_norm": False,
    "eos_token_id": 2,
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "group",
    "feat_proj_dropout": 0.1,
    "final_dropout": 0.0,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "layerdrop": 0.1,
    "mask_feature_prob": 0.0,
    "mask_time_length": 10,
    "mask_time_prob": 0.05,
    "num_conv_pos_embedding_groups": 16,
    "num_conv_pos_embeddings": 128,
    "num_feat_extract_layers": 7,
    "pad_token_id": 0,
    "tdnn_dilation": [1, 2, 3, 1, 1],
    "tdnn_dim": [512, 512, 512, 512, 1500],
    "tdnn_kernel": [5, 3, 3, 1, 1],
    "torch_dtype": "float32",
    "transformers_version": "4.10.0.dev0",
    "use_weighted_layer_sum": True,
    "vocab_size": 32,
    "xvector_output_dim": 512,
}
LARGE = {"conv_bias": True, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}
IEMOCAP = ["neu", "hap", "ang", "sad"]
VOXCELEB = [f"id{10_001 + i}" for i in range(1_251)]
TRAINED_ON = [f"speaker-{i}" for i in range(1_211)]


@dataclass(frozen=True)
class Kind:
    """One architecture: its class, layers, labels, and differences of its configuration from `COMMON`."""

    architecture: str
    model_type: str
    labels: list[str]
    layers: int = 12
    do_normalize: bool = False
    config: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "emotion-wav2vec2-large": Kind("Wav2Vec2ForSequenceClassification", "wav2vec2", IEMOCAP, 24, True, LARGE),
    "speaker-id-voxceleb1": Kind("Wav2Vec2ForSequenceClassification", "wav2vec2", VOXCELEB),
    "speaker-wav2vec2": Kind("Wav2Vec2ForXVector", "wav2vec2", TRAINED_ON),
    "speaker-wavlm": Kind(
        "WavLMForXVector", "wavlm", TRAINED_ON, config={"num_buckets": 320, "max_bucket_distance": 800}
    ),
    "speaker-unispeech-sat": Kind("UniSpeechSatForXVector", "unispeech-sat", TRAINED_ON),
    "overlap-wavlm": Kind(
        "WavLMForAudioFrameClassification", "wavlm", [], config={"num_buckets": 320, "max_bucket_distance": 800}
    ),
    "overlap-unispeech-sat": Kind("UniSpeechSatForAudioFrameClassification", "unispeech-sat", []),
    "hubert": Kind("HubertForSequenceClassification", "hubert", IEMOCAP, 3, True, LARGE),
    "hubert-base": Kind("HubertForSequenceClassification", "hubert", IEMOCAP, 3),
    "data2vec-audio": Kind(
        "Data2VecAudioForSequenceClassification",
        "data2vec-audio",
        ["disgust", "fear"],
        3,
        True,
        {"feat_extract_norm": "layer", "conv_pos_kernel_size": 19, "num_conv_pos_embeddings": 5},
    ),
    "data2vec-audio-xvector": Kind("Data2VecAudioForXVector", "data2vec-audio", TRAINED_ON, 3, True),
}

Checkpoint = tuple[Path, nn.Module]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that need a CUDA device on machines without one."""
    gpu = {item for item in items if item.get_closest_marker("gpu") is not None}
    if gpu and not torch.cuda.is_available():
        items[:] = [item for item in items if item not in gpu]
        config.hook.pytest_deselected(items=list(gpu))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Run on one thread: small nets gain nothing from more, and are slow with more while the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_checkpoint(
    folder: Path, name: str, *, full_width: bool = False, layers: int | None = None, safetensors: bool = False
) -> Checkpoint:
    """Write a checkpoint of that kind with random weights; return its folder and the net it was made from."""
    import transformers  # noqa: PLC0415

    kind = KINDS[name]
    big = kind.layers == 24
    width = (1_024 if big else 768) if full_width else 32
    config: dict[str, Any] = {
        **COMMON,
        **kind.config,
        "_name_or_path": "facebook/somewhere-else",
        "architectures": [kind.architecture],
        "model_type": kind.model_type,
        "conv_dim": [512 if full_width else 32] * 7,
        "hidden_size": width,
        "intermediate_size": 4 * width if full_width else 48,
        "num_attention_heads": width // 64 if full_width else 4,
        "num_hidden_layers": layers or kind.layers,
    }
    if kind.labels:
        config["id2label"] = {str(i): label for i, label in enumerate(kind.labels)}
        config["label2id"] = {label: i for i, label in enumerate(kind.labels)}
    torch.manual_seed(3)
    net_class = getattr(transformers, kind.architecture)
    net: nn.Module = net_class(net_class.config_class(**config)).eval().requires_grad_(requires_grad=False)
    for key, weight in net.named_parameters():  # larger than the library's initialisation, so that differences show
        if weight.ndim > 1 and not key.endswith("original0"):
            nn.init.xavier_normal_(weight, gain=0.5 if key == "classifier.weight" else 1.0)
        elif "norm" not in key and weight.ndim == 1:
            nn.init.normal_(weight, std=0.1)
    spellings = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = net.state_dict()
    for new, old in spellings.items():
        state = {key.replace(new, old): tensor.contiguous() for key, tensor in state.items()}
    assert any(key.endswith("weight_g") for key in state) == (kind.model_type != "data2vec-audio")
    folder.mkdir(parents=True)
    if safetensors:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    preprocessor = {
        "do_normalize": kind.do_normalize,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": kind.do_normalize,
        "sampling_rate": 16_000,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    return folder, net


@pytest.fixture(scope="session")
def write() -> Callable[..., Checkpoint]:
    """Return a function: `write(folder, kind, full_width=…, layers=…, safetensors=…)`."""
    return write_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Checkpoint]:
    """Return a function that writes each small checkpoint once, for tests that only read: `checkpoint(kind, …)`."""
    written: dict[tuple[str, bool], Checkpoint] = {}

    def get(name: str, *, safetensors: bool = False) -> Checkpoint:
        if (name, safetensors) not in written:
            folder = tmp_path_factory.mktemp("checkpoints") / name
            written[name, safetensors] = write_checkpoint(folder, name, safetensors=safetensors)
        return written[name, safetensors]

    return get


@pytest.fixture
def faster_in_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every layer be faster in int8, as those of full size are: small ones are not, or only at times."""
    monkeypatch.setattr(quantisation, "speed_up", lambda *_, **__: 2.0)


@pytest.fixture(scope="session")
def windows() -> Callable[..., list[Window]]:
    """Return a function that extracts windows of the bundled conversation: `windows(count, length=…)`."""
    samples, rate_hz = soundfile.read(ROOT / "stream" / "demo" / "conversation.flac", dtype="float32", always_2d=True)
    assert rate_hz == 16_000
    mono = np.ascontiguousarray(samples[:, 0])

    def extract(count: int, *, length: int = 16_000) -> list[Window]:
        starts = [24_000 + 40_000 * i for i in range(count)]
        extracted = [
            Window("a", i, start, mono[start : start + length], speech_ratio=1.0, speech_samples=length)
            for i, start in enumerate(starts)
        ]
        assert all(window.samples.std() > 0.01 and len(window.samples) == length for window in extracted)
        return extracted

    return extract
