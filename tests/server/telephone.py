"""Simulated telephone systems: each sends a stereo call as its protocol specifies.

The call is µ-law at 8 kHz, customer left and agent right, so that every protocol carries exactly the same samples.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import websockets
from numpy.typing import NDArray

from stream.audio.g711 import MU_LAW
from stream.server.listener import NetworkListener
from tests.support.waiting import wait_until

RATE_HZ = 8_000
CHUNK = 160  # 20 ms
NULL_UUID = "00000000-0000-0000-0000-000000000000"


def to_mu_law(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the nearest µ-law byte of each 16-bit sample, by search."""
    order = np.argsort(MU_LAW, kind="stable")
    levels = MU_LAW[order].astype(np.int64)
    right = np.clip(np.searchsorted(levels, samples), 1, 255)
    nearer = np.where(samples - levels[right - 1] <= levels[right] - samples, right - 1, right)
    return order[nearer].astype(np.uint8)


@dataclass(frozen=True)
class StereoCall:
    """Two tracks of µ-law bytes."""

    customer: NDArray[np.uint8]
    agent: NDArray[np.uint8]

    @classmethod
    def of(cls, frames: NDArray[np.int16]) -> StereoCall:
        """Encode 16-bit frames of shape (n, 2), truncated to whole chunks."""
        whole = frames[: len(frames) // CHUNK * CHUNK].astype(np.int64)
        return cls(to_mu_law(whole[:, 0]), to_mu_law(whole[:, 1]))

    @property
    def pcm(self) -> NDArray[np.int16]:
        """The decoded samples, shape (n, 2)."""
        return np.stack([MU_LAW[self.customer], MU_LAW[self.agent]], axis=1)

    def save(self, path: Path) -> Path:
        """Write the call to a file."""
        soundfile.write(path, self.pcm, RATE_HZ, subtype="PCM_16")
        return path

    def chunks(self, size: int = CHUNK) -> range:
        """Return the start frames of the chunks."""
        return range(0, len(self.customer), size)


def connect(listener: NetworkListener, path: str, **more: Any) -> Any:
    """Open a WebSocket to the listener."""
    return websockets.connect(f"ws://127.0.0.1:{listener.port}{path}", compression=None, **more)


async def receive_all(link: Any) -> list[str]:
    """Return all messages until the connection is closed."""
    received = []
    with contextlib.suppress(websockets.ConnectionClosed):
        async for message in link:
            received.append(message)  # noqa: PERF401 - keeps what arrived before the connection broke
    return received


async def generic(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """Generic protocol, 100 ms per message."""
    async with connect(listener, "/v1/stream") as link:
        start = {"type": "start", "rate_hz": RATE_HZ, "channels": 2, "call": name, "parties": ["customer", "agent"]}
        await link.send(json.dumps(start))
        replies, pcm = asyncio.create_task(receive_all(link)), call.pcm.astype("<i2")
        for offset in call.chunks(800):
            await link.send(pcm[offset : offset + 800].tobytes())
        await link.send('{"type": "stop"}')
        return await replies


async def twilio(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """Twilio: JSON and base64, the tracks alternating."""
    async with connect(listener, "/v1/twilio") as link:
        for message in twilio_messages(call, name=name):
            await link.send(json.dumps(message))
        return await receive_all(link)


def twilio_messages(call: StereoCall, *, name: str = "desk") -> list[dict[str, Any]]:
    """Return the messages of a whole stream."""
    media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    start = {
        "accountSid": "AC0",
        "streamSid": "MZ0",
        "callSid": name,
        "tracks": ["inbound", "outbound"],
        "mediaFormat": media_format,
        "customParameters": {},
    }
    messages: list[dict[str, Any]] = [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": "MZ0"},
    ]
    for number, offset in enumerate(call.chunks()):
        for track, data in (("inbound", call.customer), ("outbound", call.agent)):
            media = {
                "track": track,
                "chunk": str(number + 1),
                "timestamp": str(offset // 8),
                "payload": base64.b64encode(data[offset : offset + CHUNK].tobytes()).decode(),
            }
            messages.append(
                {"event": "media", "sequenceNumber": str(len(messages)), "media": media, "streamSid": "MZ0"}
            )
    stop = {"accountSid": "AC0", "callSid": name}
    messages.append({"event": "stop", "sequenceNumber": str(len(messages)), "stop": stop, "streamSid": "MZ0"})
    return messages


async def audiosocket(listener: NetworkListener, call: StereoCall, *, name: str = "") -> list[str]:  # noqa: ARG001
    """AudioSocket: a connection per party, the customer's first."""
    call_id = uuid.uuid4()
    writers = []
    for _ in range(2):
        _, writer = await asyncio.open_connection("127.0.0.1", listener.audiosocket_port)
        writers.append(writer)
    for writer in writers:
        writer.write(b"\x01\x00\x10" + call_id.bytes)
        await writer.drain()
    await _wait_connected(listener, str(call_id))
    for start in call.chunks():
        for writer, data in zip(writers, (call.customer, call.agent), strict=True):
            payload = MU_LAW[data[start : start + CHUNK]].astype("<i2").tobytes()
            writer.write(b"\x10" + len(payload).to_bytes(2, "big") + payload)
            await writer.drain()
    for writer in writers:
        writer.write(b"\x00\x00\x00")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    return []


async def _wait_connected(listener: NetworkListener, name: str) -> None:
    """Wait until both legs of a call are connected, so that they start at the same time."""
    calls = listener._gateway.calls
    await wait_until(lambda: name in calls and len(calls[name].tracks) == 2)


async def asterisk(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """chan_websocket: a connection per party, one with events in plain form and one with JSON."""
    async with contextlib.AsyncExitStack() as stack:
        links = []
        for party in ("customer", "agent"):
            link = await stack.enter_async_context(connect(listener, f"/v1/asterisk?call={name}&party={party}"))
            links.append(link)
        await links[0].send("MEDIA_START connection_id:c1 channel:WebSocket/c1 format:ulaw optimal_frame_size:160")
        fields = {
            "event": "MEDIA_START",
            "connection_id": "c2",
            "format": "ulaw",
            "optimal_frame_size": 160,
            "ptime": 20,
        }
        await links[1].send(json.dumps(fields))
        await _wait_connected(listener, name)
        for offset in call.chunks():
            for link, data in zip(links, (call.customer, call.agent), strict=True):
                await link.send(data[offset : offset + CHUNK].tobytes())
    return []


async def jambonz(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """mod_audio_fork, as jambonz uses it: metadata, then both channels as linear PCM."""
    async with connect(listener, f"/v1/jambonz?call={name}", subprotocols=["audio.jambonz.org"]) as link:
        assert link.subprotocol == "audio.jambonz.org"
        await link.send(json.dumps({"sampleRate": RATE_HZ, "mixType": "stereo", "callSid": "not-this"}))
        for offset in call.chunks():
            await link.send(call.pcm[offset : offset + CHUNK].astype("<i2").tobytes())
    return []


async def vonage(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """Vonage: a WebSocket per party, each limited to its leg."""
    async with contextlib.AsyncExitStack() as stack:
        links = []
        for party in ("customer", "agent"):
            link = await stack.enter_async_context(connect(listener, "/v1/vonage"))
            connected = {"event": "websocket:connected", "content-type": f"audio/l16;rate={RATE_HZ}"}
            await link.send(json.dumps({**connected, "call": name, "party": party}))
            links.append(link)
        await _wait_connected(listener, name)
        for offset in call.chunks():
            for track, link in enumerate(links):
                await link.send(call.pcm[offset : offset + CHUNK, track].astype("<i2").tobytes())
    return []


class AudioHook:
    """The client of an AudioHook session."""

    def __init__(self, link: Any, *, session: str = "", conversation: str = "desk") -> None:
        self._link = link
        self._id, self._conversation = session or str(uuid.uuid4()), conversation
        self._seq = self._server_seq = 0
        self.received: list[dict[str, Any]] = []

    async def send(self, kind: str, parameters: dict[str, Any]) -> None:
        """Send a message."""
        self._seq += 1
        envelope = {"version": "2", "type": kind, "seq": self._seq, "serverseq": self._server_seq, "id": self._id}
        await self._link.send(json.dumps({**envelope, "position": "PT0S", "parameters": parameters}))

    async def receive(self, kind: str) -> dict[str, Any]:
        """Receive messages up to the first of a type, and return that one."""
        while True:
            message: dict[str, Any] = json.loads(await self._link.recv())
            self.received.append(message)
            assert message["seq"] == self._server_seq + 1
            self._server_seq += 1
            if message["type"] == kind:
                return message

    async def open(self, *, probe: bool = False) -> dict[str, Any]:
        """Send `open` and return the reply."""
        media = [
            {"type": "audio", "format": "PCMU", "channels": channels, "rate": 8000}
            for channels in (["external", "internal"], ["external"], ["internal"])
        ]
        conversation = NULL_UUID if probe else self._conversation
        participant = {"id": NULL_UUID if probe else str(uuid.uuid4()), "ani": "", "aniName": "", "dnis": ""}
        parameters = {"organizationId": "o", "conversationId": conversation, "participant": participant, "media": media}
        await self.send("open", parameters)
        return await self.receive("opened")


async def audiohook(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """AudioHook: interleaved µ-law, 100 ms per message, after a ping."""
    async with connect(listener, "/v1/audiohook") as link:
        client = AudioHook(link, conversation=name)
        await client.open()
        await client.send("ping", {})
        frames = np.stack([call.customer, call.agent], axis=1)
        for offset in call.chunks(800):
            await link.send(frames[offset : offset + 800].tobytes())
        await client.send("close", {"reason": "end"})
        await client.receive("closed")
        return [json.dumps(message) for message in client.received]


SYSTEMS: dict[str, Callable[..., Coroutine[Any, Any, list[str]]]] = {
    "generic": generic,
    "twilio": twilio,
    "audiosocket": audiosocket,
    "asterisk": asterisk,
    "audiohook": audiohook,
    "jambonz": jambonz,
    "vonage": vonage,
}
