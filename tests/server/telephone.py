"""Telephone systems, small ones: each sends a stereo call the way its protocol is written down.

The call is µ-law at 8 kHz, left the customer and right the agent, so that every protocol carries the very same samples.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import websockets
from numpy.typing import NDArray

from stream.audio.g711 import MU_LAW
from stream.server.listener import NetworkListener

RATE_HZ = 8_000
CHUNK = 160  # 20 ms
NULL_UUID = "00000000-0000-0000-0000-000000000000"


def to_mu_law(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest µ-law byte of each 16-bit sample, by search."""
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
        """From 16-bit frames of shape (n, 2), cut to whole chunks."""
        whole = frames[: len(frames) // CHUNK * CHUNK].astype(np.int64)
        return cls(to_mu_law(whole[:, 0]), to_mu_law(whole[:, 1]))

    @property
    def pcm(self) -> NDArray[np.int16]:
        """What the bytes mean, shape (n, 2)."""
        return np.stack([MU_LAW[self.customer], MU_LAW[self.agent]], axis=1)

    def save(self, path: Path) -> Path:
        """The same call as a file."""
        soundfile.write(path, self.pcm, RATE_HZ, subtype="PCM_16")
        return path

    def chunks(self, size: int = CHUNK) -> range:
        """Where the chunks begin."""
        return range(0, len(self.customer), size)


Connect = Callable[..., Any]


def connect(listener: NetworkListener, path: str, **more: Any) -> Any:
    """A WebSocket to the listener."""
    return websockets.connect(f"ws://127.0.0.1:{listener.port}{path}", compression=None, **more)


async def listen_to(link: Any) -> list[str]:
    """Everything that comes back, until the connection is closed."""
    came = []
    with contextlib.suppress(websockets.ConnectionClosed):
        async for message in link:
            came.append(message)  # noqa: PERF401 - the connection may break off
    return came


async def generic(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """Our own protocol, 100 ms a message."""
    async with connect(listener, "/v1/stream") as link:
        start = {"type": "start", "rate_hz": RATE_HZ, "channels": 2, "call": name, "parties": ["customer", "agent"]}
        await link.send(json.dumps(start))
        back, pcm = asyncio.create_task(listen_to(link)), call.pcm.astype("<i2")
        for place in call.chunks(800):
            await link.send(pcm[place : place + 800].tobytes())
        await link.send('{"type": "stop"}')
        return await back


async def twilio(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """Twilio: JSON and base64, both tracks in turn."""
    async with connect(listener, "/v1/twilio") as link:
        for message in twilio_messages(call, name=name):
            await link.send(json.dumps(message))
        return await listen_to(link)


def twilio_messages(call: StereoCall, *, name: str = "desk") -> list[dict[str, Any]]:
    """A whole stream."""
    shape = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    start = {
        "accountSid": "AC0",
        "streamSid": "MZ0",
        "callSid": name,
        "tracks": ["inbound", "outbound"],
        "mediaFormat": shape,
        "customParameters": {},
    }
    messages: list[dict[str, Any]] = [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": "MZ0"},
    ]
    for number, place in enumerate(call.chunks()):
        for track, data in (("inbound", call.customer), ("outbound", call.agent)):
            media = {
                "track": track,
                "chunk": str(number + 1),
                "timestamp": str(place // 8),
                "payload": base64.b64encode(data[place : place + CHUNK].tobytes()).decode(),
            }
            messages.append(
                {"event": "media", "sequenceNumber": str(len(messages)), "media": media, "streamSid": "MZ0"}
            )
    stop = {"accountSid": "AC0", "callSid": name}
    messages.append({"event": "stop", "sequenceNumber": str(len(messages)), "stop": stop, "streamSid": "MZ0"})
    return messages


async def audiosocket(listener: NetworkListener, call: StereoCall, *, name: str = "") -> list[str]:  # noqa: ARG001
    """AudioSocket: a connection a party, the customer's first."""
    unique = uuid.uuid4().bytes
    writers = []
    for _ in range(2):
        _, writer = await asyncio.open_connection("127.0.0.1", listener.audiosocket_port)
        writers.append(writer)
    for writer in writers:
        writer.write(b"\x01\x00\x10" + unique)
        await writer.drain()
    await asyncio.sleep(0.2)  # both are on the line before anybody talks
    await _in_step(
        [_packets(writer, data) for writer, data in zip(writers, (call.customer, call.agent), strict=True)],
        len(call.chunks()),
    )
    for writer in writers:
        writer.write(b"\x00\x00\x00")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    return []


def _packets(writer: asyncio.StreamWriter, data: NDArray[np.uint8]) -> Callable[[int], Awaitable[None]]:
    async def send(number: int) -> None:
        payload = MU_LAW[data[number * CHUNK : (number + 1) * CHUNK]].astype("<i2").tobytes()
        writer.write(b"\x10" + len(payload).to_bytes(2, "big") + payload)
        await writer.drain()

    return send


async def _in_step(senders: list[Callable[[int], Awaitable[None]]], count: int) -> None:
    for number in range(count):
        for send in senders:
            await send(number)


async def asterisk(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """chan_websocket: a connection a party, one announced plainly and one in JSON."""
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
        await asyncio.sleep(0.2)  # both are on the line before anybody talks
        for place in call.chunks():
            for link, data in zip(links, (call.customer, call.agent), strict=True):
                await link.send(data[place : place + CHUNK].tobytes())
    return []


class AudioHook:
    """Genesys' end of a session."""

    def __init__(self, link: Any, *, session: str = "", conversation: str = "desk") -> None:
        self._link = link
        self._id, self._conversation = session or str(uuid.uuid4()), conversation
        self._seq = self._server_seq = 0
        self.came: list[dict[str, Any]] = []

    async def say(self, kind: str, parameters: dict[str, Any]) -> None:
        """A message of ours."""
        self._seq += 1
        envelope = {"version": "2", "type": kind, "seq": self._seq, "serverseq": self._server_seq, "id": self._id}
        await self._link.send(json.dumps({**envelope, "position": "PT0S", "parameters": parameters}))

    async def hear(self, kind: str) -> dict[str, Any]:
        """Messages up to the first of a kind."""
        while True:
            message: dict[str, Any] = json.loads(await self._link.recv())
            self.came.append(message)
            assert message["seq"] == self._server_seq + 1
            self._server_seq += 1
            if message["type"] == kind:
                return message

    async def open(self, *, probe: bool = False) -> dict[str, Any]:
        """The open transaction."""
        media = [
            {"type": "audio", "format": "PCMU", "channels": channels, "rate": 8000}
            for channels in (["external", "internal"], ["external"], ["internal"])
        ]
        conversation = NULL_UUID if probe else self._conversation
        participant = {"id": NULL_UUID if probe else str(uuid.uuid4()), "ani": "", "aniName": "", "dnis": ""}
        parameters = {"organizationId": "o", "conversationId": conversation, "participant": participant, "media": media}
        await self.say("open", parameters)
        return await self.hear("opened")


async def audiohook(listener: NetworkListener, call: StereoCall, *, name: str = "desk") -> list[str]:
    """AudioHook: interleaved µ-law, 100 ms a message, a ping in between."""
    async with connect(listener, "/v1/audiohook") as link:
        client = AudioHook(link, conversation=name)
        await client.open()
        await client.say("ping", {})
        frames = np.stack([call.customer, call.agent], axis=1)
        for place in call.chunks(800):
            await link.send(frames[place : place + 800].tobytes())
        await client.say("close", {"reason": "end"})
        await client.hear("closed")
        return [json.dumps(message) for message in client.came]


SYSTEMS: dict[str, Callable[..., Coroutine[Any, Any, list[str]]]] = {
    "generic": generic,
    "twilio": twilio,
    "audiosocket": audiosocket,
    "asterisk": asterisk,
    "audiohook": audiohook,
}
