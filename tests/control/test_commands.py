"""Commands from outside: typed, allow-listed, and refused in one sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.control.commands import (
    COMMANDS,
    LARGEST_BYTES,
    EnrollCommand,
    PauseCommand,
    ReloadCommand,
    ResumeCommand,
    StatusCommand,
    id_of,
    parse,
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
def test_a_good_command_is_typed(payload: str | bytes, command: object) -> None:
    assert parse(payload) == command


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        ("[" * 4_000, "is not JSON"),
        ("[]", "a JSON object with a"),
        ("null", "a JSON object with a"),
        ("{}", "a JSON object with a"),
        ('{"command": 3}', "there is no such command; there are status, pause"),
        ('{"command": "shutdown"}', "there is no such command"),
        ('{"command": "pause"}', "'pause': source: field required"),
        ('{"command": "pause", "source": ""}', "'pause': source: string should have at least 1"),
        ('{"command": "pause", "source": "a\\nb"}', "'pause': source: string should match"),
        ('{"command": "status", "verbose": true}', "'status' takes no 'verbose'"),
        ('{"command": "status", "id": "' + "x" * 200 + '"}', "'status': id: string should have at most 128"),
        ('{"command": "status", "id": "' + "x" * LARGEST_BYTES + '"}', "holds 4096 bytes at most"),
    ],
)
def test_a_bad_one_is_refused_in_one_sentence(payload: str | bytes, reason: str) -> None:
    with pytest.raises(CommandRefused) as refused:
        parse(payload)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_is_allowed_that_is_not_named() -> None:
    with pytest.raises(CommandRefused, match="'status' is not allowed here; allowed is nothing"):
        parse('{"command": "status"}', allowed=())
    with pytest.raises(CommandRefused, match=r"allowed is status, pause$"):
        parse('{"command": "reload"}', allowed=("pause", "status"))


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
def test_whatever_comes_is_a_command_or_refused(payload: bytes | str) -> None:
    found = id_of(payload)
    assert found is None or isinstance(found, str)
    try:
        parse(payload)
    except CommandRefused as refused:
        assert "\n" not in str(refused)  # noqa: PT017 - both outcomes are good
