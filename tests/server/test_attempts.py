"""Wrong credentials are counted, logged once a minute, and answered ever more slowly; right ones are not delayed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from stream.server import attempts
from stream.server.attempts import FORGET_S, FREE_ATTEMPTS, MAX_ADDRESSES, MAX_PAUSE_S, FailedAttempts
from stream.server.refusals import MAX_LINES, RefusalLog, RefusedRequests
from stream.server.sockets import PROOF_TIMEOUT_S
from tests.server.telephone import connect
from tests.server.test_sockets import TOKEN, UPGRADE, answer, on_a_node


def test_the_first_attempts_are_answered_at_once_and_later_ones_ever_more_slowly() -> None:
    tested = FailedAttempts()
    pauses = [tested.add("10.0.0.1", 0.0) for _ in range(FREE_ATTEMPTS + 1_200)]
    assert not any(pauses[:FREE_ATTEMPTS])
    assert pauses[FREE_ATTEMPTS] > 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_S < PROOF_TIMEOUT_S
    assert tested.add("10.0.0.2", 0.0) == 0.0
    assert tested.add("10.0.0.1", FORGET_S + 1) == 0.0


def test_an_ipv6_client_cannot_change_its_address() -> None:
    tested = FailedAttempts()
    for number in range(FREE_ATTEMPTS):
        tested.add(f"2001:db8::{number:x}", 0.0)
    assert tested.add("2001:db8::ffff:1", 0.0) > 0
    assert tested.add("2001:db8:0:1::1", 0.0) == 0.0


def test_addresses_are_bounded() -> None:
    tested = FailedAttempts()
    for number in range(MAX_ADDRESSES + 100):
        tested.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", float(number) / 1_000)
    assert len(tested._by_network) == MAX_ADDRESSES
    assert tested.add("x" * 10_000, 0.0) == 0.0


def test_wrong_tokens_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def check(tested: Any) -> None:
        for number in range(8):
            request = f"GET /v1/stream?token=guess{number} HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n"
            assert (await answer(tested.listener, request)).startswith(b"HTTP/1.1 403")
        (row,) = tested.gateway.statistics().protocols
        assert row.refused == {"unauthorized": 8}
        assert row.refusals[0].count == 8

    on_a_node(check, token=TOKEN)
    assert caplog.text.count("refused: missing or wrong token") == 1


def test_the_right_token_is_not_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE_S", "MAX_PAUSE_S"):
        monkeypatch.setattr(attempts, name, 3_600.0)

    async def check(tested: Any) -> None:
        for _ in range(FREE_ATTEMPTS + 1):
            tested.gateway.count_rejected("generic", peer="127.0.0.1", message="wrong token")
        async with connect(tested.listener, f"/v1/stream?token={TOKEN}") as link:
            await link.send(json.dumps({"type": "start", "rate_hz": 8_000, "source": "desk"}))
            assert json.loads(await link.recv())["type"] == "started"

    on_a_node(check, token=TOKEN)


def test_refused_requests_of_a_page_have_a_row_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    refused = RefusedRequests("page")
    assert refused.health() == ()

    async def check() -> None:
        for _ in range(3):
            await refused.add("10.0.0.1", "wrong token in the form")

    asyncio.run(check())
    (row,) = refused.health()
    assert (row.protocol, row.refused, row.refusals[0].count) == ("page", {"unauthorized": 3}, 3)
    assert caplog.text.count("wrong token in the form") == 1


def test_the_log_of_refusals_is_bounded_whoever_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    for number in range(10_000):
        log.add(protocol="generic", peer=f"10.0.{number >> 8}.{number & 255}", reason="x", message="m", now_s=7_200.0)
    assert len(caplog.records) == MAX_LINES
