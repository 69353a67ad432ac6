"""Who is let in."""

from __future__ import annotations

import pytest

from stream.dashboard.security import COOKIE, Doorman, is_loopback
from stream.errors import SettingsError

TOKEN = "a long enough token"


EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_what_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", [EVERYWHERE, "192.168.1.2", "::", "wall.example", ""])
def test_what_is_not(host: str) -> None:
    assert not is_loopback(host)


def test_elsewhere_a_token_is_needed_and_a_long_one() -> None:
    with pytest.raises(SettingsError, match="TONEWATCH__DASHBOARD__TOKEN"):
        Doorman(host=EVERYWHERE)
    with pytest.raises(SettingsError, match="too short"):
        Doorman(host=EVERYWHERE, token="short")
    assert "long enough" not in repr(Doorman(host=EVERYWHERE, token=TOKEN))


def test_a_strange_name_that_points_here_gets_nothing() -> None:
    doorman = Doorman(host="127.0.0.1")
    assert doorman.knows_host({"host": "127.0.0.1:8765"})
    assert doorman.knows_host({"host": "localhost:8765"})
    assert doorman.knows_host({"host": "[::1]:8765"})
    for strange in ("evil.example:8765", "", "127.0.0.1.evil.example"):
        assert not doorman.knows_host({"host": strange})


def test_token_and_cookie_admit_and_nothing_else_does() -> None:
    doorman = Doorman(host=EVERYWHERE, token=TOKEN)
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
