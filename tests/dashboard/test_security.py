"""Who is let in."""

from __future__ import annotations

import pytest

from stream.dashboard.security import COOKIE, Doorman, is_loopback
from stream.errors import SettingsError

TOKEN = "a long enough token"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("0.0.0.0", False), ("192.168.1.2", False), ("::", False), ("wall.example", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, expected: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) is expected


def test_elsewhere_a_token_is_needed_and_a_long_one() -> None:
    with pytest.raises(SettingsError, match="TONEWATCH__DASHBOARD__TOKEN"):
        Doorman(host="0.0.0.0")  # noqa: S104
    with pytest.raises(SettingsError, match="too short"):
        Doorman(host="0.0.0.0", token="short")  # noqa: S104
    assert "long enough" not in repr(Doorman(host="0.0.0.0", token=TOKEN))  # noqa: S104


def test_a_strange_name_that_points_here_gets_nothing() -> None:
    doorman = Doorman(host="127.0.0.1")
    assert doorman.knows_host({"host": "127.0.0.1:8765"})
    assert doorman.knows_host({"host": "localhost:8765"})
    assert doorman.knows_host({"host": "[::1]:8765"})
    for strange in ("evil.example:8765", "", "127.0.0.1.evil.example"):
        assert not doorman.knows_host({"host": strange})


def test_token_and_cookie_admit_and_nothing_else_does() -> None:
    doorman = Doorman(host="0.0.0.0", token=TOKEN)  # noqa: S104
    assert doorman.is_token(TOKEN)
    assert not doorman.is_token("")
    assert doorman.admits({"authorization": f"Bearer {TOKEN}"})
    assert doorman.admits({"cookie": f"other=1; {COOKIE}={doorman.pass_value}"})
    assert TOKEN not in doorman.pass_value
    for headers in ({}, {"cookie": f"{COOKIE}={TOKEN}"}, {"authorization": "Bearer é"}, {"cookie": "\x00=;=;"}):
        assert not doorman.admits(headers)
    assert Doorman(host="127.0.0.1").admits({})


def test_only_our_own_pages_and_allowed_sites_connect() -> None:
    doorman = Doorman(host="127.0.0.1", origins=["https://wall.example/"])
    here = {"host": "localhost:8765"}
    assert doorman.is_ours(here)
    assert doorman.is_ours({**here, "origin": "http://localhost:8765"})
    assert doorman.is_ours({**here, "origin": "https://wall.example"})
    for strange in ("http://localhost:9999", "https://evil.example", "null", "", "http://localhost:8765.evil.example"):
        assert not doorman.is_ours({**here, "origin": strange})
