"""Settings: layers on top of one another, and refusals that name layer, key and what may stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from scripts import settings_page
from stream import settings
from stream.cli.options import options_layer
from stream.errors import SettingsError
from stream.settings import load, presets, reference


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
        load(flags={"mqtt": {"password": [1]}})
    assert "mqtt.password" in str(refused.value)
    assert "[1]" not in str(refused.value)


def test_every_setting_is_documented() -> None:
    rows = list(reference.rows())
    assert all(row.description for row in rows)
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page(), "run scripts/settings_page.py"


def test_the_later_of_two_flags_wins() -> None:
    assert load(flags=options_layer(settings=["pool=3", "pool.workers=2", "pool.workers=4"])).pool.workers == 4
    with pytest.raises(SettingsError, match="the command line: pool: input should be a valid dictionary"):
        load(flags=options_layer(settings=["pool.workers=2", "pool=3"]))


@pytest.mark.parametrize("password", ["12345", "007", "1e5", "true", "null", "[1]", "a b", '{"a": 1}'])
def test_what_is_typed_for_a_text_is_text(password: str) -> None:
    made = load(environment={"TONEWATCH__MQTT__PASSWORD": password, "TONEWATCH__MQTT__USERNAME": "1001"})
    assert made.mqtt.password.get_secret_value() == password
    assert made.mqtt.username == "1001"


def test_the_command_line_reads_what_is_typed_like_the_environment() -> None:
    flags = options_layer(settings=["mqtt.username=1001", "pool.workers=2", 'sinks=["stdout"]', "node=kitchen"])
    made = load(flags=flags)
    assert (made.mqtt.username, made.pool.workers, made.sinks, made.node) == ("1001", 2, ("stdout",), "kitchen")


def test_the_environment_speaks_json_where_it_must() -> None:
    made = load(
        environment={
            "TONEWATCH__SOURCES": '[{"kind": "pipe", "rate_hz": 8000}]',
            "TONEWATCH__SPEAKERS__THRESHOLD": "null",
            "TONEWATCH__SPEAKERS__ENROLLED": '{"Alice": "alice.wav"}',
            "TONEWATCH__MQTT__TLS": "true",
            "TONEWATCH__NODE": '"kitchen"',
            "TONEWATCH__TURNS__PAUSE_S": "0.5",
        }
    )
    assert made.sources[0].rate_hz == 8_000
    assert made.speakers.threshold is None
    assert made.speakers.enrolled == {"Alice": "alice.wav"}
    assert made.mqtt.tls is True
    assert made.node == "kitchen"
    assert made.turns.pause_s == 0.5


def test_each_layer_beats_all_below_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[models.speaker]\nhop_s = 0.4\n")
    environment = {"TONEWATCH__MODELS__SPEAKER__HOP_S": "0.3"}
    flags = {"models": {"speaker": {"hop_s": 0.2}}}
    assert load().models.speaker.hop_s == 0.5
    assert load(config=file).models.speaker.hop_s == 0.4
    assert load(config=file, environment=environment).models.speaker.hop_s == 0.3
    assert load(config=file, environment=environment, flags=flags).models.speaker.hop_s == 0.2


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no configuration file .*nowhere\.toml"):
        load(config=tmp_path / "nowhere.toml")
    with pytest.raises(SettingsError, match=f"no preset 'fancy'; the presets are {', '.join(presets())}"):
        load(preset="fancy")
    with pytest.raises(SettingsError, match=r"TONEWATCH__POOL__WROKERS: there is no setting 'pool\.wrokers'"):
        load(environment={"TONEWATCH__POOL__WROKERS": "1"})


def test_nothing_can_be_changed_afterwards() -> None:
    made = load()
    with pytest.raises(ValueError, match="frozen"):
        made.pool.workers = 3  # type: ignore[misc]


def fields(branch: type[BaseModel], prefix: str = "") -> set[str]:
    """Every leaf of the tree by its key, found in another way than `rows` does."""
    found: set[str] = set()
    for name, field in branch.model_fields.items():
        kind = settings.SourceSettings if name == "sources" else field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= fields(kind, f"{prefix}{name}[]." if name == "sources" else f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def test_rows_cover_every_setting_once_and_in_words() -> None:
    keys = [row.key for row in reference.rows()]
    assert len(keys) == len(set(keys))
    assert set(keys) == fields(settings.Settings) | {"sources"}
    kinds = {row.key: row.kind for row in reference.rows()}
    assert kinds["gate.on"] == "number 0 … 1"
    assert kinds["models.emotion.device"] == "one of auto, cpu, cuda, mps"
    assert kinds["node"] == "text"
    assert kinds["emotion.smoothing_s"] == "number above 0"
    assert kinds["speakers.threshold"] == "number -1 … 1 or unset"


def test_a_file_with_a_secret_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[mqtt]\npassword = "right-one"\n')
    file.chmod(0o644)
    with pytest.raises(SettingsError, match=r"holds mqtt\.password, and others can read it; run `chmod 600") as refused:
        load(config=file)
    assert "right-one" not in str(refused.value)
    file.chmod(0o600)
    assert load(config=file).mqtt.password.get_secret_value() == "right-one"
