"""Who is let in."""

from __future__ import annotations

import pytest

from stream.errors import SettingsError
from stream.server.access import COOKIE, AccessPolicy, is_loopback, is_same

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
        AccessPolicy(host=EVERYWHERE)
    with pytest.raises(SettingsError, match="too short"):
        AccessPolicy(host=EVERYWHERE, token="short")
    with pytest.raises(SettingsError, match="TONEWATCH__SERVE__TOKEN"):
        AccessPolicy(host=EVERYWHERE, branch="serve")
    assert "long enough" not in repr(AccessPolicy(host=EVERYWHERE, token=TOKEN))


def test_a_strange_name_that_points_here_gets_nothing() -> None:
    door = AccessPolicy(host="127.0.0.1")
    assert door.knows_host({"host": "127.0.0.1:8765"})
    assert door.knows_host({"host": "localhost:8765"})
    assert door.knows_host({"host": "[::1]:8765"})
    for strange in ("evil.example:8765", "", "127.0.0.1.evil.example"):
        assert not door.knows_host({"host": strange})


def test_token_and_cookie_admit_and_nothing_else_does() -> None:
    door = AccessPolicy(host=EVERYWHERE, token=TOKEN)
    assert door.is_token(TOKEN)
    assert not door.is_token("")
    assert door.admits({"authorization": f"Bearer {TOKEN}"})
    assert door.admits({"cookie": f"other=1; {COOKIE}={door.pass_value}"})
    assert TOKEN not in door.pass_value
    for headers in ({}, {"cookie": f"{COOKIE}={TOKEN}"}, {"authorization": "Bearer é"}, {"cookie": "\x00=;=;"}):
        assert not door.admits(headers)
    assert AccessPolicy(host="127.0.0.1").admits({})


def test_only_our_own_pages_and_allowed_sites_connect() -> None:
    door = AccessPolicy(host="127.0.0.1", origins=["https://wall.example/"])
    here = {"host": "localhost:8765"}
    assert door.is_ours(here)
    assert door.is_ours({**here, "origin": "http://localhost:8765"})
    assert door.is_ours({**here, "origin": "https://wall.example"})
    for strange in ("http://localhost:9999", "https://evil.example", "null", "", "http://localhost:8765.evil.example"):
        assert not door.is_ours({**here, "origin": strange})


def test_a_strange_page_whose_name_points_to_loopback_does_not_connect() -> None:
    """DNS rebinding: to the browser the page and the listener are one site."""
    strange = {"host": "evil.example:8765", "origin": "http://evil.example:8765"}
    assert not AccessPolicy(host="127.0.0.1").is_ours(strange)
    assert AccessPolicy(host="127.0.0.1", token=TOKEN).is_ours(
        strange
    )  # a proxy's name, and the token is asked for anyway


def test_an_empty_secret_opens_nothing() -> None:
    assert is_same("a", "a")
    assert not is_same("", "")
    assert not is_same("ä", "a")
