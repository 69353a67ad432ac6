"""Sockets of clients that have not proved who they are."""

from __future__ import annotations

import asyncio
import errno
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from stream.server import sockets
from stream.server.access import COOKIE, AccessPolicy, hostname, session_cookie
from stream.server.descriptors import accept_backlog
from stream.server.listener import NetworkListener
from stream.server.signatures import GenesysSignatures, is_signed_by_twilio
from stream.server.sockets import MAX_UNPROVEN, MAX_UNPROVEN_PER_ADDRESS, SocketBudget, SocketSlot
from tests.server.telephone import connect
from tests.support.node import network_node
from tests.support.waiting import wait_until

TOKEN = "sesame-open-sesame"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n"
)


class Sockets:
    """Sockets that a budget admits, and those that it closed."""

    def __init__(self, max_sockets: int = 1_000) -> None:
        self.budget = SocketBudget(max_sockets=max_sockets)
        self.closed: list[int] = []

    def open(self, number: int, *, address: str = "10.0.0.1", is_local: bool = False) -> SocketSlot | None:
        return self.budget.admit(address=address, is_local=is_local, abort=lambda: self.closed.append(number))


class TestBudget:
    def test_the_oldest_silent_socket_of_an_address_makes_room(self) -> None:
        held = Sockets()
        for number in range(MAX_UNPROVEN_PER_ADDRESS + 2):
            assert held.open(number) is not None
        assert held.closed == [0, 1]
        assert held.open(900, address="10.0.0.2") is not None
        assert held.closed == [0, 1]

    def test_the_oldest_of_all_makes_room(self) -> None:
        held = Sockets(max_sockets=2 * MAX_UNPROVEN)
        for number in range(MAX_UNPROVEN + 1):
            assert held.open(number, is_local=True) is not None
        assert held.closed == [0]

    def test_proven_sockets_stay(self) -> None:
        held = Sockets(max_sockets=3)
        slots = [held.open(number) for number in range(3)]
        for slot in slots[:2]:
            assert slot is not None
            slot.prove()
        assert held.open(3) is not None
        assert held.closed == [2]
        assert len(held.budget) == 3

    def test_without_room_the_newest_is_refused(self) -> None:
        held = Sockets(max_sockets=2)
        for number in range(2):
            slot = held.open(number)
            assert slot is not None
            slot.prove()
        assert held.open(2) is None
        assert held.closed == []

    @given(st.lists(st.tuples(st.sampled_from(["open", "prove", "release"]), st.integers(0, 9)), max_size=60))
    def test_counts_never_exceed_the_limit(self, steps: list[tuple[str, int]]) -> None:
        held = Sockets(max_sockets=5)
        slots: dict[int, SocketSlot] = {}
        for step, number in steps:
            if step == "open" and number not in slots:
                slot = held.open(number, address=f"10.0.0.{number % 2}")
                if slot is not None:
                    slots[number] = slot
            elif number in slots and step == "prove":
                slots[number].prove()
            elif number in slots and step == "release":
                slots.pop(number).release()
            for closed in held.closed:
                slots.pop(closed, None)
            held.closed.clear()
            assert len(held.budget) == len(slots) <= 5


