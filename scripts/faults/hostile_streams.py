"""Hostile servers of network streams beside a healthy one: an input ends its own connection, and every stream returns.

    python -m scripts.faults.hostile_streams --count 10000

A server on loopback answers every connection with another input (`hostile_inputs`): recordings in fifteen containers
with defects, random bytes, playlists that name other things, HTTP and RTSP out of their grammars; some never end or
never begin. UDP gets datagrams with defects. Every hundredth input a decoder is killed (SIGKILL). Streams are the
product's own, each with its decoder process; no models run. In the end the server sends good audio, and each attacked
stream has to play it. No decoder may write a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import re
import resource
import signal
import socket
import tempfile
import time
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from scripts.faults.hostile_inputs import EXCERPT_S, damaged, datagrams, excerpts, http_answer, rtsp_answer
from scripts.faults.report import print_result
from scripts.network_servers import free_port
from stream.errors import SourceError
from stream.settings import SourceSettings
from stream.sources.capture import WatchdogLimits
from stream.sources.network import NetworkSource
from stream.sources.network_request import NetworkRequest
from stream.types import Block, Interruption

TIMEOUT_S = 2.0
LIMITS = WatchdogLimits(
    no_data_timeout_s=TIMEOUT_S,
    first_data_timeout_s=2 * TIMEOUT_S,
    zeros_timeout_s=float("inf"),
    min_retry_pause_s=0.01,
    max_retry_pause_s=0.01,
)
KILL_EVERY, SILENT_EVERY = 100, 50
RETURN_TIMEOUT_S = 60.0
MAX_PAUSE_S = TIMEOUT_S
MAX_DECODER_MB = 1_000


class HostileServer:
    """Answers `/healthy` with a radio, all else with hostile inputs, and once `count` are sent with a radio as well."""

    def __init__(self, count: int, seed: int) -> None:
        self._recordings = excerpts()
        self._chance = random.Random(seed)  # noqa: S311
        self.count, self.sent = count, 0
        self.over = asyncio.Event()
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            try:
                request = await reader.readuntil(b"\r\n\r\n")
                if b"rtsp:" in request.partition(b"\n")[0].lower():
                    await self._attack_rtsp(request, reader, writer)
                elif b"/healthy" in request or self.over.is_set():
                    await self._play(writer)
                elif self._take():
                    await self._send(writer, http_answer(self._recordings, self._chance))
            finally:
                writer.close()

    async def send_datagrams(self, port: int) -> None:
        """Send a transport stream, with defects until all inputs are sent."""
        pieces = datagrams(self._recordings["mpegts of FFmpeg"])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for piece in cycle(pieces):
                is_damaged = not self.over.is_set() and not self._chance.randrange(3)
                with contextlib.suppress(ConnectionError):  # no decoder receives just now
                    out.sendto(damaged(piece, self._chance) if is_damaged else piece, ("127.0.0.1", port))
                await asyncio.sleep(EXCERPT_S / len(pieces))

    def _take(self) -> bool:
        """Count an input; returns whether it is one of those to send."""
        self.sent += 1
        if self.sent >= self.count:
            self.over.set()
        return self.sent <= self.count

    async def _attack_rtsp(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self._take():
            await self._send(writer, rtsp_answer(request, self._chance))
            request = await reader.readuntil(b"\r\n\r\n")

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        writer.write(answer)
        await writer.drain()
        if not self._chance.randrange(SILENT_EVERY):
            await asyncio.sleep(3 * TIMEOUT_S)  # neither more nor an end

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        """Send a radio in real time."""
        started_s, sent_s = time.monotonic(), 0.0
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n")
        while True:
            writer.write(self._recordings["mp3"])
            await writer.drain()
            sent_s += EXCERPT_S
            await asyncio.sleep(started_s + sent_s - time.monotonic())


class WatchedStream:
    """One stream of the product, and what became of it."""

    def __init__(self, name: str, address: str, server: HostileServer, *, is_attacked: bool = True) -> None:
        self.name, self._server = name, server
        self._settings = SourceSettings(kind="network", id=name, target=address)
        self._limits: WatchdogLimits | None = None
        if is_attacked:  # sooner than by default: the next input
            timeouts = {"connect_timeout_s": TIMEOUT_S, "read_timeout_s": TIMEOUT_S}
            self._settings, self._limits = self._settings.model_copy(update=timeouts), LIMITS
        self.interruptions: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults: list[str] = []
        self.ended = self.gaps = 0
        self.longest_pause_s = 0.0
        self.playing, self.returned = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Play, and open another stream where one has ended or could not be opened."""
        while True:
            try:
                await self._play(NetworkSource(settings=self._settings, limits=self._limits))
            except SourceError as error:
                self.refusals[type(error).__name__] += 1
                if "\n" in str(error):
                    self.faults.append(str(error))
            except Exception as error:  # noqa: BLE001 - any other one is a defect
                self.faults.append(repr(error))

    async def _play(self, source: NetworkSource) -> None:
        end_frame, received_s, is_lost = None, time.monotonic(), False
        async with source.blocks() as blocks:
            async for item in blocks:
                if isinstance(item, Interruption):
                    self.interruptions[item.state] += 1
                    if is_lost == (item.state == "stalled"):
                        self.faults.append(f"{item.state} twice")
                    is_lost, end_frame = item.state == "stalled", None
                    continue
                self._check(item, end_frame)
                end_frame, now_s = item.end_frame, time.monotonic()
                self.longest_pause_s, received_s = max(self.longest_pause_s, now_s - received_s), now_s
                if self._server.over.is_set():
                    self.returned.set()
        self.ended += 1

    def _check(self, block: Block, end_frame: int | None) -> None:
        self.playing.set()
        if end_frame is not None and block.start_frame != end_frame:
            self.gaps += 1
            if block.start_frame < end_frame:
                self.faults.append("media time went back")
        if not np.isfinite(block.samples).all():
            self.faults.append("samples are not finite")


