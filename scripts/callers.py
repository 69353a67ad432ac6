"""Simulated callers of every protocol, cheap enough to share the CPU cores with the node they call.

Audio is encoded once; after the handshake by the library, WebSocket frames are written directly.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import uuid
from abc import ABC, abstractmethod
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import soundfile
from numpy.typing import NDArray
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from stream.audio.g711 import MU_LAW
from stream.demo.conversation import AUDIO

RATE_HZ = 8_000
BOTH, FIRST, SECOND = slice(None), slice(0, 1), slice(1, 2)


class EncodedConversation:
    """The two tracks of every call, endless: all chunks are slices of audio that is encoded once."""

    def __init__(self) -> None:
        samples, rate_hz = soundfile.read(AUDIO, dtype="int16")
        pcm: NDArray[np.int16] = samples[:: rate_hz // RATE_HZ]
        order = np.argsort(MU_LAW, kind="stable")
        mu_law: NDArray[np.uint8] = order[np.clip(np.searchsorted(MU_LAW[order], pcm), 0, 255)].astype(np.uint8)
        self._frames = len(pcm)
        self._pcm, self._mu_law = _stereo(pcm.astype("<i2")), _stereo(mu_law)

    def pcm(self, call: int, start: int, length: int, track: slice = BOTH) -> bytes:
        """Frames `start` to `start + length` of a call, 16-bit, both tracks interleaved or one."""
        return self._slice(self._pcm, call, start, length, track)

    def mu_law(self, call: int, start: int, length: int, track: slice = BOTH) -> bytes:
        """The same in µ-law."""
        return self._slice(self._mu_law, call, start, length, track)

    def _slice(self, samples: NDArray[Any], call: int, start: int, length: int, track: slice) -> bytes:
        place = (start + call * 7_919) % self._frames
        return samples[place : place + length, track].tobytes()


def _stereo(samples: NDArray[Any]) -> NDArray[Any]:
    """Return both tracks, the agent half of the conversation later, with a second of the start repeated at the end."""
    both = np.stack([samples, np.roll(samples, -(len(samples) // 2))], axis=1)
    return np.concatenate([both, both[:RATE_HZ]])


class Link(Protocol):
    """The connections of one call to the node."""

    async def begin(self) -> None:
        """Connect and open the call."""

    def send(self, start: int, length: int) -> None:
        """Send a chunk of audio."""

    async def end(self) -> None:
        """Hang up, and wait until the node has closed."""


class WebSocketLink(ABC):
    """A cheap WebSocket: the library does the handshake, frames are written directly."""

    path = ""

    def __init__(self, call: int, audio: EncodedConversation, url: str) -> None:
        self.call, self.audio, self._url = call, audio, url

    async def begin(self) -> None:
        """Connect and open the call."""
        place = urlsplit(self._url)
        self._reader, self._writer = await asyncio.open_connection(place.hostname, place.port)
        self._protocol = ClientProtocol(parse_uri(f"{self._url}{self.path}"))
        self._protocol.send_request(self._protocol.connect())
        self._writer.writelines(self._protocol.data_to_send())
        self._protocol.receive_data(await self._reader.readuntil(b"\r\n\r\n"))
        if self._protocol.handshake_exc is not None:
            raise SystemExit(f"the node rejects calls ({self._protocol.handshake_exc})")
        self._receiving = asyncio.create_task(self._discard())
        self.open()

    async def end(self) -> None:
        """Hang up, and wait for the node to close."""
        self.close()
        await self._receiving
        self._writer.close()

    def cut(self) -> None:
        """Reset the connection."""
        self._receiving.cancel()
        self._writer.transport.abort()

    def text(self, message: str) -> None:
        """Send a text message."""
        self._frame(0x81, message.encode())

    def binary(self, message: bytes) -> None:
        """Send a binary message."""
        self._frame(0x82, message)

    def send_close(self) -> None:
        """Close the connection."""
        self._protocol.send_close()
        self._writer.writelines(self._protocol.data_to_send())

    def _frame(self, kind: int, payload: bytes) -> None:
        """One frame; a mask of zeros leaves the payload as it is (RFC 6455, 5.3)."""
        length = len(payload)
        head = bytes((kind, 0x80 | length)) if length < 126 else bytes((kind, 0xFE)) + length.to_bytes(2, "big")  # noqa: PLR2004
        self._writer.write(head + b"\0\0\0\0" + payload)

    async def _discard(self) -> None:
        """Discard what is received; reply to a close frame."""
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(65_536):
                self._protocol.receive_data(data)
                self._protocol.events_received()
                self._writer.writelines(self._protocol.data_to_send())

    @abstractmethod
    def open(self) -> None:
        """Send the first messages."""

    @abstractmethod
    def close(self) -> None:
        """Send the last messages."""


class Generic(WebSocketLink):
    """The protocol of this project."""

    path, chunk_s = "/v1/stream", 0.1

    def open(self) -> None:
        """Send the header."""
        start = {"type": "start", "rate_hz": RATE_HZ, "channels": 2, "call": f"call-{self.call}", "events": False}
        self.text(json.dumps({**start, "parties": ["customer", "agent"]}))

    def send(self, start: int, length: int) -> None:
        """Send both tracks, interleaved."""
        self.binary(self.audio.pcm(self.call, start, length))

    def close(self) -> None:
        """Send the end of the audio."""
        self.text('{"type": "stop"}')


class Twilio(WebSocketLink):
    """Twilio Media Streams."""

    path, chunk_s = "/v1/twilio", 0.02

    def open(self) -> None:
        """Send the two messages that describe the stream."""
        self._sent = 2
        self.text('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        start = {"callSid": f"call-{self.call}", "streamSid": "MZ", "tracks": ["inbound", "outbound"]}
        self.text(json.dumps({"event": "start", "sequenceNumber": "1", "start": start}))

    def send(self, start: int, length: int) -> None:
        """Send a message per track."""
        for track, name in ((FIRST, "inbound"), (SECOND, "outbound")):
            payload = base64.b64encode(self.audio.mu_law(self.call, start, length, track)).decode()
            self.text(
                f'{{"event":"media","sequenceNumber":"{self._sent}","streamSid":"MZ","media":{{"track":"{name}",'
                f'"chunk":"{self._sent}","timestamp":"{start // 8}","payload":"{payload}"}}}}'
            )
            self._sent += 1

    def close(self) -> None:
        """Send the end of the audio."""
        self.text(json.dumps({"event": "stop", "sequenceNumber": str(self._sent)}))


class AudioHook(WebSocketLink):
    """Genesys AudioHook."""

    path, chunk_s = "/v1/audiohook", 0.1

    def open(self) -> None:
        """Open a session with both channels."""
        self._envelope = {"version": "2", "id": str(uuid.uuid4()), "serverseq": 0, "position": "PT0S"}
        media = [{"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": RATE_HZ}]
        about = {"organizationId": "o", "conversationId": f"call-{self.call}", "participant": {"id": "p"}}
        self.text(json.dumps({**self._envelope, "type": "open", "seq": 1, "parameters": {**about, "media": media}}))

    def send(self, start: int, length: int) -> None:
        """Send both channels, interleaved."""
        self.binary(self.audio.mu_law(self.call, start, length))

    def close(self) -> None:
        """Send the end of the audio."""
        self.text(json.dumps({**self._envelope, "type": "close", "seq": 2, "parameters": {"reason": "end"}}))


class _Leg(WebSocketLink):
    """One party of a call by chan_websocket."""

    def __init__(self, call: int, audio: EncodedConversation, url: str, *, party: str, track: slice) -> None:
        super().__init__(call, audio, url)
        self.path, self._track = f"/v1/asterisk?call=call-{call}&party={party}", track

    def open(self) -> None:
        """Send the description of the media."""
        self.text(f"MEDIA_START connection_id:{self.call} format:slin optimal_frame_size:320")

    def send(self, start: int, length: int) -> None:
        """Send bare media."""
        self.binary(self.audio.pcm(self.call, start, length, self._track))

    def close(self) -> None:
        """Close the connection, as Asterisk does."""
        self.send_close()


class Asterisk:
    """Asterisk's chan_websocket: a connection per party."""

    chunk_s = 0.02

    def __init__(self, call: int, audio: EncodedConversation, url: str) -> None:
        tracks = (("customer", FIRST), ("agent", SECOND))
        self._legs = [_Leg(call, audio, url, party=party, track=track) for party, track in tracks]

    async def begin(self) -> None:
        """Connect the customer first, then the agent."""
        for leg in self._legs:
            await leg.begin()

    def send(self, start: int, length: int) -> None:
        """Send a message per track."""
        for leg in self._legs:
            leg.send(start, length)

    async def end(self) -> None:
        """Hang up."""
        for leg in self._legs:
            await leg.end()


