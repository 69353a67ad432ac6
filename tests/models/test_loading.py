"""Loading of checkpoints as the hub stores them, compared with the net they were written from."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stream.errors import ModelError, ModelFormatError, ModelNotFound
from stream.models.loading import load
from stream.models.pretrained import PretrainedModel
from stream.settings import ModelSettings
from stream.types import Task, Window

pytestmark = pytest.mark.slow

Checkpoint = tuple[Path, nn.Module]
Write = Callable[..., Checkpoint]
Windows = Callable[..., list[Window]]

PRETRAINED = [
    "emotion-wav2vec2-large",
    "speaker-id-voxceleb1",
    "speaker-unispeech-sat",
    "speaker-wav2vec2",
    "speaker-wavlm",
]
OVERLAP = ["overlap-unispeech-sat", "overlap-wavlm"]
OTHERS = ["hubert", "hubert-base", "data2vec-audio", "data2vec-audio-xvector"]


def settings(folder: Path, **more: Any) -> ModelSettings:
    usual = {"name": str(folder), "window_s": 2.0, "hop_s": 0.5, "device": "cpu", "dtype": "float32"}
    return ModelSettings(**usual | more)


def expected(net: nn.Module, folder: Path, batch: list[Window]) -> np.ndarray:
    """Return the output of the library's extractor and forward for each window alone."""
    from transformers import Wav2Vec2FeatureExtractor  # noqa: PLC0415

    extract = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    rows = []
    for window in batch:
        values = extract(window.samples, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.inference_mode():
            output = net(values)
        if hasattr(output, "embeddings"):
            rows.append(nn.functional.normalize(output.embeddings, dim=1)[0])
        elif output.logits.ndim == 3:  # per frame; several people may speak at once
            rows.append(torch.sigmoid(output.logits)[0])
        else:
            rows.append(torch.softmax(output.logits, dim=1)[0])
    return torch.stack(rows).numpy()


def assert_parity(model: PretrainedModel, net: nn.Module, folder: Path, batch: list[Window]) -> None:
    wanted = expected(net, folder, batch)
    assert np.abs(wanted - wanted[:1]).max() > 0.01 * wanted.max() or len(batch) == 1  # else the test proves nothing
    scores = model.infer(batch)
    for window, score, row in zip(batch, scores, wanted, strict=True):
        assert (score.model, score.source_id, score.index) == (model.info.name, window.source_id, window.index)
        assert (score.start_sample, score.end_sample) == (window.start_sample, window.end_sample)
        assert isinstance(score.values, np.ndarray)
        assert score.values.dtype == np.float32
        np.testing.assert_allclose(score.values, row, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(score.values, row, rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", PRETRAINED + OVERLAP + OTHERS)
def test_scores_equal_the_librarys(name: str, count: int, checkpoint: Write, windows: Windows) -> None:
    folder, net = checkpoint(name)
    assert_parity(load(settings(folder)), net, folder, windows(count))


@pytest.mark.parametrize("name", PRETRAINED)
def test_safetensors_score_the_same(name: str, checkpoint: Write, windows: Windows) -> None:
    folder, net = checkpoint(name, safetensors=True)
    assert not (folder / "pytorch_model.bin").exists()
    assert_parity(load(settings(folder)), net, folder, windows(2))


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("name", PRETRAINED + OVERLAP)
def test_two_layers_of_full_width(name: str, write: Write, windows: Windows, tmp_path: Path) -> None:
    folder, net = write(tmp_path / name, name, full_width=True, layers=2)
    assert_parity(load(settings(folder)), net, folder, windows(2, length=32_000))


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("name", PRETRAINED + OVERLAP)
def test_full_size(name: str, write: Write, windows: Windows, tmp_path: Path) -> None:
    folder, net = write(tmp_path / name, name, full_width=True)
    try:
        known = {"emotion-wav2vec2-large": 315.7e6, "speaker-id-voxceleb1": 94.9e6} | dict.fromkeys(OVERLAP, 94.4e6)
        parameters = known.get(name, 101.1e6)
        assert sum(weight.numel() for weight in net.parameters()) == pytest.approx(parameters, rel=0.01)
        assert_parity(load(settings(folder)), net, folder, windows(2, length=32_000))
    finally:
        shutil.rmtree(folder)  # up to 1.3 GB


def test_info_of_an_emotion_classifier(checkpoint: Write) -> None:
    folder, _ = checkpoint("emotion-wav2vec2-large")
    model = load(settings(folder, window_s=3.0, hop_s=1.0))
    assert model.info.name == "emotion-wav2vec2-large"  # never the path
    assert model.info.task is Task.EMOTION
    assert model.info.labels == ("neutral", "happy", "angry", "sad")
    assert model.info.threshold is None
    assert model.info.revision.startswith("local:")
    assert (model.spec.length_samples, model.spec.hop_samples, model.spec.minimum_samples) == (48_000, 16_000, 8_000)


@pytest.mark.parametrize(
    ("name", "threshold"), [("speaker-wavlm", 0.86), ("speaker-unispeech-sat", 0.89), ("speaker-wav2vec2", 0.7)]
)
def test_info_of_an_xvector_model(name: str, threshold: float, checkpoint: Write, windows: Windows) -> None:
    folder, _ = checkpoint(name)
    model = load(settings(folder))
    assert model.info.task is Task.SPEAKER
    assert model.info.labels == ()
    assert model.info.threshold == threshold
    assert model.spec.minimum_samples >= 5_200
    (score,) = model.infer(windows(1, length=model.spec.minimum_samples))
    assert score.values.shape == (512,)
    assert float(np.linalg.norm(score.values)) == pytest.approx(1.0, abs=1e-5)


def test_info_of_an_identity_classifier(checkpoint: Write, windows: Windows) -> None:
    folder, _ = checkpoint("speaker-id-voxceleb1")
    model = load(settings(folder))
    assert model.info.task is Task.IDENTITY
    assert model.info.labels[:2] == ("id10001", "id10002")
    (score,) = model.infer(windows(1))
    assert score.values.shape == (1_251,) == (len(model.info.labels),)
    assert float(score.values.sum()) == pytest.approx(1.0, abs=1e-4)


def test_info_of_a_frame_classifier(checkpoint: Write, windows: Windows) -> None:
    folder, _ = checkpoint("overlap-wavlm")
    model = load(settings(folder))
    assert model.info.task is Task.OVERLAP
    assert (model.info.labels, model.info.threshold) == ((), None)
    assert model.fast is not None
    (score,) = model.infer(windows(1))
    assert score.values.shape == (49, 2), "a frame every 20 ms, two people"
    assert ((score.values > 0) & (score.values < 1)).all()


def test_the_forward_is_the_fast_one(checkpoint: Write) -> None:
    folder, _ = checkpoint("speaker-wav2vec2")
    fast = load(settings(folder)).fast
    assert fast is not None
    assert not fast.training


def test_the_librarys_forward_gives_equal_scores(
    checkpoint: Write, windows: Callable[..., list[Window]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unsupported architecture uses the library's forward; everything else is unchanged."""
    folder, _ = checkpoint("speaker-wavlm")
    fast = load(settings(folder))
    monkeypatch.setattr("stream.models.loading.accelerate", lambda net, *, name: None)  # noqa: ARG005
    slow = load(settings(folder))
    assert slow.fast is None
    for ours, theirs in zip(fast.infer(windows(2)), slow.infer(windows(2)), strict=True):
        np.testing.assert_allclose(ours.values, theirs.values, atol=1e-5)
    with pytest.raises(ModelError, match="does not support int8"):
        load(settings(folder, dtype="int8"))


@pytest.mark.usefixtures("faster_in_int8")
def test_int8(checkpoint: Write, windows: Callable[..., list[Window]], caplog: pytest.LogCaptureFixture) -> None:
    folder, _ = checkpoint("speaker-wav2vec2")
    exact, near = load(settings(folder)), load(settings(folder, dtype="int8"))
    scores = near.infer(windows(2))
    for ours, theirs in zip(scores, exact.infer(windows(2)), strict=True):
        assert 0.95 < float(ours.values @ theirs.values) < 1
    assert "layers are faster in it; against float32, on 6 windows" in caplog.text
    alone = near.infer(windows(2)[:1])
    assert np.array_equal(alone[0].values, scores[0].values), "the score in int8 depends on the batch"


def test_revision_follows_the_weights_not_the_format(write: Write, tmp_path: Path) -> None:
    folder, _ = write(tmp_path / "a", "hubert-base")
    first = load(settings(folder)).info.revision
    assert load(settings(folder)).info.revision == first
    state = torch.load(folder / "pytorch_model.bin")
    state["classifier.bias"] += 1
    torch.save(state, folder / "pytorch_model.bin")
    assert load(settings(folder)).info.revision != first


def test_the_revision_of_a_snapshot_is_its_commit(checkpoint: Write, tmp_path: Path) -> None:
    folder, _ = checkpoint("hubert-base")
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(folder, snapshot)
    assert load(settings(snapshot)).info.revision == "0123456789abcdef0123456789abcdef01234567"


def test_loading_restores_library_settings(checkpoint: Write, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging  # noqa: PLC0415

    folder, _ = checkpoint("speaker-wavlm")
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_num_threads())
    threads = set(threading.enumerate())
    load(settings(folder))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_num_threads()) == before
    assert set(threading.enumerate()) == threads  # no conversion thread for a `.bin`
    assert "".join(capfd.readouterr()) == ""


def test_sharded_weights(checkpoint: Write, windows: Windows, tmp_path: Path) -> None:
    from transformers import HubertForSequenceClassification  # noqa: PLC0415

    folder, net = checkpoint("hubert-base")
    sharded = tmp_path / "sharded"
    HubertForSequenceClassification.from_pretrained(folder).save_pretrained(sharded, max_shard_size="100KB")
    shutil.copy(folder / "preprocessor_config.json", sharded)
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    model = load(settings(sharded))
    assert_parity(model, net, folder, windows(2))
    next(sharded.glob("model-*.safetensors")).unlink()
    with pytest.raises(ModelNotFound, match=r"model-00\d+-of-00\d+.safetensors is missing"):
        load(settings(sharded))


def test_bfloat16(checkpoint: Write, windows: Windows) -> None:
    folder, net = checkpoint("speaker-wavlm")
    model = load(settings(folder, dtype="bfloat16"))
    batch = windows(2)
    for score, row in zip(model.infer(batch), expected(net, folder, batch), strict=True):
        assert score.values.dtype == np.float32
        assert float(score.values @ row) > 0.98


def test_labels_keep_their_order_and_get_canonical_spelling(write: Write, tmp_path: Path) -> None:
    folder, _ = write(tmp_path / "a", "hubert-base")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"3": "Anger", "0": "sadness", "2": " Happiness", "1": "Weird One"}
    (folder / "config.json").write_text(json.dumps(config))
    assert load(settings(folder)).info.labels == ("sad", "weird one", "happy", "angry")


def test_without_an_architecture_the_task_decides(write: Write, tmp_path: Path) -> None:
    folder, _ = write(tmp_path / "a", "speaker-wavlm")
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load(settings(folder), task=Task.SPEAKER).info.task is Task.SPEAKER
    with pytest.raises(ModelFormatError, match="without a named architecture"):
        load(settings(folder))
    with pytest.raises(ModelFormatError, match=r"other shapes than its config.json \(classifier.bias"):
        load(settings(folder), task=Task.EMOTION)


@pytest.mark.parametrize("name", ["speaker-wav2vec2", "speaker-wavlm", "speaker-unispeech-sat"])
def test_quiet_input_keeps_its_xvector(name: str, checkpoint: Write, windows: Windows) -> None:
    folder, net = checkpoint(name)
    model = load(settings(folder))
    (window,) = windows(1)
    (loud,) = model.infer([window])
    for gain in (1e-2, 1e-3):
        quiet = dataclasses.replace(window, samples=window.samples * np.float32(gain))
        (score,) = model.infer([quiet])
        assert float(score.values @ loud.values) > 0.99
        (without,) = expected(net, folder, [quiet])
        assert float(score.values @ loud.values) > float(without @ loud.values)


@pytest.mark.gpu
@pytest.mark.parametrize("name", PRETRAINED)
def test_cuda(name: str, checkpoint: Write, windows: Windows) -> None:
    folder, net = checkpoint(name)
    batch = windows(4)
    wanted = expected(net, folder, batch)
    for device, dtype in (("cuda", "float32"), ("auto", "auto")):
        model = load(settings(folder, device=device, dtype=dtype))
        assert model._device.type == "cuda"
        assert model._dtype == (torch.float32 if dtype == "float32" else torch.bfloat16)
        scores = np.stack([score.values for score in model.infer(batch)])
        assert scores.dtype == np.float32
        tolerance = 1e-4 if dtype == "float32" else 0.05
        np.testing.assert_allclose(scores, wanted, rtol=0, atol=tolerance)


# Errors of loading


def test_a_folder_has_no_revisions(checkpoint: Write) -> None:
    with pytest.raises(ModelNotFound, match="is a folder and has no revision 'main'"):
        load(settings(checkpoint("hubert-base")[0], revision="main"))


def test_a_folder_wins_over_the_zoo(checkpoint: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = checkpoint("hubert-base")
    shutil.copytree(folder, tmp_path / "speaker-wavlm")
    monkeypatch.chdir(tmp_path)
    assert load(ModelSettings(name="speaker-wavlm", window_s=2.0, hop_s=0.5)).info.task is Task.EMOTION
