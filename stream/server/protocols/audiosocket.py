"""Asterisk's AudioSocket (pure): packets of a type (1 byte), a length (2 bytes, big-endian) and a payload.

    0x00 hang-up    0x01 UUID, 16 bytes, first    0x03 DTMF, 1 byte    0xff error
    0x10 … 0x18 PCM s16 little-endian, mono, at 8, 12, 16, 24, 32, 44.1, 48, 96, 192 kHz

A connection carries the audio of one channel, i.e. one party's track: the first connection of a UUID is the customer,
the second the agent. Packets have no timestamps: frames are counted from the start of the connection.
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
    """State of one channel's connection."""

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
            raise ProtocolViolation("AudioSocket data must be binary")
        if self._ended:
            return []
        self._buffer += message
        actions: list[Action] = []
        offset = 0
        try:
            while not self._ended and len(self._buffer) - offset >= HEADER_BYTES:
                kind, length = self._buffer[offset], int.from_bytes(self._buffer[offset + 1 : offset + 3], "big")
                self._check_header(kind, length)
                if len(self._buffer) - offset < HEADER_BYTES + length:
                    break
                offset += HEADER_BYTES + length
                actions += self._process_packet(kind, bytes(self._buffer[offset - length : offset]))
        except ProtocolViolation as violation:  # the packets before it are valid
            return [*actions, *self.reject(violation.reject_reason, str(violation))]
        finally:
            del self._buffer[:offset]
        return actions

    def _check_header(self, kind: int, length: int) -> None:
        """Reject an invalid packet before its payload arrives."""
        if not self._name and kind not in (UUID, HANG_UP):
            raise ProtocolViolation("the first packet must be a UUID")
        if kind == UUID and (length != UUID_BYTES or self._name):
            raise ProtocolViolation("send one UUID, of 16 bytes")
        if kind == DTMF and length != 1:
            raise ProtocolViolation("a DTMF packet must hold one digit")
        if AUDIO <= kind < AUDIO + len(RATES_HZ) and length % 2:
            raise ProtocolViolation("audio must consist of whole 2-byte samples")
        if kind not in (HANG_UP, UUID, DTMF, ERROR) and not AUDIO <= kind < AUDIO + len(RATES_HZ):
            raise ProtocolViolation(f"unknown packet type 0x{kind:02x}")

    def _process_packet(self, kind: int, payload: bytes) -> list[Action]:
        if kind == UUID:
            self._name = str(uuid.UUID(bytes=payload))
            return [OpenStream(self._name, 0, (None,), leg=True)]
        if kind == DTMF:
            return []
        if kind in (HANG_UP, ERROR):
            self._ended = True
            return [EndOfAudio("the channel has hung up" if kind == HANG_UP else "the channel has failed")]
        return self._receive_audio(RATES_HZ[kind - AUDIO], payload)

    def _receive_audio(self, rate_hz: int, payload: bytes) -> list[Action]:
        actions: list[Action] = []
        if not self._rate_hz:  # the first audio packet determines it
            self._rate_hz = rate_hz
            actions.append(SetRate(rate_hz))
        if rate_hz != self._rate_hz:
            raise ProtocolViolation("the sample rate must not change within a call")
        samples = np.ascontiguousarray(decode(payload, pcm_format="s16le", channels=1)[:, 0])
        if len(samples):
            actions.append(AudioChunk(0, self._frames, samples))
            self._frames += len(samples)
        return actions

    def _error_messages(self, reason: RejectReason, message: str) -> Sequence[Action]:  # noqa: ARG002 - has no text field
        code = 0x01 if reason is RejectReason.MALFORMED else 0x02
        return [SendMessage(bytes((ERROR, 0, 1, code, HANG_UP, 0, 0)))]
