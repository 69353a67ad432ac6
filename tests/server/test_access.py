"""Access control: hosts, tokens, cookies, origins."""

from __future__ import annotations

import pytest

from stream.errors import SettingsError
from stream.server.access import COOKIE, AccessPolicy, is_loopback, is_same_secret

TOKEN = "a long enough token"


EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", [EVERYWHERE, "192.168.1.2", "::", "wall.example", ""])
def test_other_addresses(host: str) -> None:
    assert not is_loopback(host)


def test_other_addresses_need_a_token_of_sufficient_length() -> None:
    with pytest.raises(SettingsError, match="TONEWATCH__DASHBOARD__TOKEN"):
        AccessPolicy(host=EVERYWHERE)
    with pytest.raises(SettingsError, match="too short"):
        AccessPolicy(host=EVERYWHERE, token="short")
    with pytest.raises(SettingsError, match="TONEWATCH__SERVE__TOKEN"):
        AccessPolicy(host=EVERYWHERE, branch="serve")
    assert "long enough" not in repr(AccessPolicy(host=EVERYWHERE, token=TOKEN))


def test_a_foreign_host_name_is_rejected() -> None:
    access = AccessPolicy(host="127.0.0.1")
    assert access.is_allowed_host({"host": "127.0.0.1:8765"})
    assert access.is_allowed_host({"host": "localhost:8765"})
    assert access.is_allowed_host({"host": "[::1]:8765"})
    for foreign in ("evil.example:8765", "", "127.0.0.1.evil.example"):
        assert not access.is_allowed_host({"host": foreign})


def test_only_the_token_and_the_cookie_are_accepted() -> None:
    access = AccessPolicy(host=EVERYWHERE, token=TOKEN)
    assert access.is_token(TOKEN)
    assert not access.is_token("")
    assert access.is_authorized({"authorization": f"Bearer {TOKEN}"})
    assert access.is_authorized({"cookie": f"other=1; {COOKIE}={access.cookie_value('admin')}"})
    assert TOKEN not in access.cookie_value("admin")
    for headers in ({}, {"cookie": f"{COOKIE}={TOKEN}"}, {"authorization": "Bearer é"}, {"cookie": "\x00=;=;"}):
        assert not access.is_authorized(headers)
    assert AccessPolicy(host="127.0.0.1").is_authorized({})


def test_only_own_pages_and_allowed_sites_may_connect() -> None:
    access = AccessPolicy(host="127.0.0.1", origins=["https://wall.example/"])
    headers = {"host": "localhost:8765"}
    assert access.is_allowed_origin(headers)
    assert access.is_allowed_origin({**headers, "origin": "http://localhost:8765"})
    assert access.is_allowed_origin({**headers, "origin": "https://wall.example"})
    for foreign in ("http://localhost:9999", "https://evil.example", "null", "", "http://localhost:8765.evil.example"):
        assert not access.is_allowed_origin({**headers, "origin": foreign})


def test_a_foreign_page_whose_name_resolves_to_loopback_may_not_connect() -> None:
    """DNS rebinding: the browser takes the page and the listener for one site."""
    foreign = {"host": "evil.example:8765", "origin": "http://evil.example:8765"}
    assert not AccessPolicy(host="127.0.0.1").is_allowed_origin(foreign)
    # with a token the name may be that of a proxy, and the token is required anyway
    assert AccessPolicy(host="127.0.0.1", token=TOKEN).is_allowed_origin(foreign)


def test_an_empty_secret_matches_nothing() -> None:
    assert is_same_secret("a", "a")
    assert not is_same_secret("", "")
    assert not is_same_secret("ä", "a")