class AudioSocket:
    """Asterisk's AudioSocket: a connection per party."""

    chunk_s = 0.02

    def __init__(self, call: int, audio: EncodedConversation, url: str) -> None:
        self.call, self.audio, self._place = call, audio, urlsplit(url)
        self._links: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def begin(self) -> None:
        """Connect the customer first, then the agent."""
        for _ in range(2):
            reader, writer = await asyncio.open_connection(self._place.hostname, self._place.port)
            writer.write(b"\x01\x00\x10" + uuid.UUID(int=self.call).bytes)
            self._links.append((reader, writer))
            await asyncio.sleep(0.2)

    def send(self, start: int, length: int) -> None:
        """Send a packet per track."""
        for track, (_, writer) in zip((FIRST, SECOND), self._links, strict=True):
            payload = self.audio.pcm(self.call, start, length, track)
            writer.write(b"\x10" + len(payload).to_bytes(2, "big") + payload)

    async def end(self) -> None:
        """Hang up."""
        for reader, writer in self._links:
            writer.write(b"\x00\x00\x00")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()


SYSTEMS: dict[str, type[Generic | Twilio | Asterisk | AudioHook | AudioSocket]] = {
    "generic": Generic,
    "twilio": Twilio,
    "asterisk": Asterisk,
    "audiohook": AudioHook,
    "audiosocket": AudioSocket,
}