def decoders() -> list[int]:
    """Return the processes of decoders of this process."""
    found = []
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        with contextlib.suppress(OSError):
            if NetworkRequest.program in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
    return found


async def kill(server: HostileServer, spared: int) -> int:
    """Kill a decoder every `KILL_EVERY` inputs until all are sent; returns how many."""
    killed = 0
    while not server.over.is_set():
        await asyncio.sleep(0.05)
        others = [pid for pid in decoders() if pid != spared]
        if server.sent // KILL_EVERY > killed and others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(others), signal.SIGKILL)  # noqa: S311
                killed += 1
    return killed


async def attack(count: int, streams: int, seed: int) -> dict[str, Any]:
    """Attack, and return what was found."""
    server, unhandled = HostileServer(count, seed), list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(str(context)))
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0, limit=1 << 20) as listening:
        port, udp_port = listening.sockets[0].getsockname()[1], free_port(socket.SOCK_DGRAM)
        healthy = WatchedStream("healthy", f"http://127.0.0.1:{port}/healthy", server, is_attacked=False)
        tasks = [asyncio.create_task(healthy.run())]
        await healthy.playing.wait()
        (spared,) = decoders()
        attacked = [WatchedStream(f"http{at}", f"http://127.0.0.1:{port}/attack", server) for at in range(streams)]
        attacked.append(WatchedStream("udp", f"udp://127.0.0.1:{udp_port}", server))
        rtsp = WatchedStream("rtsp", f"rtsp://127.0.0.1:{port}/x", server)
        tasks += [asyncio.create_task(one.run()) for one in (*attacked, rtsp)]
        tasks.append(asyncio.create_task(server.send_datagrams(udp_port)))
        killed = await kill(server, spared)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETURN_TIMEOUT_S):
                await asyncio.gather(*(one.returned.wait() for one in attacked))
        is_spared = spared in decoders()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return result(healthy, [*attacked, rtsp], unhandled) | {
        "inputs": server.sent,
        "killed": killed,
        "returned": sum(one.returned.is_set() for one in attacked),
        "of": len(attacked),
        "healthy_spared": is_spared,
        "left_over": len(decoders()),
    }


def result(healthy: WatchedStream, attacked: list[WatchedStream], unhandled: list[str]) -> dict[str, Any]:
    """Return the figures of the streams."""
    refusals, interruptions = Counter[str](), Counter[str]()
    for one in attacked:
        refusals += one.refusals
        interruptions += one.interruptions
    faults = [fault for one in (healthy, *attacked) for fault in one.faults]
    return {
        "refusals": dict(refusals),
        "interruptions": dict(interruptions),
        "ended": sum(one.ended for one in attacked),
        "faults": [*faults, *unhandled][:5],
        "healthy_touched": healthy.interruptions.total() + healthy.gaps + healthy.ended + healthy.refusals.total(),
        "healthy_pause_s": round(healthy.longest_pause_s, 2),
        "decoder_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "own_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def tracebacks(messages: str) -> dict[str, int]:
    """Return the last lines of tracebacks, and how often each was written."""
    found = re.findall(r"^Traceback .*\n(?: .*\n|\n)*(.+)$", messages, re.MULTILINE)
    return dict(Counter(found).most_common(10))


def main() -> None:
    """Parse the command line, attack, print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="inputs")
    parser.add_argument("--streams", type=int, default=6, help="streams by HTTP that are attacked")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.getLogger("stream").setLevel(logging.ERROR)
    with tempfile.TemporaryFile() as messages:  # of the decoders
        own = os.dup(2)
        os.dup2(messages.fileno(), 2)
        try:
            found = asyncio.run(attack(arguments.count, arguments.streams, arguments.seed))
        finally:
            os.dup2(own, 2)
        messages.seek(0)
        found["tracebacks"] = tracebacks(messages.read().decode(errors="replace"))
    held = (
        not found["faults"]
        and not found["tracebacks"]
        and not found["healthy_touched"]
        and found["healthy_spared"]
        and found["returned"] == found["of"]
        and not found["left_over"]
        and found["decoder_mb"] < MAX_DECODER_MB
        and found["healthy_pause_s"] < MAX_PAUSE_S
    )
    print_result("hostile_streams", held=held, **found)


if __name__ == "__main__":
    main()
