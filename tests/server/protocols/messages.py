"""Valid messages of each protocol."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from stream.server.protocols.asterisk import AsteriskProtocol
from stream.server.protocols.audiohook import AudioHookProtocol
from stream.server.protocols.audiosocket import AudioSocketProtocol
from stream.server.protocols.base import ConnectionProtocol
from stream.server.protocols.exotel import ExotelProtocol
from stream.server.protocols.freeswitch import FreeSwitchProtocol
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.jambonz import JambonzProtocol
from stream.server.protocols.plivo import PlivoProtocol
from stream.server.protocols.twilio import TwilioProtocol
from stream.server.protocols.vonage import VonageProtocol
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


JAMBONZ_METADATA: dict[str, Any] = {
    "sampleRate": 16_000,
    "mixType": "stereo",
    "callSid": "9fb35c28-9688-4531-943c-e280b04f3adf",
    "direction": "inbound",
    "from": "+15083084809",
    "to": "+15083728299",
    "callStatus": "in-progress",
    "queue": "sales",
}
VONAGE_CONNECTED: dict[str, Any] = {
    "event": "websocket:connected",
    "content-type": "audio/l16;rate=16000",
    "conversation_uuid": "CON-7",
    "caller": "+447700900000",
    "agent": "Grace",
}
PLIVO_START: dict[str, Any] = {
    "sequenceNumber": 0,
    "event": "start",
    "start": {
        "callId": "5401fd2e-6344-40df-a22c-c8ffea7a92e7",
        "streamId": "c4dfd815-a92a-4140-ab85-5ff28c004116",
        "accountId": "500025",
        "tracks": ["inbound", "outbound"],
        "mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 8_000},
    },
    "extra_headers": '{"agent": "Grace"}',
}
EXOTEL_START: dict[str, Any] = {
    "event": "start",
    "sequence_number": "1",
    "stream_sid": "MZ7",
    "start": {
        "stream_sid": "MZ7",
        "call_sid": "CA7",
        "account_sid": "AC7",
        "from": "+919876543210",
        "to": "+918047491899",
        "custom_parameters": {"queue": "sales"},
        "media_format": {"encoding": "audio/x-raw", "sample_rate": "8000", "bit_rate": "16"},
    },
}


def plivo_media(number: int, data: bytes, *, track: str = "inbound") -> dict[str, Any]:
    """Return the message of chunk `number`, 20 ms each."""
    media = {
        "track": track,
        "timestamp": str(1_778_597_597_051 + 20 * number),
        "chunk": number,
        "payload": base64.b64encode(data).decode(),
    }
    return {"sequenceNumber": number, "streamId": PLIVO_START["start"]["streamId"], "event": "media", "media": media}


def exotel_media(number: int, data: bytes) -> dict[str, Any]:
    """Return the message of chunk `number`, 100 ms each."""
    media = {"chunk": str(number), "timestamp": str(100 * number), "payload": base64.b64encode(data).decode()}
    return {"event": "media", "sequence_number": str(number + 1), "stream_sid": "MZ7", "media": media}


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
    "freeswitch": (FreeSwitchProtocol, ['{"mix": "stereo", "rate": "16k"}', bytes(640), "a text of the dialplan"]),
    "jambonz": (JambonzProtocol, [json.dumps(JAMBONZ_METADATA), bytes(640), '{"event": "dtmf", "dtmf": "2"}']),
    "vonage": (VonageProtocol, [json.dumps(VONAGE_CONNECTED), bytes(640), '{"event": "websocket:dtmf", "digit": "5"}']),
    "plivo": (
        PlivoProtocol,
        [json.dumps(PLIVO_START), json.dumps(plivo_media(1, bytes(320))), '{"event": "stop", "sequenceNumber": 2}'],
    ),
    "exotel": (
        ExotelProtocol,
        [
            json.dumps(EXOTEL_START),
            json.dumps(exotel_media(1, bytes(1_600))),
            '{"event": "stop", "sequence_number": "3"}',
        ],
    ),
    "audiosocket": (AudioSocketProtocol, [UUID_PACKET, AUDIO_PACKET, b"\x03\x00\x015", HANG_UP_PACKET]),
}
"""Protocol and messages of a connection, by name."""
