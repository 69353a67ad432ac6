"""Secrets are found by their type: all are masked, guarded in files, kept out of messages, and tokens have a floor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, SecretBytes, SecretStr, ValidationError

from stream.cli.options import options_layer
from stream.errors import SettingsError
from stream.settings import Settings, load, secret_files
from stream.settings.base import MIN_TOKEN_CHARACTERS, Branch, secret_paths

SECRETS = [".".join(path) for path in secret_paths(Settings)]
TOKENS = ["dashboard.supervisor_token", "dashboard.token", "dashboard.viewer_token", "serve.token", "service.token"]
VALUE = "correct-horse-battery-staple"


def variable(key: str) -> str:
    return f"TONEWATCH__{key.replace('.', '__').upper()}"


def secret(settings: Settings, key: str) -> SecretStr:
    branch, _, leaf = key.partition(".")
    found = getattr(getattr(settings, branch), leaf)
    assert isinstance(found, SecretStr)
    return found


def test_all_secrets_are_found() -> None:
    assert sorted(SECRETS) == [
        "apprise.url",
        "dashboard.supervisor_token",
        "dashboard.token",
        "dashboard.viewer_token",
        "mqtt.password",
        "serve.audiohook_api_key",
        "serve.audiohook_secret",
        "serve.token",
        "serve.twilio_auth_token",
        "service.token",
        "webhook.secret",
        "webhook.token",
    ]


def test_secrets_are_found_wherever_they_are() -> None:
    class Peer(Branch):
        key: Annotated[SecretStr, Field(min_length=1)]
        pin: SecretBytes | None = None
        name: str = ""

    class Tree(Branch):
        peers: tuple[Peer, ...] = ()
        spare: Peer | None = None
        by_name: dict[str, SecretStr] = Field(default_factory=dict)

    assert list(secret_paths(Tree)) == [
        ("peers", "*", "key"),
        ("peers", "*", "pin"),
        ("spare", "key"),
        ("spare", "pin"),
        ("by_name", "*"),
    ]


@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_is_masked(key: str) -> None:
    settings = load(environment={variable(key): VALUE})
    assert secret(settings, key).get_secret_value() == VALUE
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert VALUE not in shown


@pytest.mark.parametrize("key", SECRETS)
@pytest.mark.parametrize("value", [[VALUE], {VALUE: 1}, {"password": VALUE}, 4_242_424_242])
def test_no_message_contains_a_secret_of_a_wrong_type(key: str, value: object) -> None:
    branch, _, leaf = key.partition(".")
    with pytest.raises(SettingsError) as refused:
        load(flags={branch: {leaf: value}})
    assert key in str(refused.value)
    assert VALUE not in str(refused.value)
    assert "4242424242" not in str(refused.value)


@pytest.mark.parametrize("branch", ["dashboard", "mqtt", "serve", "service"])
def test_no_message_contains_a_branch_with_secrets_that_is_not_a_table(branch: str) -> None:
    broken = f'{{"token": "{VALUE}"'  # JSON without its last brace is a string
    with pytest.raises(SettingsError, match=f"{branch}: input should be a valid dictionary") as refused:
        load(environment={f"TONEWATCH__{branch.upper()}": broken})
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize("key", SECRETS)
def test_no_message_of_pydantic_contains_a_secret(key: str) -> None:
    branch, _, leaf = key.partition(".")
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({branch: {leaf: [VALUE]}})
    assert VALUE not in str(refused.value)
    assert VALUE not in repr(refused.value)


def test_no_message_contains_an_assignment_without_its_equals_sign() -> None:
    with pytest.raises(SettingsError, match=r"--set takes KEY=VALUE, not 'mqtt\.password'") as refused:
        options_layer(settings=[f"mqtt.password: {VALUE}"])
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize("key", SECRETS)
def test_a_file_with_a_secret_must_be_private(tmp_path: Path, key: str) -> None:
    file = tmp_path / "node.toml"
    branch, _, leaf = key.partition(".")
    file.write_text(f'[{branch}]\n{leaf} = "{VALUE}"\n')
    for mode in (0o644, 0o640, 0o602):
        file.chmod(mode)
        with pytest.raises(SettingsError) as refused:
            load(config=file)
        message = str(refused.value)
        assert f"contains {key} and other users can read it; run `chmod 600 {file}`" in message
        assert variable(key) in message
        assert VALUE not in message
    file.chmod(0o600)
    assert secret(load(config=file), key).get_secret_value() == VALUE


def test_a_file_without_secrets_may_be_public(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[mqtt]\npassword = ""\nusername = "node"\n[serve]\nport = 1\n')
    file.chmod(0o644)
    assert load(config=file).serve.port == 1


@pytest.mark.parametrize("key", TOKENS)
def test_a_token_has_a_minimum_length(key: str) -> None:
    short, long = "x" * (MIN_TOKEN_CHARACTERS - 1), "x" * MIN_TOKEN_CHARACTERS
    with pytest.raises(SettingsError, match=f"{key}: the token is too short") as refused:
        load(environment={variable(key): short})
    assert short not in str(refused.value)
    assert f"at least {MIN_TOKEN_CHARACTERS} characters" in str(refused.value)
    for accepted in ("", long):
        assert secret(load(environment={variable(key): accepted}), key).get_secret_value() == accepted


@pytest.mark.parametrize("key", sorted(set(SECRETS) - set(TOKENS)))
def test_secrets_of_other_systems_have_any_length(key: str) -> None:
    environment: dict[str, Any] = {variable(key): "x"}
    assert secret(load(environment=environment), key).get_secret_value() == "x"


FILES = [key for key in SECRETS if key != "mqtt.password"]  # tested with the sink that reads it


@pytest.mark.parametrize("key", FILES)
def test_a_secret_is_read_from_a_file_of_its_own(tmp_path: Path, key: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{VALUE}\n")
    file.chmod(0o600)
    named = {f"{variable(key)}_FILE": str(file)}
    assert secret(load(environment=named), key).get_secret_value() == VALUE
    with pytest.raises(SettingsError, match=f"{key} and {key}_file are both set"):
        load(environment={**named, variable(key): VALUE})
    file.chmod(0o640)
    with pytest.raises(SettingsError, match=f"{key}_file '.*' is readable by others"):
        load(environment=named)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff\xfe", b"x" * 5_000])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(SettingsError, match=r"serve\.token_file"):
        load(environment={"TONEWATCH__SERVE__TOKEN_FILE": str(file)})
    with pytest.raises(SettingsError, match=r"cannot read serve\.token_file"):
        load(environment={"TONEWATCH__SERVE__TOKEN_FILE": str(tmp_path / "missing")})


def test_secrets_that_a_container_is_given_may_have_any_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_files, "PRIVATE_FOLDERS", (tmp_path,))
    file = tmp_path / "token"
    file.write_text(VALUE)
    file.chmod(0o444)
    assert (
        secret(load(environment={"TONEWATCH__SERVE__TOKEN_FILE": str(file)}), "serve.token").get_secret_value() == VALUE
    )


def test_a_token_file_counts_as_a_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(VALUE)
    file.chmod(0o600)
    flags = {"service": {"port": 1, "host": "203.0.113.9", "token_file": str(file)}}
    assert load(flags=flags).service.token.get_secret_value() == VALUE


@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_on_the_command_line_is_refused(key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags=options_layer(settings=[f"{key}={VALUE}"]))
    message = str(refused.value)
    assert f"{key} is a secret" in message
    assert variable(key) in message
    assert f"{key}_file" in message
    assert VALUE not in message


@pytest.mark.parametrize("name", ["/tmp", "/dev/zero"])  # noqa: S108 - it is refused
def test_what_is_no_file_is_refused_without_advice_on_its_mode(name: str) -> None:
    """`chmod 600 /tmp` would be no good advice, and reading a device might not end."""
    with pytest.raises(SettingsError, match=r"serve\.token_file '.*' is not a file; name a text file") as refused:
        load(environment={"TONEWATCH__SERVE__TOKEN_FILE": name})
    assert "chmod" not in str(refused.value)


def test_a_secret_comes_from_a_pipe_as_well() -> None:
    """A shell makes one of `<(command)`."""
    reading, writing = os.pipe()
    os.write(writing, f"{VALUE}\n".encode())
    os.close(writing)
    try:
        settings = load(environment={"TONEWATCH__SERVE__TOKEN_FILE": f"/dev/fd/{reading}"})
    finally:
        os.close(reading)
    assert secret(settings, "serve.token").get_secret_value() == VALUE