async def answer(listener: NetworkListener, request: str) -> bytes:
    """Send bytes and return what comes until the server closes, or answers an upgrade."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(request.encode("latin-1"))
    try:
        async with asyncio.timeout(10):
            return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as rest:
        return rest.partial
    finally:
        writer.close()


def on_a_node(check: Callable[[Any], Awaitable[None]], **serve: Any) -> None:
    async def run() -> None:
        async with network_node(serve=serve) as tested:
            await check(tested)

    asyncio.run(run())


@pytest.mark.slow
def test_silent_and_slow_requests_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.server.http.PROOF_TIMEOUT_S", 0.1)

    async def check(tested: Any) -> None:
        assert await answer(tested.listener, "") == b""
        assert await answer(tested.listener, "GET / HTTP/1.1\r\nHost: ") == b""
        assert await answer(tested.listener, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf") != b""

    on_a_node(check)


@pytest.mark.slow
def test_a_silent_twilio_socket_is_closed_and_uses_up_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.server.connection.PROOF_TIMEOUT_S", 0.1)

    async def check(tested: Any) -> None:
        silent = [await connect(tested.listener, "/v1/twilio").__aenter__() for _ in range(3)]
        start = {"type": "start", "rate_hz": 8_000, "source": "desk", "events": False}
        async with connect(tested.listener, f"/v1/stream?token={TOKEN}") as link:
            await link.send(json.dumps(start))
            assert json.loads(await link.recv())["type"] == "started"
        for link in silent:
            await link.wait_closed()
            assert link.close_code == 1008

    on_a_node(check, token=TOKEN, streams_per_peer=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "header",
    [
        "X: " + "a" * 8_010,
        "X: " + "a" * 9_000,
        "Host: [::1",
        "Host: a\r\nHost: b",
        "\r\n".join(f"X{number}: a" for number in range(80)),
    ],
    ids=["long", "longer", "malformed host", "two hosts", "many"],
)
@pytest.mark.parametrize("upgrade", [UPGRADE, ""], ids=["upgrade", "request"])
def test_unsound_headers_are_answered(header: str, upgrade: str) -> None:
    async def check(tested: Any) -> None:
        host = "" if "Host" in header else "Host: localhost\r\n"
        reply = await answer(tested.listener, f"GET /v1/stream HTTP/1.1\r\n{host}{header}\r\n{upgrade}\r\n")
        assert reply.startswith(b"HTTP/1.1 400"), reply

    on_a_node(check)


@pytest.mark.slow
@pytest.mark.parametrize(
    "header",
    ["X-Twilio-Signature: \xe9", "Origin: http://[::1", "Cookie: tonewatch=\xe9", "Authorization: Bearer \xe9"],
)
@pytest.mark.parametrize("path", ["/v1/stream", "/v1/twilio", "/v1/audiohook"])
def test_odd_credentials_are_refused_without_a_trace(header: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    async def check(tested: Any) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n{UPGRADE}\r\n"
        assert (await answer(tested.listener, request)).startswith(b"HTTP/1.1 403")

    on_a_node(check, token=TOKEN, twilio_auth_token="t", public_url="wss://a", audiohook_secret="c2VjcmV0")
    assert "Traceback" not in caplog.text


def test_signatures_take_any_text() -> None:
    assert not is_signed_by_twilio("\ud800é", url="wss://a", key="k")
    names = " ".join(f'"{name}"' for name in ("@request-target",))
    declared = f'sig=({names});created={"9" * 5_000};nonce="{"n" * 22}"'
    headers = {"signature-input": declared, "signature": "sig=:AAAA:"}
    assert not GenesysSignatures(secret="c2VjcmV0").accept(headers, target="/", now_s=0.0)


class TestCookie:
    def test_the_cookie_is_found_among_others(self) -> None:
        assert session_cookie(f"a=1; {COOKIE}=abc; b=2") == "abc"
        assert session_cookie(f"x{COOKIE}=abc") == ""
        assert session_cookie("") == ""

    def test_a_page_is_opened_by_its_own_cookie_only(self) -> None:
        access = AccessPolicy(host="127.0.0.1", token=TOKEN)
        assert access.is_authorized({"cookie": f"{COOKIE}={access.cookie_value('admin')}"})
        assert not access.is_authorized({"cookie": f"{COOKIE}={access.cookie_value('admin')[:-1]}"})
        assert not access.is_authorized({"cookie": f'{COOKIE}="\ud800'})


@pytest.mark.parametrize(
    "parse",
    [
        lambda text: AccessPolicy(host="127.0.0.1", token=TOKEN).is_authorized({"cookie": f'{COOKIE}="{text}'}),
        lambda text: AccessPolicy(host="127.0.0.1", token=TOKEN).is_allowed_origin({"origin": f"http://{text}"}),
        hostname,
        lambda text: is_signed_by_twilio(text, url=f"wss://{text}", key="k"),
        lambda text: GenesysSignatures(secret="c2VjcmV0").accept(
            {"signature-input": f'sig=("{text}";{text}', "signature": f"sig=:{text}"}, target="/", now_s=0.0
        ),
    ],
    ids=["cookie", "origin", "host", "twilio", "audiohook"],
)
@pytest.mark.parametrize("letter", ["\\", '"', ";", "=", " ", "a", "9", '""', ";a=1"])
def test_time_grows_with_the_length_of_what_strangers_send(parse: Callable[[str], Any], letter: str) -> None:
    def shortest_s(length: int) -> float:
        text, measured = letter * (length // len(letter)), []
        for _ in range(3):
            started_s = time.thread_time()
            parse(text)
            measured.append(time.thread_time() - started_s)
        return min(measured)

    assert shortest_s(64_000) < max(8 * shortest_s(16_000), 0.02)  # 16 times if it grew with the square


def test_the_limit_of_descriptors_leaves_some_to_the_node() -> None:
    from stream.server.descriptors import MAX_DESCRIPTORS, socket_limit  # noqa: PLC0415

    assert 16 <= socket_limit() <= MAX_DESCRIPTORS - sockets.RESERVED_DESCRIPTORS


def test_a_websocket_frees_its_slot() -> None:
    async def check(tested: Any) -> None:
        budget = tested.listener.budget
        for _ in range(3):
            async with connect(tested.listener, "/v1/stream"):
                assert len(budget) == 1
            with pytest.raises(websockets.InvalidStatus):
                async with connect(tested.listener, "/nowhere"):
                    pass
        await wait_until(lambda: not len(budget))

    on_a_node(check)


@pytest.mark.parametrize("limit", [16, 72, 896, 65_408])
def test_what_is_accepted_at_once_leaves_reserved_descriptors(limit: int) -> None:
    assert 8 <= accept_backlog(limit) <= max(limit // 8, sockets.RESERVED_DESCRIPTORS // 2)


def test_a_lack_of_descriptors_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def check(_: Any) -> None:
        error = OSError(errno.EMFILE, "Too many open files")
        context = {"message": "socket.accept() out of system resource", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)

    on_a_node(check)
    (record,) = [record for record in caplog.records if record.name == "asyncio"]
    assert record.getMessage().startswith("no file descriptor is left")
    assert record.exc_info is None
