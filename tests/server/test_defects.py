"""A defect in the handling of one connection is that connection's alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream.server.connection import DEFECT
from stream.server.limits import MAX_CLOSE_REASON_BYTES, close_reason
from stream.server.protocols.base import Action
from stream.server.protocols.generic import GenericProtocol
from stream.server.refusals import RefusalLog
from tests.server.test_gateway import FakeTransport, chunks, serve, start, states
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
