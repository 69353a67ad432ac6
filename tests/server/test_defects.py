"""A defect in the handling of one connection is that connection's alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from stream.dashboard.page import Dashboard
from stream.server.connection import DEFECT
from stream.server.limits import MAX_CLOSE_REASON_BYTES, close_reason
from stream.server.protocols.base import Action
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.twilio import TwilioProtocol
from stream.server.refusals import RefusalLog
from stream.settings import Settings
from tests.server.test_gateway import chunks, serve, start, states
from tests.server.test_sockets import UPGRADE
from tests.server.transport import FakeTransport
from tests.support.node import NetworkNode, network_node
from tests.support.waiting import wait_until


class DefectiveProtocol(GenericProtocol):
    """Fails at the message `defect`."""

    def _receive(self, message: str | bytes) -> list[Action]:
        if message == "defect":
            raise ZeroDivisionError(message)
        return super()._receive(message)

    def encode_event(self, event: Any) -> list[Action]:
        raise ZeroDivisionError(event.id)


def test_an_error_in_a_protocol_ends_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> tuple[FakeTransport, FakeTransport, NetworkNode]:
        async with network_node() as tested:
            healthy, defective = FakeTransport(start()), FakeTransport(start(source="odd"), *chunks(), "defect")
            running = asyncio.create_task(serve(tested, healthy))
            await serve(tested, defective, protocol=DefectiveProtocol())
            for message in (*chunks(), {"type": "stop"}):
                healthy.put(message)
            await running
        return healthy, defective, tested

    healthy, defective, tested = asyncio.run(check())
    assert healthy.closed == (1000, "")
    assert defective.closed == (1011, DEFECT)
    assert defective.sent[-1] == {"type": "error", "code": "internal", "message": DEFECT}
    assert tested.rejected == {"internal": 1}
    assert states(tested.sink.events, "odd") == ["started", "ended"]
    assert caplog.text.count("ZeroDivisionError: defect") == 1


def test_an_error_in_the_events_of_a_connection_does_not_end_its_audio(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> NetworkNode:
        async with network_node() as tested:
            transport = FakeTransport(start(), *chunks(), {"type": "stop"})
            await serve(tested, transport, protocol=DefectiveProtocol())
        return tested

    assert states(asyncio.run(check()).sink.events, "desk") == ["started", "ended"]
    assert caplog.text.count("gets no more events") == 1


def test_a_connection_that_cannot_be_checked_does_not_keep_others_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async with network_node(serve={"idle_timeout_s": 0.1}) as tested:
            transports = [FakeTransport(start(source=f"s{number}")) for number in range(2)]
            running = [asyncio.create_task(serve(tested, transport)) for transport in transports]
            await wait_until(lambda: tested.gateway.statistics().streams == len(transports))
            broken = next(iter(tested.gateway._connections))
            monkeypatch.setattr(broken, "check_idle", lambda _: 1 / 0)
            await asyncio.gather(*running)
            assert [transport.aborted for transport in transports] == [True, False]
            assert transports[1].closed is not None

    asyncio.run(check())


@pytest.mark.parametrize("text", ["é" * 100, "x" * 200, "\ud800", "plain"])
def test_a_close_reason_fits_into_its_frame(text: str) -> None:
    assert len(close_reason(text).encode()) <= MAX_CLOSE_REASON_BYTES


def test_a_refusal_can_always_be_published() -> None:
    refusals = RefusalLog()
    refusals.add(protocol="generic", peer="p", reason="malformed", message="odd \ud800", now_s=0.0)
    (refusal,) = refusals.newest("generic")
    assert refusal.model_dump_json()


def test_messages_that_waited_for_a_lost_one_may_be_malformed() -> None:
    tested = TwilioProtocol()
    tested.receive('{"event": "connected"}')
    tested.receive('{"event": "media", "sequenceNumber": "1"}')
    tested.receive('{"event": "stop", "sequenceNumber": "7"}')
    assert tested.peer_closed() == []


def test_what_a_client_cuts_off_or_garbles_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    async def check(tested: Any) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", tested.listener.port)
        writer.write(b"POST /enter HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", tested.listener.port)
        writer.write(f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\x82\0\0\0\0\xc3\x28")
        assert await reader.read() == b"\x88\x02\x03\xef"  # 1007
        writer.close()
        await wait_until(lambda: not len(tested.listener.budget))

    async def run() -> None:
        page = Dashboard(settings=Settings())
        async with network_node(mounts=(("/", page.app),)) as tested:
            await check(tested)

    asyncio.run(run())
    assert "Traceback" not in caplog.text
    assert not any(record.exc_info for record in caplog.records)


def test_a_request_with_a_malformed_rest_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with network_node() as tested:
            for head in ("GET / HTTP/1.1", "POST /enter HTTP/1.1", "GET /v1/stream HTTP/1.1"):
                for rest in ("odd chunk\r\n\r\n", "5\r\nhallo\r\nodd"):
                    reader, writer = await asyncio.open_connection("127.0.0.1", tested.listener.port)
                    writer.write(f"{head}\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{rest}".encode())
                    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 4")
                    writer.close()
            await wait_until(lambda: not len(tested.listener.budget))

    asyncio.run(check())
    assert not any(record.exc_info for record in caplog.records)


def test_a_close_behind_text_that_is_no_utf_8_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with network_node() as tested:
            reader, writer = await asyncio.open_connection("127.0.0.1", tested.listener.port)
            writer.write(f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"\x81\x82\0\0\0\0\xc3\x28" + b"\x88\x82\0\0\0\0\x03\xe8")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
            await wait_until(lambda: not len(tested.listener.budget))

    asyncio.run(check())
    assert not any(record.exc_info for record in caplog.records)
