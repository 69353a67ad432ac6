"""Parsing of commands: typed, allow-listed, and refused in one sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.control.commands import (
    COMMANDS,
    MAX_COMMAND_BYTES,
    EnrollCommand,
    PauseCommand,
    ReloadCommand,
    ResumeCommand,
    StatusCommand,
    parse_command,
    request_id,
)
from stream.errors import CommandRefused


@pytest.mark.parametrize(
    ("payload", "command"),
    [
        ('{"command": "status"}', StatusCommand()),
        (b'{"command": "pause", "source": "kitchen", "id": "7"}', PauseCommand(source="kitchen", id="7")),
        ('{"command": "resume", "source": "kitchen"}', ResumeCommand(source="kitchen")),
        (
            '{"command": "enroll", "name": "Zoë", "source": "k", "voice": "S1"}',
            EnrollCommand(name="Zoë", source="k", voice="S1"),
        ),
        ('{"command": "reload"}', ReloadCommand()),
    ],
)
def test_a_valid_command_is_typed(payload: str | bytes, command: object) -> None:
    assert parse_command(payload) == command


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        ("[" * 4_000, "is not JSON"),
        ("[]", "not an object with a"),
        ("null", "not an object with a"),
        ("{}", "not an object with a"),
        ('{"command": 3}', "unknown command; available: status, pause"),
        ('{"command": "shutdown"}', "unknown command"),
        ('{"command": "pause"}', "'pause': source: field required"),
        ('{"command": "pause", "source": ""}', "'pause': source: string should have at least 1"),
        ('{"command": "pause", "source": "a\\nb"}', "'pause': source: string should match"),
        ('{"command": "status", "verbose": true}', "'status' has no field 'verbose'"),
        ('{"command": "status", "id": "' + "x" * 200 + '"}', "'status': id: string should have at most 128"),
        ('{"command": "status", "id": "' + "x" * MAX_COMMAND_BYTES + '"}', "at most 4096"),
    ],
)
def test_an_invalid_command_is_refused_in_one_sentence(payload: str | bytes, reason: str) -> None:
    with pytest.raises(CommandRefused) as refused:
        parse_command(payload)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_only_named_commands_are_allowed() -> None:
    with pytest.raises(CommandRefused, match="'status' is not allowed; allowed: nothing"):
        parse_command('{"command": "status"}', allowed=())
    with pytest.raises(CommandRefused, match=r"allowed: status, pause$"):
        parse_command('{"command": "reload"}', allowed=("pause", "status"))


@pytest.mark.slow
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(COMMANDS),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["command", "source", "id", "name", "voice"]) | st.text(max_size=5),
                    inner,
                    max_size=5,
                )
            ),
        ).map(json.dumps),
    )
)
def test_any_input_is_parsed_or_refused(payload: bytes | str) -> None:
    identifier = request_id(payload)
    assert identifier is None or isinstance(identifier, str)
    try:
        parse_command(payload)
    except CommandRefused as refused:
        assert "\n" not in str(refused)  # noqa: PT017 - both outcomes are valid
