"""Settings: layers on top of one another, and refusals that name layer, key and what may stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts import settings_page
from stream import settings
from stream.errors import SettingsError
from stream.settings import load, presets


def test_layers_lie_on_top_of_one_another(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("health_s = 20\n[pool]\nworkers = 2\nmax_batch = 16\n[models.speaker]\nhop_s = 0.25\n")
    environment = {"TONEWATCH__POOL__WORKERS": "3", "TONEWATCH__SINKS": '["stdout"]', "OTHER": "1"}
    made = load(preset="pretrained", config=file, environment=environment, flags={"pool": {"max_batch": 4}})
    assert (made.pool.workers, made.pool.max_batch, made.health_s) == (3, 4, 20.0)
    assert made.sinks == ("stdout",)
    assert made.models.speaker.name == "speaker-wavlm"
    assert made.models.speaker.hop_s == 0.25
    assert made.gate.on == 0.5


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_are_good(name: str) -> None:
    assert load(preset=name).models.speaker.name


def test_the_three_presets_ship() -> None:
    assert set(presets()) == {"compact", "pretrained", "wav2vec2"}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"pool": {"wrokers": 1}}, "the command line: there is no setting 'pool.wrokers'; beside it may stand workers"),
        ({"models": {"emotion": {"nam": ""}}}, "there is no setting 'models.emotion.nam'; beside it may stand name"),
        ({"sources": [{"knd": "file"}]}, "beside it may stand kind, id, target"),
        ({"gate": {"on": 2}}, "the command line: gate.on: input should be less than or equal to 1, not 2"),
        ({"pool": {"workers": "many"}}, "pool.workers: input should be a valid integer"),
        ({"models": {"emotion": {"device": "tpu"}}}, "'auto', 'cpu', 'cuda' or 'mps', not 'tpu'"),
        ({"models": {"emotion": {"hop_s": 5}}}, "hop_s must not be longer than window_s"),
        ({"gate": {"on": 0.2}}, "off must not be above on"),
        ({"node": "a b"}, "node: string should match pattern"),
        ({"mqtt": {"qos": 3}}, "mqtt.qos: input should be 0, 1 or 2, not 3"),
        ({"health_s": float("nan")}, "health_s: input should be a finite number"),
    ],
)
def test_refusals_name_layer_key_and_choice(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags=flags)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_is_named_in_its_refusal(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[pool]\nworkers = 0\n")
    with pytest.raises(SettingsError, match=r"mine\.toml: pool\.workers: input should be greater than or equal to 1"):
        load(config=file, environment={"TONEWATCH__POOL__MAX_BATCH": "2"})


def test_a_variable_is_named_in_its_refusal() -> None:
    with pytest.raises(SettingsError, match=r"the environment variable TONEWATCH__POOL__WORKERS: pool\.workers"):
        load(environment={"TONEWATCH__POOL__WORKERS": "-1"})


@pytest.mark.parametrize("content", [b"[pool\n", b"\xff\xfe", b"a = 1\na = 2"])
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"mine\.toml"):
        load(config=file)


def test_secrets_are_never_shown() -> None:
    made = load(environment={"TONEWATCH__MQTT__PASSWORD": "hunter2"})
    assert made.mqtt.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(made) + made.model_dump_json() + str(made)
    with pytest.raises(SettingsError) as refused:
        load(environment={"TONEWATCH__MQTT__PASSWORD": "[1]"})
    assert "[1]" not in str(refused.value)


def test_every_setting_is_documented() -> None:
    rows = list(settings.rows())
    assert all(row.description for row in rows)
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page(), "run scripts/settings_page.py"
