"""Asterisk's AudioSocket (pure): packets of a type (1 byte), a length (2 bytes, big-endian) and a payload.

    0x00 hang-up    0x01 UUID, 16 bytes, first    0x03 DTMF, 1 byte    0xff error
    0x10 … 0x18 PCM s16 little-endian, mono, at 8, 12, 16, 24, 32, 44.1, 48, 96, 192 kHz

A connection carries what one channel hears or says, so it is one party's track: the first connection of a UUID is the
customer, the second the agent. There are no timestamps: sound is counted from the moment the connection was made.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np

from stream.audio.pcm import decode
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    ConnectionProtocol,
    EndOfAudio,
    OpenStream,
    ProtocolViolation,
    RejectReason,
    SendMessage,
    SetRate,
)

RATES_HZ = (8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000)
HANG_UP, UUID, DTMF, AUDIO, ERROR = 0x00, 0x01, 0x03, 0x10, 0xFF
HEADER_BYTES = 3
UUID_BYTES = 16


class AudioSocketProtocol(ConnectionProtocol):
    """One channel's connection."""

    name = "audiosocket"

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()
        self._name = ""
        self._rate_hz = 0
        self._frames = 0
        self._ended = False

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, str):
            raise ProtocolViolation("AudioSocket is made of bytes")
        if self._ended:
            return []
        self._buffer += message
        actions: list[Action] = []
        place = 0
        try:
            while not self._ended and len(self._buffer) - place >= HEADER_BYTES:
                kind, length = self._buffer[place], int.from_bytes(self._buffer[place + 1 : place + 3], "big")
                self._check(kind, length)
                if len(self._buffer) - place < HEADER_BYTES + length:
                    break
                place += HEADER_BYTES + length
                actions += self._packet(kind, bytes(self._buffer[place - length : place]))
        except ProtocolViolation as wrong:  # what came before it counts
            return [*actions, *self.refuse(RejectReason.MALFORMED, str(wrong))]
        finally:
            del self._buffer[:place]
        return actions

    def _check(self, kind: int, length: int) -> None:
        """Refuse what cannot be before its payload has come."""
        if not self._name and kind not in (UUID, HANG_UP):
            raise ProtocolViolation("the first packet must be a UUID")
        if kind == UUID and (length != UUID_BYTES or self._name):
            raise ProtocolViolation("there must be one UUID of 16 bytes")
        if kind == DTMF and length != 1:
            raise ProtocolViolation("a DTMF packet holds one digit")
        if AUDIO <= kind < AUDIO + len(RATES_HZ) and length % 2:
            raise ProtocolViolation("the sound is not of whole samples")
        if kind not in (HANG_UP, UUID, DTMF, ERROR) and not AUDIO <= kind < AUDIO + len(RATES_HZ):
            raise ProtocolViolation(f"there is no packet of type 0x{kind:02x}")

    def _packet(self, kind: int, payload: bytes) -> list[Action]:
        if kind == UUID:
            self._name = str(uuid.UUID(bytes=payload))
            return [OpenStream(self._name, 0, (None,), leg=True)]
        if kind == DTMF:
            return []
        if kind in (HANG_UP, ERROR):
            self._ended = True
            return [EndOfAudio("the channel has hung up" if kind == HANG_UP else "the channel has failed")]
        return self._hear(RATES_HZ[kind - AUDIO], payload)

    def _hear(self, rate_hz: int, payload: bytes) -> list[Action]:
        actions: list[Action] = []
        if not self._rate_hz:  # only now is it known
            self._rate_hz = rate_hz
            actions.append(SetRate(rate_hz))
        if rate_hz != self._rate_hz:
            raise ProtocolViolation("the rate changed within the call")
        samples = np.ascontiguousarray(decode(payload, pcm_format="s16le", channels=1)[:, 0])
        if len(samples):
            actions.append(AudioChunk(0, self._frames, samples))
            self._frames += len(samples)
        return actions

    def _last_words(self, fault: RejectReason, message: str) -> Sequence[Action]:  # noqa: ARG002 - there is no room for it
        return [
            SendMessage(
                bytes((ERROR, 0, 1, 0x01 if fault is RejectReason.MALFORMED else 0x02)) + bytes((HANG_UP, 0, 0))
            )
        ]
