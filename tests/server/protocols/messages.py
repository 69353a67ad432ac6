"""Valid messages of each protocol."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from stream.server.protocols.asterisk import AsteriskProtocol
from stream.server.protocols.audiohook import AudioHookProtocol
from stream.server.protocols.audiosocket import AudioSocketProtocol
from stream.server.protocols.base import ConnectionProtocol
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.twilio import TwilioProtocol
from tests.server.telephone import StereoCall, twilio_messages

GENERIC_START = {
    "type": "start",
    "rate_hz": 48_000,
    "channels": 1,
    "format": "s16le",
    "source": "desk",
    "events": True,
}

MEDIA_START = "MEDIA_START connection_id:e226e283 channel:WebSocket/e226e283 format:ulaw optimal_frame_size:160"
MEDIA_START_JSON = {
    "event": "MEDIA_START",
    "connection_id": "media1",
    "channel": "WebSocket/media1/0x1",
    "format": "slin16",
}

CALL_UUID = uuid.UUID("046c4321-1f3d-4d4c-8f0a-6b3f6b2e9a11")
UUID_PACKET = b"\x01\x00\x10" + CALL_UUID.bytes
AUDIO_PACKET = b"\x10\x01\x40" + np.arange(160, dtype="<i2").tobytes()
HANG_UP_PACKET = b"\x00\x00\x00"

AUDIOHOOK_SESSION = "30b0e395-84d3-4570-ac13-9a62d8f514c0"
BOTH_CHANNELS = {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}
AGENT_CHANNEL = {**BOTH_CHANNELS, "channels": ["internal"]}
AUDIOHOOK_OPEN: dict[str, Any] = {
    "organizationId": "d7934305-0972-4844-938e-9060eef73d05",
    "conversationId": "090eaa2f-72fa-480a-83e0-8667ff89c0ec",
    "participant": {"id": "883efee8-3d6c-4537-b500-6d7ca4b92fa0", "ani": "+1", "aniName": "", "dnis": "+2"},
    "media": [AGENT_CHANNEL, BOTH_CHANNELS],
    "language": "en-US",
}


def _audiohook_messages() -> list[str | bytes]:
    envelope = {"version": "2", "serverseq": 0, "id": AUDIOHOOK_SESSION, "position": "PT0S"}
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("open", AUDIOHOOK_OPEN),
        ("ping", {}),
        ("discarded", {"start": "PT1S", "discarded": "PT1.5S"}),
        ("close", {"reason": "end"}),
    ]
    texts: list[str | bytes] = [
        json.dumps({**envelope, "type": kind, "seq": seq + 1, "parameters": parameters})
        for seq, (kind, parameters) in enumerate(bodies)
    ]
    return [texts[0], bytes(320), *texts[1:]]


EXCHANGES: dict[str, tuple[Callable[[], ConnectionProtocol], list[str | bytes]]] = {
    "generic": (GenericProtocol, [json.dumps(GENERIC_START), bytes(320), '{"type": "stop"}']),
    "twilio": (
        TwilioProtocol,
        [
            json.dumps(message)
            for message in twilio_messages(StereoCall(np.zeros(480, np.uint8), np.zeros(480, np.uint8)))
        ],
    ),
    "asterisk": (AsteriskProtocol, [json.dumps(MEDIA_START_JSON), MEDIA_START, bytes(320), "DTMF_END digit:1"]),
    "audiohook": (AudioHookProtocol, _audiohook_messages()),
    "audiosocket": (AudioSocketProtocol, [UUID_PACKET, AUDIO_PACKET, b"\x03\x00\x015", HANG_UP_PACKET]),
}
"""Protocol and messages of a connection, by name."""
