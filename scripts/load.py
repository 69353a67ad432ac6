"""How many calls a node carries: simulated ones over loopback, in real time, against `tonewatch serve` as it ships.

    python -m scripts.load --calls 100 --seconds 60 --system generic

Every call is the bundled conversation, from a place of its own: the customer hears it from there, the agent half of it
later. The node runs in a process of its own and writes its events to a file; all figures are read from those events.
Sound is lost if a track was heard for less than was sent, or had a gap. Latency runs from the arrival of the last
sample to the event; the achieved hop is how far apart the scored windows were, over the hop that was asked for. Calls
that ran at the same time share the cores with the node: what the callers took is told beside what the node took, and
`waited` is the time in which the node's event loop could have run but did not get a core.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import re
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import soundfile
from numpy.typing import NDArray
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from stream.demo import AUDIO
from stream.sources.g711 import MU_LAW

RATE_HZ = 8_000
STARTS_S = 2.0
"""Calls begin spread over this time, as they would."""

BOTH, FIRST, SECOND = slice(None), slice(0, 1), slice(1, 2)


class Sounds:
    """The two tracks of every call, without end: all pieces are cut from sound that was encoded once."""

    def __init__(self) -> None:
        samples, rate_hz = soundfile.read(AUDIO, dtype="int16")
        pcm: NDArray[np.int16] = samples[:: rate_hz // RATE_HZ]
        order = np.argsort(MU_LAW, kind="stable")
        mu_law: NDArray[np.uint8] = order[np.clip(np.searchsorted(MU_LAW[order], pcm), 0, 255)].astype(np.uint8)
        self._frames = len(pcm)
        self._pcm, self._mu_law = _stereo(pcm.astype("<i2")), _stereo(mu_law)

    def pcm(self, call: int, start: int, length: int, track: slice = BOTH) -> bytes:
        """Frames `start` to `start + length` of a call, 16-bit, both tracks interleaved or one."""
        return self._cut(self._pcm, call, start, length, track)

    def mu_law(self, call: int, start: int, length: int, track: slice = BOTH) -> bytes:
        """The same in µ-law."""
        return self._cut(self._mu_law, call, start, length, track)

    def _cut(self, sound: NDArray[Any], call: int, start: int, length: int, track: slice) -> bytes:
        place = (start + call * 7_919) % self._frames
        return sound[place : place + length, track].tobytes()


def _stereo(sound: NDArray[Any]) -> NDArray[Any]:
    """The agent hears half of the conversation later; behind the end stands a second's worth of the beginning."""
    both = np.stack([sound, np.roll(sound, -(len(sound) // 2))], axis=1)
    return np.concatenate([both, both[:RATE_HZ]])


class Link(Protocol):
    """One call's way to the node: what is said at its beginning, for a piece of sound, and at its end."""

    async def begin(self) -> None:
        """Connect and open the call."""

    def send(self, start: int, length: int) -> None:
        """A piece of sound."""

    async def end(self) -> None:
        """Hang up, and wait for the node to do so, too."""


class WebSocketLink(ABC):
    """A WebSocket that costs next to nothing: the library shakes hands, and frames are written as they are."""

    path = ""

    def __init__(self, call: int, sounds: Sounds, url: str) -> None:
        self.call, self.sounds, self._url = call, sounds, url

    async def begin(self) -> None:
        """Connect and open the call."""
        place = urlsplit(self._url)
        self._reader, self._writer = await asyncio.open_connection(place.hostname, place.port)
        self._hands = ClientProtocol(parse_uri(f"{self._url}{self.path}"))
        self._hands.send_request(self._hands.connect())
        self._writer.writelines(self._hands.data_to_send())
        self._hands.receive_data(await self._reader.readuntil(b"\r\n\r\n"))
        if self._hands.handshake_exc is not None:
            raise SystemExit(f"the node refuses calls ({self._hands.handshake_exc})")
        self._gone = asyncio.create_task(self._swallow())
        self.open()

    async def end(self) -> None:
        """Hang up, and wait for the node to close."""
        self.close()
        await self._gone
        self._writer.close()

    def text(self, message: str) -> None:
        """Send a text message."""
        self._frame(0x81, message.encode())

    def binary(self, message: bytes) -> None:
        """Send a binary message."""
        self._frame(0x82, message)

    def _frame(self, kind: int, payload: bytes) -> None:
        """One frame; a mask of zeros leaves the payload as it is (RFC 6455, 5.3)."""
        length = len(payload)
        head = bytes((kind, 0x80 | length)) if length < 126 else bytes((kind, 0xFE)) + length.to_bytes(2, "big")  # noqa: PLR2004
        self._writer.write(head + b"\0\0\0\0" + payload)

    async def _swallow(self) -> None:
        """What comes back is thrown away; a close is answered."""
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(65_536):
                self._hands.receive_data(data)
                self._hands.events_received()
                self._writer.writelines(self._hands.data_to_send())

    @abstractmethod
    def open(self) -> None:
        """The first messages."""

    @abstractmethod
    def close(self) -> None:
        """The last ones."""


def _ends_in_close(data: bytes) -> bool:
    """Whether a close frame of a server stands at the end."""
    return any(data[-2 - length :][:2] == bytes((0x88, length)) for length in range(min(126, len(data) - 1)))


class Generic(WebSocketLink):
    """Our own protocol."""

    path, piece_s = "/v1/stream", 0.1

    def open(self) -> None:
        """The header."""
        start = {"type": "start", "rate_hz": RATE_HZ, "channels": 2, "call": f"call-{self.call}", "events": False}
        self.text(json.dumps({**start, "parties": ["customer", "agent"]}))

    def send(self, start: int, length: int) -> None:
        """Both tracks, interleaved."""
        self.binary(self.sounds.pcm(self.call, start, length))

    def close(self) -> None:
        """No more sound."""
        self.text('{"type": "stop"}')


class Twilio(WebSocketLink):
    """Twilio Media Streams."""

    path, piece_s = "/v1/twilio", 0.02

    def open(self) -> None:
        """Two messages about what comes."""
        self._sent = 2
        self.text('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        start = {"callSid": f"call-{self.call}", "streamSid": "MZ", "tracks": ["inbound", "outbound"]}
        self.text(json.dumps({"event": "start", "sequenceNumber": "1", "start": start}))

    def send(self, start: int, length: int) -> None:
        """A message a track."""
        for track, name in ((FIRST, "inbound"), (SECOND, "outbound")):
            payload = base64.b64encode(self.sounds.mu_law(self.call, start, length, track)).decode()
            self.text(
                f'{{"event":"media","sequenceNumber":"{self._sent}","streamSid":"MZ","media":{{"track":"{name}",'
                f'"chunk":"{self._sent}","timestamp":"{start // 8}","payload":"{payload}"}}}}'
            )
            self._sent += 1

    def close(self) -> None:
        """No more sound."""
        self.text(json.dumps({"event": "stop", "sequenceNumber": str(self._sent)}))


class AudioHook(WebSocketLink):
    """Genesys AudioHook."""

    path, piece_s = "/v1/audiohook", 0.1

    def open(self) -> None:
        """A session with both channels."""
        self._envelope = {"version": "2", "id": str(uuid.uuid4()), "serverseq": 0, "position": "PT0S"}
        media = [{"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": RATE_HZ}]
        about = {"organizationId": "o", "conversationId": f"call-{self.call}", "participant": {"id": "p"}}
        self.text(json.dumps({**self._envelope, "type": "open", "seq": 1, "parameters": {**about, "media": media}}))

    def send(self, start: int, length: int) -> None:
        """Both channels, interleaved."""
        self.binary(self.sounds.mu_law(self.call, start, length))

    def close(self) -> None:
        """No more sound."""
        self.text(json.dumps({**self._envelope, "type": "close", "seq": 2, "parameters": {"reason": "end"}}))


class AudioSocket:
    """Asterisk's AudioSocket: a connection a party."""

    piece_s = 0.02

    def __init__(self, call: int, sounds: Sounds, url: str) -> None:
        self.call, self.sounds, self._place = call, sounds, urlsplit(url)
        self._links: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def begin(self) -> None:
        """The customer first, then the agent."""
        for _ in range(2):
            reader, writer = await asyncio.open_connection(self._place.hostname, self._place.port)
            writer.write(b"\x01\x00\x10" + uuid.UUID(int=self.call).bytes)
            self._links.append((reader, writer))
            await asyncio.sleep(0.2)

    def send(self, start: int, length: int) -> None:
        """A packet a track."""
        for track, (_, writer) in zip((FIRST, SECOND), self._links, strict=True):
            payload = self.sounds.pcm(self.call, start, length, track)
            writer.write(b"\x10" + len(payload).to_bytes(2, "big") + payload)

    async def end(self) -> None:
        """Hang up."""
        for reader, writer in self._links:
            writer.write(b"\x00\x00\x00")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()


SYSTEMS: dict[str, type[Generic | Twilio | AudioHook | AudioSocket]] = {
    "generic": Generic,
    "twilio": Twilio,
    "audiohook": AudioHook,
    "audiosocket": AudioSocket,
}


async def call(link: Link, piece_s: float, seconds: float, begins_s: float) -> float:
    """One call in real time; returns how late its latest piece was."""
    late_s, length, clock = 0.0, round(piece_s * RATE_HZ), asyncio.get_running_loop().time
    await asyncio.sleep(begins_s - clock())
    await link.begin()
    for number in range(round(seconds / piece_s)):
        due_s = begins_s + (number + 1) * piece_s
        await asyncio.sleep(due_s - clock())
        late_s = max(late_s, clock() - due_s)
        link.send(number * length, length)
    await link.end()
    return late_s


async def drive(arguments: argparse.Namespace, events: Path) -> dict[str, Any]:
    """Start a node, call it, stop it."""
    command = [sys.executable, "-m", "stream", "serve", "--port", "0", "--audiosocket-port", "0", "--quiet"]
    command += ["--sink", str(events)]
    for setting in arguments.set or []:
        command += ["--set", setting]
    node = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        urls = await _urls(node)
        url = urls["audiosocket" if arguments.system == "audiosocket" else "web"]
        await asyncio.sleep(arguments.settle)  # models are loaded behind the open port
        sounds, system, began_s = Sounds(), SYSTEMS[arguments.system], asyncio.get_running_loop().time() + 0.5
        apart_s, before, own_s = STARTS_S / arguments.calls, Usage.of(node.pid), time.process_time()
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(
                    call(system(number, sounds, url), system.piece_s, arguments.seconds, began_s + number * apart_s)
                )
                for number in range(arguments.calls)
            ]
        took_s = asyncio.get_running_loop().time() - began_s
        used, own_s = Usage.of(node.pid), time.process_time() - own_s
    finally:
        node.terminate()
        log = (await node.communicate())[1].decode()
    return {
        "callers late at most (s)": round(max(task.result() for task in calls), 3),
        "callers' cores": round(own_s / took_s, 3),
        "node's cores": round((used.all_s - before.all_s) / took_s, 3),
        "of these its event loop": round((used.loop_s - before.loop_s) / took_s, 3),
        "its event loop waited for a core (share)": round((used.waited_s - before.waited_s) / took_s, 3),
        "log": log,
    }


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time of a process so far, of its first thread, and how long that waited for a core (Linux)."""

    all_s: float
    loop_s: float
    waited_s: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Read it from /proc."""
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ran_ns, waited_ns, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()
        all_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return cls(all_s, int(ran_ns) / 1e9, int(waited_ns) / 1e9)


async def _urls(node: asyncio.subprocess.Process) -> dict[str, str]:
    """Where the node says that it listens."""
    found: dict[str, str] = {}
    assert node.stderr is not None  # noqa: S101 - it was asked for
    while len(found) < 2:  # noqa: PLR2004
        line = (await node.stderr.readline()).decode()
        if not line:
            raise SystemExit("the node has not started")
        if place := re.search(r"ws://[\w.]+:\d+", line):
            found["web"] = place[0]
        elif place := re.search(r"AudioSocket on ([\w.]+:\d+)", line):
            found["audiosocket"] = f"tcp://{place[1]}"
    return found


def account(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures, from the events."""
    ends: dict[str, float] = {}
    finals, kinds, latencies = 0, Counter[str](), defaultdict[str, list[float]](list)
    gaps, health = 0, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        kinds[event["type"]] += 1
        if event["type"] == "stream":
            gaps += event["state"] == "gap"
            if event["state"] == "ended":
                ends[event["source"]] = event["end_s"]
        elif event["type"] == "health":
            health = event
        elif event["type"] == "call" and event["phase"] == "final":
            finals += 1
        if event["type"] in ("emotion", "call", "turn"):
            latencies[event["type"]].append(event["latency_ms"])
    piece_s = SYSTEMS[arguments.system].piece_s
    sent_s = round(arguments.seconds / piece_s) * piece_s
    figures: dict[str, Any] = {
        "calls": arguments.calls,
        "tracks ended": len(ends),
        "calls summed up": finals,
        "sound sent (s)": round(sent_s * arguments.calls * 2, 1),
        "sound heard (s)": health.get("audio_s"),
        "tracks with sound lost": sum(end_s < sent_s - 0.001 for end_s in ends.values()),
        "gaps": gaps,
    }
    for lane in health.get("lanes", ()):
        if lane["cut"]:
            name = lane["model"]
            figures[f"{name}: windows due, dropped"] = f"{lane['cut']}, {lane['dropped']}"
            figures[f"{name}: mean batch, ms a batch"] = f"{lane['mean_batch']}, {lane['inference_ms']}"
            figures[f"{name}: achieved hop over the asked one"] = round(lane["cut"] / max(1, lane["inferred"]), 3)
    for kind, found in latencies.items():
        found.sort()
        parts = [found[min(len(found) - 1, int(share * len(found)))] for share in (0.5, 0.95, 0.99)]
        figures[f"{kind}: latency p50, p95, p99 (ms)"] = ", ".join(f"{part:.0f}" for part in parts)
    figures["events"] = sum(kinds.values())
    figures["events dropped by a sink"] = sum(sink["dropped"] for sink in health.get("sinks", ()))
    figures["memory (MB)"] = health.get("memory_mb")
    return figures


def main() -> None:
    """Drive and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--system", choices=sorted(SYSTEMS), default="generic")
    parser.add_argument("--settle", type=float, default=6.0, help="Seconds for the node to load its models.")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="A setting of the node.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.ndjson"
        driven = asyncio.run(drive(arguments, events))
        figures = account(events, arguments) | driven
    log = figures.pop("log")
    for name, value in figures.items():
        print(f"{name:48} {value}")
    for line, count in Counter(log.splitlines()).items():
        print(f"{line} ({count} times)", file=sys.stderr)


if __name__ == "__main__":
    main()
