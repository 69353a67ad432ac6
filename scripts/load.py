"""How many calls a node carries: simulated ones over loopback, in real time, against `tonewatch serve` as it ships.

    python -m scripts.load --calls 100 --seconds 60 --system generic

Every call is the bundled conversation, from a place of its own: the customer hears it from there, the agent half of it
later. The node runs in a process of its own and writes its events to a file; all figures are read from those events.
Sound is lost if a track was heard for less than was sent, or had a gap. Latency runs from the arrival of the last
sample to the event; the achieved hop is how far apart the scored windows were, over the hop that was asked for.
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
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import websockets
from numpy.typing import NDArray

from stream.demo import AUDIO
from stream.sources.g711 import MU_LAW

RATE_HZ = 8_000
PIECE_S = {"generic": 0.1, "twilio": 0.02, "audiosocket": 0.02, "audiohook": 0.1}
STARTS_S = 2.0
"""Calls begin spread over this time, as they would."""


class Sounds:
    """The two tracks of every call, without end."""

    def __init__(self) -> None:
        samples, rate_hz = soundfile.read(AUDIO, dtype="int16")
        self._pcm: NDArray[np.int16] = samples[:: rate_hz // RATE_HZ]
        order = np.argsort(MU_LAW, kind="stable")
        self._mu: NDArray[np.uint8] = order[np.clip(np.searchsorted(MU_LAW[order], self._pcm), 0, 255)].astype(np.uint8)

    def piece(self, call: int, start: int, length: int, *, mu_law: bool) -> NDArray[Any]:
        """Frames `start` to `start + length` of a call, shape (length, 2)."""
        sound = self._mu if mu_law else self._pcm
        places = np.arange(start, start + length) + call * 7_919
        return np.stack([sound[places % len(sound)], sound[(places + len(sound) // 2) % len(sound)]], axis=1)


def pieces(arguments: argparse.Namespace) -> Iterator[tuple[float, int, int]]:
    """When each piece is due, where it begins and how long it is."""
    length = round(PIECE_S[arguments.system] * RATE_HZ)
    for number in range(round(arguments.seconds * RATE_HZ) // length):
        yield (number + 1) * length / RATE_HZ, number * length, length


async def paced(due_s: float) -> float:
    """Wait for a moment of the loop's clock; returns how late we are."""
    now_s = asyncio.get_running_loop().time()
    await asyncio.sleep(max(0.0, due_s - now_s))
    return asyncio.get_running_loop().time() - due_s


async def generic(call: int, sounds: Sounds, arguments: argparse.Namespace, url: str, began_s: float) -> float:
    """One call over our own protocol."""
    late_s = 0.0
    async with websockets.connect(f"{url}/v1/stream", compression=None) as link:
        start = {"type": "start", "rate_hz": RATE_HZ, "channels": 2, "call": f"call-{call}", "events": False}
        await link.send(json.dumps({**start, "parties": ["customer", "agent"]}))
        for due_s, place, length in pieces(arguments):
            late_s = max(late_s, await paced(began_s + due_s))
            await link.send(sounds.piece(call, place, length, mu_law=False).astype("<i2").tobytes())
        await link.send('{"type": "stop"}')
        await link.wait_closed()
    return late_s


async def twilio(call: int, sounds: Sounds, arguments: argparse.Namespace, url: str, began_s: float) -> float:
    """One call as Twilio sends it."""
    late_s, sent = 0.0, 2
    async with websockets.connect(f"{url}/v1/twilio", compression=None) as link:
        await link.send('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        start = {"callSid": f"call-{call}", "streamSid": "MZ", "tracks": ["inbound", "outbound"]}
        await link.send(json.dumps({"event": "start", "sequenceNumber": "1", "start": start}))
        for due_s, place, length in pieces(arguments):
            late_s = max(late_s, await paced(began_s + due_s))
            frames = sounds.piece(call, place, length, mu_law=True)
            for track, name in enumerate(("inbound", "outbound")):
                payload = base64.b64encode(frames[:, track].tobytes()).decode()
                media = {"track": name, "chunk": str(sent), "timestamp": str(place // 8), "payload": payload}
                await link.send(json.dumps({"event": "media", "sequenceNumber": str(sent), "media": media}))
                sent += 1
        await link.send(json.dumps({"event": "stop", "sequenceNumber": str(sent)}))
        await link.wait_closed()
    return late_s


async def audiohook(call: int, sounds: Sounds, arguments: argparse.Namespace, url: str, began_s: float) -> float:
    """One call as Genesys sends it; what comes back is read and thrown away."""
    late_s, session = 0.0, str(uuid.uuid4())
    envelope = {"version": "2", "id": session, "serverseq": 0, "position": "PT0S"}
    media = [{"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}]
    parameters = {"organizationId": "o", "conversationId": f"call-{call}", "participant": {"id": "p"}, "media": media}
    async with websockets.connect(f"{url}/v1/audiohook", compression=None) as link:
        await link.send(json.dumps({**envelope, "type": "open", "seq": 1, "parameters": parameters}))
        reading = asyncio.create_task(_swallow(link))
        for due_s, place, length in pieces(arguments):
            late_s = max(late_s, await paced(began_s + due_s))
            await link.send(sounds.piece(call, place, length, mu_law=True).tobytes())
        await link.send(json.dumps({**envelope, "type": "close", "seq": 2, "parameters": {"reason": "end"}}))
        await reading
    return late_s


async def audiosocket(call: int, sounds: Sounds, arguments: argparse.Namespace, url: str, began_s: float) -> float:
    """One call as Asterisk sends it: a connection a party."""
    late_s, unique, writers = 0.0, uuid.UUID(int=call).bytes, []
    port = int(url.rpartition(":")[2])
    for _ in range(2):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x01\x00\x10" + unique)
        await writer.drain()
        writers.append(writer)
        await asyncio.sleep(0.2)
    for due_s, place, length in pieces(arguments):
        late_s = max(late_s, await paced(began_s + due_s))
        frames = sounds.piece(call, place, length, mu_law=False).astype("<i2")
        for track, writer in enumerate(writers):
            payload = frames[:, track].tobytes()
            writer.write(b"\x10" + len(payload).to_bytes(2, "big") + payload)
            await writer.drain()
    for writer in writers:
        writer.write(b"\x00\x00\x00")
        await writer.drain()
        writer.close()
    return late_s


async def _swallow(link: Any) -> None:
    with contextlib.suppress(websockets.ConnectionClosed):
        async for _ in link:
            pass


SYSTEMS = {"generic": generic, "twilio": twilio, "audiohook": audiohook, "audiosocket": audiosocket}


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
        sounds, began_s = Sounds(), asyncio.get_running_loop().time() + 1.0
        apart_s = STARTS_S / arguments.calls
        started_s = time.monotonic()
        cpu_s = _cpu_s(node.pid)
        async with asyncio.TaskGroup() as group:
            run = SYSTEMS[arguments.system]
            calls = [
                group.create_task(run(call, sounds, arguments, url, began_s + call * apart_s))
                for call in range(arguments.calls)
            ]
        took_s, busy_s = time.monotonic() - started_s, _cpu_s(node.pid) - cpu_s
    finally:
        node.terminate()
        log = (await node.communicate())[1].decode()
    late_s = max(task.result() for task in calls)
    return {"client late at most (s)": round(late_s, 3), "node's cores": round(busy_s / took_s, 2), "log": log}


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
            found["audiosocket"] = place[1]
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    sent_s = len(list(pieces(arguments))) * PIECE_S[arguments.system]
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
