"""Simulated callers of every protocol, so cheap that they may share the cores with the node they call.

Sound is encoded once; WebSocket frames are written as they are, after the library has shaken hands.
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

    def goodbye(self) -> None:
        """Close the connection."""
        self._hands.send_close()
        self._writer.writelines(self._hands.data_to_send())

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


class _Leg(WebSocketLink):
    """One party of a call by chan_websocket."""

    def __init__(self, call: int, sounds: Sounds, url: str, *, party: str, track: slice) -> None:
        super().__init__(call, sounds, url)
        self.path, self._track = f"/v1/asterisk?call=call-{call}&party={party}", track

    def open(self) -> None:
        """What comes."""
        self.text(f"MEDIA_START connection_id:{self.call} format:slin optimal_frame_size:320")

    def send(self, start: int, length: int) -> None:
        """Bare media."""
        self.binary(self.sounds.pcm(self.call, start, length, self._track))

    def close(self) -> None:
        """Asterisk just closes."""
        self.goodbye()


class Asterisk:
    """Asterisk's chan_websocket: a connection a party."""

    piece_s = 0.02

    def __init__(self, call: int, sounds: Sounds, url: str) -> None:
        tracks = (("customer", FIRST), ("agent", SECOND))
        self._legs = [_Leg(call, sounds, url, party=party, track=track) for party, track in tracks]

    async def begin(self) -> None:
        """The customer first, then the agent."""
        for leg in self._legs:
            await leg.begin()

    def send(self, start: int, length: int) -> None:
        """A message a track."""
        for leg in self._legs:
            leg.send(start, length)

    async def end(self) -> None:
        """Hang up."""
        for leg in self._legs:
            await leg.end()


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


SYSTEMS: dict[str, type[Generic | Twilio | Asterisk | AudioHook | AudioSocket]] = {
    "generic": Generic,
    "twilio": Twilio,
    "asterisk": Asterisk,
    "audiohook": AudioHook,
    "audiosocket": AudioSocket,
}
