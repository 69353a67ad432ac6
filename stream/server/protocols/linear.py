"""Bare 16-bit PCM over WebSockets: what FreeSWITCH, jambonz and Vonage have in common (pure).

Binary messages are audio, 16-bit and little-endian; the first text message, if there is one, is a JSON object about the
call. A stream has both parties on channels of their own (`stereo`, the caller first), one party (`mono`), or both mixed
into one channel (`mixed`), where nothing but the voices tells them apart.

The parameters of the request's URL and of the first message are one set: `call`, `party` (of a mono stream, or of the
first channel: `customer` or `agent`), `caller`, `agent`, `queue`, `token`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stream.audio.pcm import SAMPLE_BYTES, decode
from stream.events import Party
from stream.server.call_labels import read_change, read_labels
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    ChangeCall,
    ConnectionProtocol,
    IsAuthorized,
    Omission,
    OpenStream,
    ProtocolViolation,
    Unauthorized,
    parse_object,
    to_party,
)

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

_SHORT_RATES = {f"{rate_hz // 1_000}k": rate_hz for rate_hz in RATES_HZ if rate_hz % 1_000 == 0}
_TRACKS: dict[str, tuple[Party | None, ...]] = {"customer": ("customer", "agent"), "agent": ("agent", "customer")}


class LinearProtocol(ConnectionProtocol):
    """State of one stream. `parameters` come from the request's URL.

    `is_authorized` checks the parameters with those of the first message, if the request had no credential.
    """

    def __init__(
        self,
        *,
        parameters: Mapping[str, str] | None = None,
        is_authorized: IsAuthorized | None = None,
    ) -> None:
        super().__init__()
        self._parameters: dict[str, Any] = dict(parameters or {})
        self._is_authorized = is_authorized
        self.awaits_proof = is_authorized is not None
        self._channels = 0  # of an open stream
        self._frames = 0

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, str):
            return self._receive_text(message)
        if self._channels:
            return self._receive_audio(message)
        return [self._open({}), *self._receive_audio(message)]

    def _receive_text(self, message: str) -> list[Action]:
        """Take the first message; of later ones (digits, notes of the dialplan) what they say about the call."""
        if not self._channels:
            return [self._open(parse_object(message))]
        if not message.lstrip().startswith("{"):
            return []
        fields = parse_object(message)
        labels, change = read_labels(fields), read_change(fields)
        return [ChangeCall(labels, change)] if labels or change else []

    def _open(self, about: Mapping[str, Any]) -> OpenStream:
        """Return the stream that URL and first message describe."""
        self._parameters |= about
        if self._is_authorized is not None and not self._is_authorized(self._parameters):
            raise Unauthorized("missing or wrong token; put ?token=… into the URL")
        rate_hz, mix = self._rate_hz(self._parameters), self._mix(self._parameters)
        party = self._parameters.get("party")
        name = str(self._parameters.get("call") or self._call(self._parameters) or self.name)
        labels = read_labels(self._parameters)
        if mix == "stereo":
            tracks, self._channels = _TRACKS["agent" if party == "agent" else "customer"], 2
            return OpenStream(name, rate_hz, tracks, labels=labels)
        self._channels = 1
        if mix == "mixed":
            return OpenStream(name, rate_hz, (None,), labels=labels)
        return OpenStream(name, rate_hz, (to_party(party),), leg=True, labels=labels)

    def _rate_hz(self, parameters: Mapping[str, Any]) -> int:
        return read_rate(parameters.get("rate", 8_000), name="rate")

    def _mix(self, parameters: Mapping[str, Any]) -> str:
        mix = parameters.get("mix", "mono")
        if mix not in ("mono", "mixed", "stereo"):
            raise ProtocolViolation("mix must be mono, mixed or stereo")
        return str(mix)

    def _call(self, parameters: Mapping[str, Any]) -> object:  # noqa: ARG002 - most have no id of their own
        """Return what the telephone system calls the call by."""
        return ""

    def _receive_audio(self, data: bytes) -> list[Action]:
        actions: list[Action] = []
        frame_bytes = SAMPLE_BYTES["s16le"] * self._channels
        if len(data) % frame_bytes:
            actions.append(Omission(f"audio must consist of whole frames of {frame_bytes} bytes"))
            data = data[: len(data) // frame_bytes * frame_bytes]
        if not data:
            return actions
        samples = decode(data, pcm_format="s16le", channels=self._channels)
        start, self._frames = self._frames, self._frames + len(samples)
        chunks = (AudioChunk(track, start, np.ascontiguousarray(samples[:, track])) for track in range(self._channels))
        return [*actions, *chunks]


def read_rate(value: Any, *, name: str) -> int:
    """Return a sample rate that is written as a number, as text, or as `8k`. Raises `ProtocolViolation`."""
    text = str(value).strip().lower()
    rate_hz = _SHORT_RATES.get(text) or (int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0)  # noqa: PLR2004
    if rate_hz not in RATES_HZ:
        raise ProtocolViolation(f"{name} must be one of {', '.join(map(str, RATES_HZ))} Hz")
    return rate_hz
