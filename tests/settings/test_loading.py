"""Reading the settings: layers, their precedence, and error messages that name layer, key and valid values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.cli.options import options_layer
from stream.errors import SettingsError
from stream.settings import Settings, build, load, presets, presets_with_speaker
from stream.settings.loading import RENAMED


def test_later_layers_take_precedence(tmp_path: Path) -> None:
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
def test_presets_are_valid(name: str) -> None:
    assert load(preset=name).models.speaker.name


def test_four_presets_ship() -> None:
    assert set(presets()) == {"compact", "tiny", "pretrained", "wav2vec2"}


def test_the_default_preset_has_the_defaults_of_the_tree() -> None:
    assert load().models == Settings().models


def test_presets_are_found_by_their_speaker_model() -> None:
    assert presets_with_speaker("compact-speaker") == ["tiny"]
    assert presets_with_speaker("speaker-campplus") == ["compact"]
    assert presets_with_speaker("speaker-resemblyzer") == []


@pytest.mark.parametrize(
    ("flags", "fragment"),
    [
        ({"pool": {"wrokers": 1}}, "the command line: unknown setting 'pool.wrokers'; valid keys: workers, threads"),
        ({"models": {"emotion": {"nam": ""}}}, "unknown setting 'models.emotion.nam'; valid keys: name"),
        ({"sources": [{"knd": "file"}]}, "valid keys: kind, id, target"),
        ({"gate": {"on": 2}}, "the command line: gate.on: input should be less than or equal to 1, not 2"),
        ({"pool": {"workers": "many"}}, "pool.workers: input should be a valid integer"),
        ({"models": {"emotion": {"device": "tpu"}}}, "'auto', 'cpu', 'cuda' or 'mps', not 'tpu'"),
        ({"models": {"emotion": {"hop_s": 5}}}, "hop_s is longer than window_s"),
        ({"gate": {"on": 0.2}}, "off is above on"),
        ({"node": "a b"}, "node: use 1 to 64 of the characters A-Z"),
        ({"sources": [{"channels": "agent-agent"}]}, "sources.0.channels: use mix, split, numbers such as 3 or 1,2"),
        ({"mqtt": {"protocol": 4}}, "mqtt.protocol: input should be '5' or '3.1.1', not 4"),
        ({"sinks": ["mqtt://user:pw@host/x"]}, "must not contain a password"),
        ({"mqtt": {"qos": 3}}, "mqtt.qos: input should be 0, 1 or 2, not 3"),
        ({"health_s": float("nan")}, "health_s: input should be a finite number"),
    ],
)
def test_errors_name_layer_key_and_valid_values(flags: dict[str, Any], fragment: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags=flags)
    assert fragment in str(refused.value)
    assert "\n" not in str(refused.value)


def test_numbers_stand_for_text() -> None:
    sources = [{"channels": 2, "id": 7, "target": 0}, {"channels": [1, 3]}]
    mqtt = {"protocol": 5, "password": 1234, "username": 9}
    settings = build([("a file", {"mqtt": mqtt, "node": 4, "sources": sources})])
    assert (settings.mqtt.protocol, settings.mqtt.password.get_secret_value(), settings.node) == ("5", "1234", "4")
    assert [source.channels for source in settings.sources] == ["2", "1,3"]


def test_a_password_in_the_address_of_a_sink_is_not_shown() -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags={"sinks": ["mqtt://user:hunter2@broker/x"]})
    assert "hunter2" not in str(refused.value)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[pool]\nworkers = 0\n")
    with pytest.raises(SettingsError, match=r"mine\.toml: pool\.workers: input should be greater than or equal to 1"):
        load(config=file, environment={"TONEWATCH__POOL__MAX_BATCH": "2"})


def test_an_error_names_the_environment_variable() -> None:
    with pytest.raises(SettingsError, match=r"the environment variable TONEWATCH__POOL__WORKERS: pool\.workers"):
        load(environment={"TONEWATCH__POOL__WORKERS": "-1"})


@pytest.mark.parametrize("content", [b"[pool\n", b"\xff\xfe", b"a = 1\na = 2"])
def test_invalid_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"mine\.toml"):
        load(config=file)


def test_the_later_of_two_assignments_wins() -> None:
    assert load(flags=options_layer(settings=["pool=3", "pool.workers=2", "pool.workers=4"])).pool.workers == 4
    with pytest.raises(SettingsError, match="the command line: pool: input should be a valid dictionary"):
        load(flags=options_layer(settings=["pool.workers=2", "pool=3"]))


@pytest.mark.parametrize("text", ['{"hall": 6.0}', "{hall=6.0}", "{ hall = 6.0 }"])
def test_a_table_is_written_as_json_or_as_in_a_file(text: str) -> None:
    assert load(flags=options_layer(settings=[f"rooms.offset_db={text}"])).rooms.offset_db == {"hall": 6.0}


@pytest.mark.parametrize("text", ["{hall", "[[[", "{hall=6.0, hall=7.0}"])
def test_a_table_that_is_none_is_said(text: str) -> None:
    with pytest.raises(SettingsError, match=r"the command line: rooms\.offset_db: input should be a valid dictionary"):
        load(flags=options_layer(settings=[f"rooms.offset_db={text}"]))


@pytest.mark.parametrize("password", ["12345", "007", "1e5", "true", "null", "[1]", "a b", '{"a": 1}'])
def test_a_string_setting_takes_any_text(password: str) -> None:
    made = load(environment={"TONEWATCH__MQTT__PASSWORD": password, "TONEWATCH__MQTT__USERNAME": "1001"})
    assert made.mqtt.password.get_secret_value() == password
    assert made.mqtt.username == "1001"


def test_the_command_line_parses_values_like_the_environment() -> None:
    flags = options_layer(settings=["mqtt.username=1001", "pool.workers=2", 'sinks=["stdout"]', "node=kitchen"])
    made = load(flags=flags)
    assert (made.mqtt.username, made.pool.workers, made.sinks, made.node) == ("1001", 2, ("stdout",), "kitchen")


def test_the_environment_takes_json() -> None:
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


def test_each_layer_overrides_all_below_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[models.speaker]\nhop_s = 0.4\n")
    environment = {"TONEWATCH__MODELS__SPEAKER__HOP_S": "0.3"}
    flags = {"models": {"speaker": {"hop_s": 0.2}}}
    assert load().models.speaker.hop_s == 0.5
    assert load(config=file).models.speaker.hop_s == 0.4
    assert load(config=file, environment=environment).models.speaker.hop_s == 0.3
    assert load(config=file, environment=environment, flags=flags).models.speaker.hop_s == 0.2


def test_missing_files_presets_and_keys_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for unreadable, why in ((tmp_path, "Is a directory"), (tmp_path / "binary.toml", "it is not text")):
        with pytest.raises(SettingsError, match=rf"cannot read .* \({why}\); name a TOML file"):
            load(config=unreadable)
    with pytest.raises(SettingsError, match=r"no configuration file .*nowhere\.toml"):
        load(config=tmp_path / "nowhere.toml")
    with pytest.raises(SettingsError, match=f"unknown preset 'fancy'; available: {', '.join(presets())}"):
        load(preset="fancy")
    with pytest.raises(SettingsError, match=r"TONEWATCH__POOL__WROKERS: unknown setting 'pool\.wrokers'"):
        load(environment={"TONEWATCH__POOL__WROKERS": "1"})


def test_settings_are_immutable() -> None:
    made = load()
    with pytest.raises(ValueError, match="frozen"):
        made.pool.workers = 3  # type: ignore[misc]


def nested(key: str, value: object) -> dict[str, Any]:
    """Return a layer that sets one key."""
    layer: Any = value
    for part in reversed(key.split(".")):
        layer = {part: layer}
    return dict(layer)


def at(settings: object, key: str) -> object:
    """Return the value of a key."""
    for part in key.split("."):
        settings = getattr(settings, part)
    return settings


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_earlier_key_is_refused_with_its_successor(old: str, new: str, tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    *branch, leaf = old.split(".")
    file.write_text(f"[{branch[0]}]\n{leaf} = 0\n" if branch else f"{leaf} = 0\n")
    variable = f"TONEWATCH__{old.replace('.', '__').upper()}"
    attempts: list[tuple[str, dict[str, Any]]] = [
        (str(file), {"config": file}),
        (f"the environment variable {variable}", {"environment": {variable: "1"}}),
        ("the command line", {"flags": options_layer(settings=[f"{old}=1"])}),
    ]
    for layer, arguments in attempts:
        with pytest.raises(SettingsError) as refused:
            load(**arguments)
        assert str(refused.value) == f"{layer}: setting {old!r} was renamed; use {new!r}"


@pytest.mark.parametrize("new", RENAMED.values())
def test_a_renamed_key_is_settable(new: str) -> None:
    default = at(Settings(), new)
    changed = "ha" if isinstance(default, str) else 0.9 if new == "speakers.continuity" else 7
    assert at(build([("test", nested(new, changed))]), new) == changed
