"""Roles of the dashboard: each has its token and its cookie, and may do what those below it may."""

from __future__ import annotations

import pytest

from stream.errors import SettingsError
from stream.server.access import COOKIE, AccessPolicy
from stream.server.roles import ROLES, includes, may_send

ADMIN, SUPERVISOR, VIEWER = "the token of admins", "the supervisors' token", "the viewers' token"


def policy() -> AccessPolicy:
    return AccessPolicy(host="127.0.0.1", token=ADMIN, role_tokens={"supervisor": SUPERVISOR, "viewer": VIEWER})


def test_every_token_and_its_cookie_stand_for_one_role() -> None:
    access = policy()
    for role, token in zip(ROLES, (VIEWER, SUPERVISOR, ADMIN), strict=True):
        assert access.role_of_token(token) == role
        assert access.role_of({"authorization": f"Bearer {token}"}) == role
        assert access.role_of({"cookie": f"{COOKIE}={access.cookie_value(role)}"}) == role
    assert len({access.cookie_value(role) for role in ROLES}) == len(ROLES)
    assert not access.is_token(SUPERVISOR), "calls need the token itself"


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"cookie": f"{COOKIE}="}, {"cookie": "x=y"}])
def test_nothing_is_no_role(headers: dict[str, str]) -> None:
    assert policy().role_of(headers) is None


def test_a_role_without_a_token_has_no_cookie_that_would_be_accepted() -> None:
    access = AccessPolicy(host="127.0.0.1", token=ADMIN, role_tokens={"viewer": "", "supervisor": SUPERVISOR})
    assert access.role_of_token("") is None
    assert access.role_of({"cookie": f"{COOKIE}={access.cookie_value('viewer')}"}) is None


def test_without_a_token_everybody_on_this_machine_is_an_admin() -> None:
    access = AccessPolicy(host="127.0.0.1")
    assert access.role_of({"host": "localhost:8765"}) == "admin"
    assert access.role_of({"host": "wall.example"}) is None


def test_tokens_that_would_decide_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"dashboard\.viewer_token needs dashboard\.token"):
        AccessPolicy(host="127.0.0.1", role_tokens={"viewer": VIEWER})
    with pytest.raises(SettingsError, match="two roles have the same token"):
        AccessPolicy(host="127.0.0.1", token=ADMIN, role_tokens={"viewer": ADMIN})


def test_who_may_do_what() -> None:
    assert [may_send(role, "pause") for role in ROLES] == [False, True, True]
    assert [may_send(role, "enroll") for role in ROLES] == [False, False, True]
    assert [may_send(role, "a command of tomorrow") for role in ROLES] == [False, False, True]
    assert not includes(None, "viewer")
