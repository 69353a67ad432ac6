"""Genesys Cloud's AudioHook, version 2 (pure): a session of numbered JSON messages and binary µ-law.

The client's `open` offers media formats; the server selects 8 kHz PCMU, with both channels if offered. Channel
`external` is the customer, `internal` the agent; their bytes are interleaved. `ping` is answered with `pong`;
`discarded` and `resumed` leave gaps of the duration they state; `close` is answered with `closed` after the last event.
A probe (null UUIDs) opens and closes a session without a call. Results are sent as `event` messages with entities of
type `tonewatch`: alerts, ended turns and the call's figures, at most one message per second. Errors are sent as
`disconnect`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stream import events
from stream.audio import g711
from stream.events import AlertEvent, CallEvent, Event, Party, TurnEvent
from stream.server.call_labels import read_labels
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    CloseConnection,
    ConnectionProtocol,
    EndOfAudio,
    InterruptAudio,
    Omission,
    OpenStream,
    ProtocolViolation,
    RejectReason,
    SendMessage,
    Unauthorized,
    get_field,
    parse_object,
    to_int,
)

NULL_UUID = "00000000-0000-0000-0000-000000000000"
RATE_HZ = 8_000
MAX_GAP_S = 3_600
MAX_PENDING_ENTITIES = 64
_DURATION = re.compile(r"PT(\d{1,9}(?:\.\d{1,9})?)S")
_PARTIES: dict[str, Party] = {"external": "customer", "internal": "agent"}


class AudioHookProtocol(ConnectionProtocol):
    """State of one session. `session` and `organization` are the values of the request headers, if present."""

    name = "audiohook"

    def __init__(self, *, session: str = "", organization: str = "") -> None:
        super().__init__()
        self._id, self._organization = session, organization
        self._state = "preparing"  # → open ⇄ paused → closing
        self._seq = self._client_seq = 0
        self._channels: list[str] = []
        self._frames = 0
        self._probe = False
        self._entities: list[dict[str, Any]] = []

    def encode_event(self, event: Event) -> list[Action]:
        """Collect alerts and ended turns; send them with the call's next figures."""
        if self.closed or self._probe or self._state == "preparing":
            return []
        if isinstance(event, CallEvent | AlertEvent) or (isinstance(event, TurnEvent) and event.phase == "end"):
            if isinstance(event, CallEvent):  # newer figures replace older ones
                self._entities = [entity for entity in self._entities if entity["data"]["type"] != "call"]
            self._entities = self._entities[-MAX_PENDING_ENTITIES:]
            self._entities.append({"type": "tonewatch", "data": json.loads(events.to_json(event))})
        return self._flush() if isinstance(event, CallEvent) else []

    def audio_finished(self) -> list[Action]:
        """Send the remaining results and `closed`."""
        return self._track_close([*self._flush(), self._message("closed", {}), CloseConnection(1000, "")])

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, bytes):
            return self._receive_audio(message)
        fields = parse_object(message)
        kind, parameters = self._envelope(fields)
        if self._state == "preparing" and kind not in ("open", "close", "ping", "error"):
            raise ProtocolViolation("the first message must be open")
        handlers: dict[str, Callable[[dict[str, Any]], list[Action]]] = {
            "open": self._open,
            "close": self._close,
            "ping": lambda _: [self._message("pong", {})],
            "update": lambda _: [self._message("updated", {})],
            "discarded": self._leave_gap,
            "paused": self._pause,
            "resumed": self._resume,
            "error": lambda _: [],
        }
        if kind not in handlers:
            raise ProtocolViolation("unknown message type")
        return handlers[kind](parameters)

    def _envelope(self, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if get_field(fields, "version") != "2":
            raise ProtocolViolation("the version must be 2")
        kind, session = get_field(fields, "type"), get_field(fields, "id")
        seq = to_int(get_field(fields, "seq", kind=int), "seq")
        if seq <= self._client_seq or (seq > self._client_seq + 1 and not self.is_open):
            raise ProtocolViolation("seq must increase by one")
        self._client_seq = seq  # what lies between was left out
        if to_int(get_field(fields, "serverseq", kind=int), "serverseq") > self._seq:
            raise ProtocolViolation("serverseq refers to a message that was not sent")
        self._id = self._id or session
        if session != self._id:
            raise ProtocolViolation("the id does not match the session")
        return kind, get_field(fields, "parameters", kind=dict)

    def _open(self, parameters: dict[str, Any]) -> list[Action]:
        if self._state != "preparing":
            raise ProtocolViolation("repeated open; send it once per session")
        organization = get_field(parameters, "organizationId")
        if self._organization and organization != self._organization:
            raise Unauthorized("organizationId does not match the request header")
        conversation = get_field(parameters, "conversationId")
        participant = get_field(parameters, "participant", kind=dict)
        media = _select_media(get_field(parameters, "media", kind=list))
        if media is None:
            raise ProtocolViolation("no supported media; offer PCMU at 8000 Hz")
        self._probe = conversation == NULL_UUID and participant.get("id") == NULL_UUID
        self._channels = media["channels"]
        self._state = "open"
        opened = self._message("opened", {"startPaused": False, "media": [media]})
        if self._probe:
            return [opened]
        tracks = tuple(_PARTIES[channel] for channel in self._channels)
        labels = read_labels(participant, parameters.get("customConfig"))
        return [OpenStream(conversation, RATE_HZ, tracks, events=True, labels=labels), opened]

    def _close(self, _: dict[str, Any]) -> list[Action]:
        if self._state == "closing":
            return []
        without_call = self._probe or self._state == "preparing"
        self._state = "closing"
        return self.audio_finished() if without_call else [EndOfAudio("the conversation has ended")]

    def _receive_audio(self, data: bytes) -> list[Action]:
        if self._state != "open":
            raise ProtocolViolation(f"audio while the session is {self._state}")
        channels = len(self._channels)
        actions: list[Action] = []
        if len(data) % channels:
            if not self.is_open:
                raise ProtocolViolation(f"audio must consist of whole frames ({channels} bytes)")
            actions.append(Omission(f"audio must consist of whole frames ({channels} bytes)"))
            data = data[: len(data) // channels * channels]
        if self._probe or not data:
            return actions
        samples = g711.decode(data, "mulaw").reshape(-1, channels)
        start, self._frames = self._frames, self._frames + len(samples)
        chunks = (AudioChunk(track, start, np.ascontiguousarray(samples[:, track])) for track in range(channels))
        return [*actions, *chunks]

    def _pause(self, _: dict[str, Any]) -> list[Action]:
        if self._state != "open":
            return []
        self._state = "paused"
        return [] if self._probe else [InterruptAudio("paused", "paused by the client")]

    def _resume(self, parameters: dict[str, Any]) -> list[Action]:
        was_paused, self._state = self._state == "paused", "open" if self._state == "paused" else self._state
        try:
            actions = self._leave_gap(parameters)
        except ProtocolViolation as violation:  # the audio that follows is valid
            actions = [Omission(str(violation))]
        if was_paused and not self._probe:
            actions.append(InterruptAudio("resumed", "resumed by the client"))
        return actions

    def _leave_gap(self, parameters: dict[str, Any]) -> list[Action]:
        """Leave a gap of the `discarded` duration."""
        match = _DURATION.fullmatch(get_field(parameters, "discarded"))
        if match is None or float(match[1]) > MAX_GAP_S:
            raise ProtocolViolation("discarded must be an ISO 8601 duration such as PT1.5S")
        self._frames += round(float(match[1]) * RATE_HZ)
        return []

    def _flush(self) -> list[Action]:
        if not self._entities:
            return []
        entities, self._entities = self._entities, []
        return [self._message("event", {"entities": entities})]

    def _error_messages(self, reason: RejectReason, message: str) -> Sequence[Action]:
        disconnect = {RejectReason.UNAUTHORIZED: "unauthorized", RejectReason.STOPPING: "completed"}.get(
            reason, "error"
        )
        return [self._message("disconnect", {"reason": disconnect, "info": message})]

    def _message(self, kind: str, parameters: dict[str, Any]) -> SendMessage:
        self._seq += 1
        envelope = {"version": "2", "type": kind, "seq": self._seq, "clientseq": self._client_seq, "id": self._id}
        return SendMessage(json.dumps({**envelope, "parameters": parameters}))


def _select_media(offered: list[Any]) -> dict[str, Any] | None:
    """Select an offer of 8 kHz PCMU: one with both channels, else the customer's, else any."""
    supported = []
    for media in offered:
        if not isinstance(media, dict):
            raise ProtocolViolation("media must be a list of objects")
        channels = media.get("channels")
        known = isinstance(channels, list) and 0 < len(channels) == len({str(channel) for channel in channels})
        if not known or not all(isinstance(channel, str) and channel in _PARTIES for channel in media["channels"]):
            continue
        if (media.get("type"), media.get("format"), media.get("rate")) == ("audio", "PCMU", RATE_HZ):
            supported.append({"type": "audio", "format": "PCMU", "channels": media["channels"], "rate": RATE_HZ})
    supported.sort(key=lambda media: (-len(media["channels"]), "external" not in media["channels"]))
    return supported[0] if supported else None
