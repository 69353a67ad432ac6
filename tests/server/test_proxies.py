"""Requests that do not come from this machine, and what a proxy says about them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from stream.errors import SettingsError
from stream.server.access import FORWARDING_HEADERS, AccessPolicy
from stream.server.listener import NetworkListener
from tests.server.test_sockets import TOKEN, UPGRADE, answer, on_a_node
from tests.support.node import network_node

pytestmark = pytest.mark.slow

ENDPOINTS = ["/v1/stream", "/v1/twilio", "/v1/asterisk", "/v1/audiohook", "/v1/vonage", "/v1/plivo"]
FOREIGN = [
    "Host: calls.example.org",
    *(f"Host: localhost\r\n{name}: 203.0.113.9" for name in sorted(FORWARDING_HEADERS)),
]


@pytest.mark.parametrize("path", ENDPOINTS)
def test_without_a_token_only_this_machine_is_served(path: str) -> None:
    async def check(tested: Any) -> None:
        for headers in FOREIGN:
            reply = await answer(tested.listener, f"GET {path} HTTP/1.1\r\n{headers}\r\n{UPGRADE}\r\n")
            assert reply.startswith(b"HTTP/1.1 403"), (headers, reply)
        reply = await answer(tested.listener, f"GET {path} HTTP/1.1\r\nHost: localhost:80\r\n{UPGRADE}\r\n")
        assert reply.startswith(b"HTTP/1.1 101"), reply
        (row,) = tested.gateway.statistics().protocols
        assert row.refused == {"unauthorized": len(FOREIGN)}
        assert "TONEWATCH__SERVE__TOKEN" in row.refusals[0].message

    on_a_node(check)


@pytest.mark.parametrize("path", ["/v1/stream", "/v1/asterisk", "/v1/audiohook"])
def test_behind_a_proxy_the_token_is_what_counts(path: str) -> None:
    async def check(tested: Any) -> None:
        for headers in FOREIGN[:3]:
            for token, status in ((f"?token={TOKEN}", b"101"), ("?token=wrong", b"403"), ("", b"403")):
                reply = await answer(tested.listener, f"GET {path}{token} HTTP/1.1\r\n{headers}\r\n{UPGRADE}\r\n")
                assert reply.startswith(b"HTTP/1.1 " + status), (headers, token, reply)

    on_a_node(check, token=TOKEN)


def test_a_page_without_a_token_is_for_this_machine() -> None:
    access = AccessPolicy(host="127.0.0.1")
    local = {"host": "localhost:8765"}
    assert access.is_allowed_host(local)
    assert access.is_authorized(local)
    for name in FORWARDING_HEADERS:
        assert not access.is_allowed_host({**local, name: "203.0.113.9"})
        assert not access.is_authorized({**local, name: "203.0.113.9"})
    assert not access.is_authorized({"host": "wall.example"})


@pytest.mark.parametrize(
    ("trusted", "forwarded", "seen"),
    [
        ([], "203.0.113.9", "127.0.0.1"),
        (["127.0.0.0/8"], "203.0.113.9", "203.0.113.9"),
        (["127.0.0.0/8", "198.51.100.0/24"], "192.0.2.1, 203.0.113.9, 198.51.100.7", "203.0.113.9"),
        (["127.0.0.1"], "2001:db8::1", "2001:db8::1"),
        (["127.0.0.1"], "<b>x</b>", "unknown"),
        (["127.0.0.1"], "9" * 5_000, "unknown"),
        (["192.0.2.0/24"], "203.0.113.9", "127.0.0.1"),
    ],
)
def test_only_trusted_proxies_say_who_the_client_is(trusted: list[str], forwarded: str, seen: str) -> None:
    async def check(tested: Any) -> None:
        request = f"GET /v1/stream HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {forwarded}\r\n{UPGRADE}\r\n"
        await answer(tested.listener, request)
        (row,) = tested.gateway.statistics().protocols
        assert [refusal.peer for refusal in row.refusals] == [seen]

    on_a_node(check, trusted_proxies=trusted)


@pytest.mark.parametrize(
    ("given", "fragment"),
    [
        ({"trusted_proxies": ["10.0.0.0/99"]}, "invalid serve.trusted_proxies"),
        ({"audiosocket_peers": ["10.0.0.1/8"]}, "invalid serve.audiosocket_peers"),
        ({"twilio_auth_token": "t" * 32}, "twilio_auth_token needs serve.public_url"),
        ({"audiohook_secret": "no base64!"}, "audiohook_secret is not base64"),
    ],
)
def test_what_would_fail_call_by_call_is_refused_at_the_start(given: dict[str, Any], fragment: str) -> None:
    async def check() -> None:
        async with network_node(serve=given):
            pass

    with pytest.raises(SettingsError, match=fragment) as refusal:
        asyncio.run(check())
    assert "no base64!" not in str(refusal.value)


def test_unread_replies_to_pings_are_bounded() -> None:
    def flood(listener: NetworkListener) -> bool:
        with socket.create_connection(("127.0.0.1", listener.port)) as link:
            link.settimeout(20)
            link.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode())
            link.recv(4_096)
            pings = (b"\x89\xfd\0\0\0\0" + b"p" * 125) * 1_000
            try:
                for _ in range(1_000):
                    link.sendall(pings)
            except ConnectionError:
                return True
        return False

    async def check(tested: Any) -> None:
        assert await asyncio.to_thread(flood, tested.listener)

    on_a_node(check)
