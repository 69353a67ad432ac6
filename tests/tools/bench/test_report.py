"""`tonewatch bench` and `tonewatch doctor`, as tables and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from typer.testing import CliRunner

from stream.cli.main import app
from stream.models import benchmark, loading
from stream.settings import Settings
from stream.tools.bench import channels
from stream.tools.bench.channels import LoadTrial
from stream.tools.bench.doctor import examine
from tests.models.fast.conftest import build_small
from tests.support.small_models import TINY

pytestmark = pytest.mark.slow

PRETRAINED = {
    "emotion": {"name": "emotion-wav2vec2-large", "window_s": 3, "hop_s": 1},
    "speaker": {"name": "speaker-wavlm", "window_s": 2, "hop_s": 0.5},
}
SMALL = {"speaker-wav2vec2": "Wav2Vec2ForXVector", "speaker-id-voxceleb1": "Wav2Vec2ForSequenceClassification"}


def bench(*words: str) -> Any:
    return CliRunner().invoke(app, ["bench", *words])


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    def random_model(name: str) -> nn.Module:
        return build_small(SMALL[name], "group")

    monkeypatch.setattr(benchmark, "random_model", random_model)
    monkeypatch.setattr(benchmark, "GEMM_SHAPE", (8, 16, 16))


@pytest.mark.long
@pytest.mark.usefixtures("_small")
def test_models_are_compared() -> None:
    words = ["--random-weights", "--runs", "1", "--batch", "2", "--window", "1", "--bfloat16", "--json"]
    result = bench(*words, "--model", "speaker-wav2vec2", "--model", "speaker-id-voxceleb1", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["machine"]["choice"] in ("float32", "bfloat16")
    assert found["shared_backbone"] > 0
    assert [(row["model"], row["batch"]) for row in found["models"]] == [(name, 2) for name in SMALL]
    for row in found["models"]:
        assert row["largest_difference"] < 1e-5
        assert row["least_cosine"] > 0.9999
        assert row["same_argmax"] == 1
        assert row["ours_ms"] > 0
        assert row["library_bf16_ms"] > 0


@pytest.mark.long
@pytest.mark.usefixtures("_small")
def test_models_in_a_table() -> None:
    words = ["--random-weights", "--model", "speaker-wav2vec2", "--runs", "1", "--batch", "1", "--window", "1"]
    result = bench(*words, "--dtype", "int8")
    assert result.exit_code == 0, result.output
    assert "times_faster" in result.stdout
    assert "int8" in result.stdout


def test_operations_of_a_window() -> None:
    """By hand: a window of 3 s is about 42 GFLOP for a base model, 14.7 of them in the front end."""
    small = build_small("Wav2Vec2ForSequenceClassification", "group")
    config: Any = small.config
    assert benchmark.count_operations(small, samples=48_000) > 2 * 9_599 * config.conv_dim[0] * 10


def test_live_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_trial(*_: Any, count: int, **__: Any) -> LoadTrial:
        return LoadTrial(count, count <= 20, 10.0, 20.0, 1.0, 100, 0, 100, 300.0)

    monkeypatch.setattr(channels, "run_trial", run_trial)
    result = bench("--channels", "--most", "64", "--json", *TINY)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["sustained"] in (19, 20)
    assert found["bound_ms"] == 300
    assert found["trials"]
    assert "20 or more live sources" in bench("--channels", "--most", "20", *TINY).stdout
    assert "21 sources: too many" in bench("--channels", "--sources", "21", *TINY).stderr
    assert "9 or more live sources" in bench("--channels", "--sources", "9", *TINY).stdout


def test_random_weights_stand_in_for_pretrained_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = benchmark.random_model
    monkeypatch.setattr(benchmark, "random_model", lambda name, **options: whole(name, layers=1, **options))
    settings = channels.with_random_weights(Settings.model_validate({"models": PRETRAINED}), tmp_path)
    assert settings.models.speaker.name == str(tmp_path / "speaker-wavlm")
    assert settings.models.overlap.name == "overlap-segmentation"
    assert loading.load(settings.models.speaker).info.task == "speaker"
    assert loading.load(settings.models.emotion).info.labels


def test_invalid_options_are_rejected() -> None:
    assert "unknown --dtype 'int4'; available: auto, float32, bfloat16, int8" in bench("--dtype", "int4").stderr
    rejected = bench("--random-weights", "--model", "no-such")
    assert rejected.exit_code
    assert "no benchmark for model 'no-such'; available: emotion-wav2vec2-large" in rejected.stderr


def test_doctor_downloads_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.models.zoo.local_folder", lambda _: None)
    found = examine(
        Settings.model_validate({"models": {"emotion": {"name": "emotion-wav2vec2-large", "window_s": 3, "hop_s": 1}}})
    )
    assert found["live sources"].startswith("not measured: emotion-wav2vec2-large is not downloaded; `tonewatch models")


@pytest.mark.slow
def test_doctor() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {
        "tonewatch",
        "packages",
        "devices",
        "processor",
        "type",
        "threads",
        "memory",
        "microphones",
        "live sources",
    } == set(found)
    assert "this machine carries" in found["live sources"]
    assert "GFLOP/s" in found["processor"]
    assert "cpu" in found["devices"]
    assert "torch" in found["packages"]
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0


def test_doctor_reports_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream.errors import SourceError  # noqa: PLC0415
    from stream.sources import portaudio  # noqa: PLC0415

    def absent() -> Any:
        raise SourceError("PortAudio is missing; apt install libportaudio2")

    monkeypatch.setattr(portaudio, "load_portaudio", absent)
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert "apt install libportaudio2" in found["microphones"]
