"""A node in a process of its own, its log, and a healthy call beside whatever else is done to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import soundfile
import websockets

from scripts.load import Usage
from stream.demo.conversation import AUDIO

START_TIMEOUT_S = 120.0
CHUNK_S = 0.1
TOKEN = "sixteen letters and more"  # noqa: S105 - of the nodes started here


class AttackedNode:
    """`tonewatch serve` on loopback; `log` is what it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.log = bytearray()
        self._grown = asyncio.Event()
        self.port = self.audiosocket_port = 0
        self._began_s = time.monotonic()

    @property
    def usage(self) -> Usage:
        """Processor time it has used, and its event loop's wait for a core."""
        return Usage.of(self._process.pid)

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process.returncode is None

    @property
    def first_trace(self) -> str:
        """The end of the first trace of an error in its log, empty without one."""
        _, _, trace = self.log.decode(errors="replace").partition("Traceback")
        return "; ".join(line.strip() for line in trace.split("\ntonewatch:")[0].splitlines()[-3:])

    @property
    def log_bytes_per_minute(self) -> int:
        """How fast its log grew since it started, or in its first minute."""
        return round(len(self.log) * 60 / max(60.0, time.monotonic() - self._began_s))

    def url(self, path: str) -> str:
        """Address of a WebSocket of this node, with its token."""
        return f"ws://127.0.0.1:{self.port}{path}{'&' if '?' in path else '?'}token={TOKEN.replace(' ', '%20')}"

    async def read_log(self) -> None:
        """Read the log until the node ends."""
        while self._process.stderr is not None and (data := await self._process.stderr.read(65_536)):
            self.log += data
            self._grown.set()
        self._grown.set()

    async def wait_until_listening(self) -> None:
        """Wait for its ports. Raises `TimeoutError`."""
        found = None
        async with asyncio.timeout(START_TIMEOUT_S):
            while found is None and self.is_alive:
                self._grown.clear()
                await self._grown.wait()
                found = re.search(rb"AudioSocket on [\w.]+:(\d+)", self.log)
        if found is None or (web := re.search(rb"ws://[\w.]+:(\d+)/v1/", self.log)) is None:
            raise ConnectionError(self.log.decode(errors="replace"))
        self.port, self.audiosocket_port = int(web[1]), int(found[1])


@asynccontextmanager
async def attacked_node(*options: str, descriptors: int | None = None) -> AsyncIterator[AttackedNode]:
    """Run a node that listens on free ports, with a token, the dashboard and an emotion window every 200 ms."""

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    command = [
        sys.executable,
        "-m",
        "stream",
        "serve",
        "--port",
        "0",
        "--audiosocket-port",
        "0",
        "--dashboard",
        "--quiet",
    ]
    command += ["--preset", "tiny", "--set", "models.emotion.hop_s=0.2", *options]
    environment = {**os.environ, "TONEWATCH__SERVE__TOKEN": TOKEN, "TONEWATCH__MQTT__OUTBOX": ""}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=limit,
    )
    node = AttackedNode(process)
    reading = asyncio.create_task(node.read_log())
    try:
        await node.wait_until_listening()
        yield node
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await reading
        await process.wait()


@asynccontextmanager
async def attacker(module: str, *options: object) -> AsyncIterator[None]:
    """Run a script's attack in a process of its own, so that it does not delay what is measured here."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *map(str, options))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


class HealthyCall:
    """A client that streams the bundled conversation in real time and measures when its emotion events arrive."""

    def __init__(self, node: AttackedNode) -> None:
        self._node = node
        self._latencies: list[tuple[float, float]] = []  # time of arrival, latency
        self.lost = ""
        self._is_over = False

    async def run(self) -> None:
        """Stream until cancelled."""
        samples, rate_hz = soundfile.read(AUDIO, dtype="int16")
        try:
            url = self._node.url("/v1/stream")
            async with websockets.connect(url, compression=None, proxy=None, ping_interval=None) as link:
                await link.send(json.dumps({"type": "start", "rate_hz": rate_hz, "source": "healthy"}))
                await link.recv()
                began_s, length = time.monotonic(), round(CHUNK_S * rate_hz)
                receiving = asyncio.create_task(self._receive(link, began_s))
                try:
                    for number in count():
                        place = number * length % (len(samples) - length)
                        await asyncio.sleep(began_s + number * CHUNK_S - time.monotonic())
                        await link.send(samples[place : place + length].tobytes())
                        if receiving.done():
                            break
                finally:
                    self._is_over = True
        except (OSError, websockets.WebSocketException) as error:
            self.lost = str(error) or type(error).__name__

    async def _receive(self, link: Any, began_s: float) -> None:
        try:
            async for message in link:
                event = json.loads(message)
                if event["type"] == "emotion":
                    now_s = time.monotonic()
                    self._latencies.append((now_s, now_s - began_s - event["end_s"] + CHUNK_S))
        except websockets.WebSocketException as error:
            self.lost = "" if self._is_over else str(error)

    def latencies_ms(self, from_s: float, to_s: float) -> dict[str, float]:
        """Return median, 95th percentile and maximum of a time on the monotonic clock; empty if there are too few."""
        found = [latency_s * 1_000 for at_s, latency_s in self._latencies if from_s <= at_s < to_s]
        if len(found) < 2:  # noqa: PLR2004 - what `quantiles` needs
            return {}
        percentiles = statistics.quantiles(found, n=20)
        return {"p50": round(statistics.median(found)), "p95": round(percentiles[-1]), "max": round(max(found))}


async def can_call(node: AttackedNode, timeout_s: float = 5.0) -> float | None:
    """Open a further stream; returns how long it took, None if it could not be opened."""
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            async with websockets.connect(node.url("/v1/stream"), compression=None, proxy=None) as link:
                await link.send('{"type": "start", "rate_hz": 8000, "source": "new", "events": false}')
                if json.loads(await link.recv())["type"] != "started":
                    return None
                return time.monotonic() - began_s
    except (OSError, TimeoutError, websockets.WebSocketException):
        return None
