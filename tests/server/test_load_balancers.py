"""The example configurations of load balancers, with two nodes behind each: a call reaches one node, with both legs."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import websockets

from stream.monitoring.http import probe_server
from stream.monitoring.node import NodeMonitor
from stream.server.draining import Drain
from stream.settings import ServiceSettings
from tests.support.node import NetworkNode, network_node
from tests.support.requirements import ROOT, require
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "docs" / "examples"
TIMEOUT_S = 60
TOKEN = "behind-a-proxy-needed"
FALL = 2  # checks in a row that change a node's state (haproxy.cfg)
HANG_UP = b"\x00\x00\x00"
START = json.dumps({"type": "start", "rate_hz": 16_000, "source": "desk"})


class CountedDrain(Drain):
    """Counts how often a load balancer has asked."""

    asked = 0

    def why_not_ready(self) -> str:
        self.asked += 1
        return super().why_not_ready()


@dataclass
class ServingNode:
    node: NetworkNode
    drain: CountedDrain
    probe_port: int

    @property
    def streams(self) -> int:
        return self.node.gateway.total_streams()


@asynccontextmanager
async def serving_node() -> AsyncIterator[ServingNode]:
    async with network_node(serve={"token": TOKEN}) as node:
        drain = CountedDrain(node.gateway)
        monitor = NodeMonitor(pipeline=node.pipeline, stall_timeout_s=60, drain=drain)
        async with monitor, probe_server(settings=ServiceSettings(), node=monitor) as server:
            yield ServingNode(node, drain, server.port)


@asynccontextmanager
async def balanced(
    program: str, folder: Path, configuration: Callable[[list[ServingNode]], str], arguments: list[str]
) -> AsyncIterator[list[ServingNode]]:
    require(program)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(serving_node()) for _ in range(2)]
        path = folder / f"{program}.conf"
        path.write_text(configuration(nodes))
        process = await asyncio.create_subprocess_exec(program, *arguments, str(path), cwd=folder)
        try:
            yield nodes
        finally:
            process.terminate()
            await process.wait()


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def replaced(name: str, changes: dict[str, str]) -> str:
    text = (EXAMPLES / name).read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def dial(port: int, call: bytes) -> asyncio.StreamWriter:
    """Connect a leg of a call as Asterisk does."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x01\x00\x10" + call)
    return writer


async def hang_up(*legs: asyncio.StreamWriter) -> None:
    for writer in legs:
        writer.write(HANG_UP)
        await writer.drain()
        writer.close()


def test_haproxy_pins_calls_and_sends_a_draining_node_only_their_second_legs(tmp_path: Path) -> None:
    web, tcp = free_ports(2)

    def configuration(nodes: list[ServingNode]) -> str:
        one, two = nodes
        changes = {"bind *:8080": f"bind 127.0.0.1:{web}", "bind *:8090": f"bind 127.0.0.1:{tcp}"}
        for name, serving in (("10.0.0.11", one), ("10.0.0.12", two)):
            listener, probe = serving.node.listener, f"port {serving.probe_port}"
            changes[f"{name}:8765"] = f"127.0.0.1:{listener.port} {probe}"
            changes[f"{name}:9092"] = f"127.0.0.1:{listener.audiosocket_port} {probe}"
        return replaced("haproxy.cfg", changes | {"inter 1s": "inter 100ms"})

    async def check() -> None:
        async with balanced("haproxy", tmp_path, configuration, ["-q", "-db", "-f"]) as nodes:
            await wait_until(lambda: is_open(tcp) and is_open(web))
            calls = [uuid4().bytes for _ in range(4)]
            legs = [await dial(tcp, call) for call in calls]
            await wait_until(lambda: sum(serving.streams for serving in nodes) == 4)
            assert [serving.streams for serving in nodes] == [2, 2], "the fewest connections first"
            nodes[0].drain.start()
            asked = nodes[0].drain.asked
            await wait_until(lambda: nodes[0].drain.asked > asked + 2 * FALL)
            late = [await dial(tcp, uuid4().bytes) for _ in range(2)]
            await wait_until(lambda: nodes[1].streams == 4)
            second = [await dial(tcp, call) for call in calls]
            await wait_until(lambda: sum(serving.streams for serving in nodes) == 10)
            assert [len(serving.node.gateway.calls) for serving in nodes] == [2, 4]
            assert [serving.streams for serving in nodes] == [4, 6], "both legs of a call are at one node"
            assert not nodes[0].node.rejected
            await hang_up(*legs, *late, *second)
            await wait_until(lambda: not any(serving.streams for serving in nodes))
            await wait_until(lambda: not nodes[0].node.pipeline.accepts_sources)
            async with websockets.connect(f"ws://127.0.0.1:{web}/v1/stream?call=desk&token={TOKEN}") as client:
                await client.send(START)
                assert json.loads(await client.recv())["type"] == "started"
                assert nodes[1].streams == 1

    asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))


def test_nginx_pins_calls(tmp_path: Path) -> None:
    (port,) = free_ports(1)

    def configuration(nodes: list[ServingNode]) -> str:
        changes = {"listen 8080": f"listen 127.0.0.1:{port}", "worker_processes auto": "worker_processes 1"}
        for name, serving in zip(("10.0.0.11", "10.0.0.12"), nodes, strict=True):
            changes[f"{name}:8765"] = f"127.0.0.1:{serving.node.listener.port}"
        own = f"pid {tmp_path}/nginx.pid;\nerror_log stderr;\ndaemon off;\n"
        return own + replaced("nginx.conf", changes).replace("http {", "http {\n  access_log off;", 1)

    async def check() -> None:
        async with (
            balanced("nginx", tmp_path, configuration, ["-p", str(tmp_path), "-c"]) as nodes,
            AsyncExitStack() as clients,
        ):
            await wait_until(lambda: is_open(port))
            for call in range(8):
                before = [serving.streams for serving in nodes]
                for _ in range(2):
                    client = websockets.connect(f"ws://127.0.0.1:{port}/v1/stream?call=desk-{call}&token={TOKEN}")
                    connected = await clients.enter_async_context(client)
                    await connected.send(START)
                    assert json.loads(await connected.recv())["type"] == "started"
                gained = [serving.streams - known for serving, known in zip(nodes, before, strict=True)]
                assert sorted(gained) == [0, 2]
            assert all(serving.streams for serving in nodes), "calls are divided among the nodes"

    asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))
