"""Draining: no more calls are taken, those that are on go on to their ends, and the run stops after the last one."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.testclient import TestClient

from stream.app.signals import SignalHandler
from stream.control.dispatcher import CommandDispatcher
from stream.monitoring.http import application, probe_server
from stream.monitoring.node import NodeMonitor
from stream.server.draining import Drain
from stream.server.protocols.audiosocket import AudioSocketProtocol
from stream.server.protocols.base import ConnectionProtocol
from stream.server.protocols.generic import GenericProtocol
from stream.settings import ServiceSettings
from tests.server.protocols.messages import HANG_UP_PACKET, UUID_PACKET
from tests.server.transport import FakeTransport
from tests.support.command import rejection, run_command
from tests.support.node import NetworkNode, network_node
from tests.support.waiting import wait_until

RATE_HZ = 16_000
SECOND = b"\x00\x10" * RATE_HZ
TIMEOUT_S = 20


async def call(
    tested: NetworkNode, transport: FakeTransport, *, streams: int, protocol: ConnectionProtocol | None = None
) -> asyncio.Task[None]:
    """Connect, and wait until the node has this many streams."""
    serving = asyncio.create_task(tested.gateway.serve(transport, protocol or GenericProtocol(), peer="peer"))
    await wait_until(lambda: tested.gateway.total_streams() == streams or serving.done())
    return serving


def start(name: str) -> dict[str, Any]:
    return {"type": "start", "rate_hz": RATE_HZ, "source": name}


@pytest.mark.slow
def test_calls_that_are_on_end_by_themselves_and_new_ones_are_refused() -> None:
    async def check() -> None:
        async with network_node() as tested:
            drain = Drain(tested.gateway)
            calls = [FakeTransport(start(f"call-{number}"), SECOND) for number in range(20)]
            serving = [await call(tested, transport, streams=n) for n, transport in enumerate(calls, start=1)]
            assert drain.why_not_ready() == ""
            assert drain.start().streams == 20
            late = FakeTransport(start("late"))
            await (await call(tested, late, streams=21))
            assert late.closed == (1001, "node is draining; call another one")
            assert drain.why_not_ready() == "draining: 20 streams left"
            for transport in calls[:-1]:
                transport.put({"type": "stop"})
            await asyncio.gather(*serving[:-1])
            assert tested.pipeline.accepts_sources, "one call is still on"
            calls[-1].put(SECOND)
            calls[-1].put({"type": "stop"})
            await serving[-1]
            await wait_until(lambda: not tested.pipeline.accepts_sources)
        ended = [transport.sent[-2] for transport in calls]
        assert {(event["state"], event["outcome"]) for event in ended} == {("ended", "hung_up")}
        assert [event["end_s"] for event in ended] == [1.0] * 19 + [2.0]
        assert all(transport.sent[-1] == {"type": "stopped"} for transport in calls)

    asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))


def test_the_second_leg_of_an_active_call_is_accepted() -> None:
    async def check() -> None:
        async with network_node() as tested:
            drain = Drain(tested.gateway)
            legs = [FakeTransport(UUID_PACKET) for _ in range(2)]
            serving = [await call(tested, legs[0], streams=1, protocol=AudioSocketProtocol())]
            drain.start()
            serving.append(await call(tested, legs[1], streams=2, protocol=AudioSocketProtocol()))
            assert (drain.state().calls, drain.state().streams) == (1, 2)
            for leg in legs:
                leg.put(HANG_UP_PACKET)
            await asyncio.gather(*serving)
            await wait_until(lambda: not tested.pipeline.accepts_sources)

    asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))


def test_calls_are_ended_when_the_time_is_up(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with network_node() as tested:
            drain, transport = Drain(tested.gateway), FakeTransport(start("desk"))
            serving = await call(tested, transport, streams=1)
            drain.start()
            drain.start(within_s=0.01)  # a later request replaces the limit of the first
            await serving
        assert transport.closed is not None
        assert "1 streams are still connected after 0.01 s; they are ended" in caplog.messages

    asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))


def test_a_node_is_not_ready_from_a_number_of_streams_on() -> None:
    async def check() -> None:
        async with network_node() as tested:
            drain = Drain(tested.gateway, ready_streams=1)
            assert drain.why_not_ready() == ""
            transport = FakeTransport(start("desk"))
            serving = await call(tested, transport, streams=1)
            assert drain.why_not_ready() == "full: 1 of 1 streams"
            transport.put({"type": "stop"})
            await serving
            assert drain.why_not_ready() == ""

    asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))


def test_the_command_drains_and_says_what_is_left() -> None:
    async def check() -> None:
        async with network_node() as tested:
            dispatcher = CommandDispatcher(pipeline=tested.pipeline, handlers=Drain(tested.gateway).handlers)
            refused = await dispatcher.answer('{"command": "drain", "within_s": -1}', ["drain"])
            assert refused.error is not None
            assert "within_s" in refused.error
            reply = await dispatcher.answer('{"command": "drain", "within_s": 5}', ["drain"])
            assert reply.result == {"draining": True, "calls": 0, "streams": 0}
            await wait_until(lambda: not tested.pipeline.accepts_sources)

    asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))


@pytest.mark.slow
def test_the_service_port_drains_but_not_for_a_web_page() -> None:
    async def check() -> None:
        async with network_node() as tested:
            node = NodeMonitor(pipeline=tested.pipeline, stall_timeout_s=10, drain=Drain(tested.gateway))
            node.is_ready = True
            await asyncio.to_thread(ask, node)
            assert not tested.gateway.is_draining
            async with probe_server(settings=ServiceSettings(), node=node) as server:
                command = ("drain", "--within", "5", "--set", f"service.port={server.port}")
                ending = asyncio.create_task(asyncio.to_thread(run_command, *command))
                await wait_until(lambda: not tested.pipeline.accepts_sources)
            result = await ending
            assert result.code == 0
            assert result.errors.splitlines()[-1] == "the node has ended"

    def ask(node: NodeMonitor) -> None:
        client = TestClient(application(node=node, token=""))
        assert client.get("/readyz").text == "ready\n"
        assert client.get("/drain").json() == {"draining": False, "calls": 0, "streams": 0}
        assert client.post("/drain", headers={"Origin": "https://elsewhere.example"}).status_code == 403
        assert client.post("/drain?within_s=soon").status_code == 400
        without = NodeMonitor(pipeline=node._pipeline, stall_timeout_s=10)
        assert TestClient(application(node=without, token="")).post("/drain").status_code == 404

    asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))


def test_drain_says_what_is_missing() -> None:
    assert rejection("drain", code=1) == "the node has no service port; set service.port, or name it with --url"
    assert "no node answers at http://127.0.0.1:9" in rejection("drain", "--url", "http://127.0.0.1:9", code=1)
    assert "is no address of a service port" in rejection("drain", "--url", "file:///etc/passwd", code=1)


class Exited(Exception):
    pass


@dataclass
class FakeRun:
    stops: int = 0
    drains: int = 0

    def stop(self) -> None:
        self.stops += 1

    def drain(self) -> None:
        self.drains += 1


@pytest.mark.parametrize(
    ("numbers", "drains", "stops"),
    [
        ([signal.SIGTERM], 1, 0),
        ([signal.SIGTERM, signal.SIGTERM], 1, 1),
        ([signal.SIGINT], 0, 1),
        ([signal.SIGTERM, signal.SIGINT], 1, 1),
    ],
)
def test_the_first_sigterm_drains_and_the_next_signal_stops(
    numbers: list[signal.Signals], drains: int, stops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr("stream.app.signals.exit_now", leave)
    handler, run = SignalHandler(), FakeRun()
    handler.run, handler.drain = run, run.drain
    for number in numbers:
        handler._receive(number)
    assert (run.drains, run.stops) == (drains, stops)
    if stops:
        with pytest.raises(Exited):
            handler._receive(signal.SIGTERM)
