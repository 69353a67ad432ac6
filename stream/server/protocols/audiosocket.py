"""Asterisk's AudioSocket (pure): packets of a type (1 byte), a length (2 bytes, big-endian) and a payload.

    0x00 hang-up    0x01 UUID, 16 bytes, first    0x03 DTMF, 1 byte    0xff error
    0x10 … 0x18 PCM s16 little-endian, mono, at 8, 12, 16, 24, 32, 44.1, 48, 96, 192 kHz

A connection carries the audio of one channel, i.e. one party's track: the first connection of a UUID is the customer,
the second the agent. Packets have no timestamps: frames are counted from the start of the connection.

Asterisk hangs up the caller when it receives anything but audio or a hang-up: a hang-up packet is the only one that is
ever sent to it, and the dialplan goes on behind `AudioSocket()`. Packets of other types are skipped by their length.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import soxr

from stream.audio.pcm import decode_mono
from stream.server.protocols.base import (
    MAX_RATE_HZ,
    Action,
    AudioChunk,
    ConnectionProtocol,
    EndOfAudio,
    Omission,
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
SAMPLE_BYTES = 2
HANG_UP_PACKET = bytes((HANG_UP, 0, 0))


class AudioSocketProtocol(ConnectionProtocol):
    """State of one channel's connection."""

    name = "audiosocket"
    pace_hint = (
        "Dial(AudioSocket/…) of Asterisk before 22.7 sends µ-law where signed linear is meant; "
        "write Dial(AudioSocket/HOST:PORT/UUID/c(slin))"
    )

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()
        self._name = ""
        self._rate_hz = 0
        self._frames = 0
        self._ended = False
        self._skipped_types: set[int] = set()
        self._resamplers: dict[int, soxr.ResampleStream] = {}  # by the rate of packets that have another one

    def audio_finished(self) -> list[Action]:
        """Hang up and close."""
        return [SendMessage(HANG_UP_PACKET), *super().audio_finished()]

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, str):
            raise ProtocolViolation("AudioSocket data must be binary")
        if self._ended:
            return []
        self._buffer += message
        actions: list[Action] = []
        offset = packets = 0
        try:
            while not self._ended and len(self._buffer) - offset >= HEADER_BYTES:
                kind, length = self._buffer[offset], int.from_bytes(self._buffer[offset + 1 : offset + 3], "big")
                self._check_header(kind, length)
                if len(self._buffer) - offset < HEADER_BYTES + length:
                    break
                offset += HEADER_BYTES + length
                packets += 1
                actions += self._process_packet(kind, bytes(self._buffer[offset - length : offset]))
        except ProtocolViolation as violation:  # the packets before it are valid
            return [*actions, *self.reject(violation.reject_reason, str(violation))]
        finally:
            del self._buffer[:offset]
            self.messages += max(0, packets - 1)  # the read counts for one
        return actions

    def _check_header(self, kind: int, length: int) -> None:
        """Reject a connection that does not begin with its UUID, before the payload arrives."""
        if not self._name and kind not in (UUID, HANG_UP):
            raise ProtocolViolation("the first packet must be a UUID")
        if not self._name and kind == UUID and length != UUID_BYTES:
            raise ProtocolViolation("a UUID must be of 16 bytes")

    def _process_packet(self, kind: int, payload: bytes) -> list[Action]:
        if kind == UUID:
            if self._name:
                return [Omission("repeated UUID; send it once per connection")]
            self._name = str(uuid.UUID(bytes=payload))
            return [OpenStream(self._name, 0, (None,), leg=True)]
        if kind in (HANG_UP, ERROR):
            self._ended = True
            return [EndOfAudio("hung up" if kind == HANG_UP else "the channel has failed")]
        if AUDIO <= kind < AUDIO + len(RATES_HZ):
            return self._receive_audio(RATES_HZ[kind - AUDIO], payload)
        if kind == DTMF or kind in self._skipped_types:
            return []
        self._skipped_types.add(kind)  # Asterisk's relatives have types of their own, such as 0x02 for silence
        return [Omission(f"packets of type 0x{kind:02x} are skipped")]

    def _receive_audio(self, rate_hz: int, payload: bytes) -> list[Action]:
        if rate_hz > MAX_RATE_HZ:
            return [Omission(f"audio at {rate_hz} Hz is left out; send {MAX_RATE_HZ} Hz at most, e.g. c(slin48)")]
        actions: list[Action] = []
        if not self._rate_hz:  # the first audio packet determines it
            self._rate_hz = rate_hz
            actions.append(SetRate(rate_hz))
        if len(payload) % SAMPLE_BYTES:
            actions.append(Omission("audio must consist of whole 2-byte samples"))
            payload = payload[: len(payload) // SAMPLE_BYTES * SAMPLE_BYTES]
        samples = decode_mono(payload)
        if rate_hz != self._rate_hz:
            if rate_hz not in self._resamplers:
                actions.append(Omission(f"the sample rate changed from {self._rate_hz} to {rate_hz} Hz; resampled"))
                self._resamplers[rate_hz] = soxr.ResampleStream(rate_hz, self._rate_hz, 1, dtype="float32")
            samples = self._resamplers[rate_hz].resample_chunk(samples)
        if len(samples):
            actions.append(AudioChunk(0, self._frames, samples))
            self._frames += len(samples)
        return actions

    def _error_messages(self, reason: RejectReason, message: str) -> Sequence[Action]:  # noqa: ARG002 - has no text field
        return [SendMessage(HANG_UP_PACKET)]
