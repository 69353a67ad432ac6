"""Genesys Cloud's AudioHook, version 2 (pure): a session of numbered JSON messages and binary µ-law.

The client opens with the media it offers; we take 8 kHz PCMU, both channels where there are two. `external` is the
customer, `internal` the agent, interleaved byte by byte. `ping` is answered with `pong`, `discarded` and `resumed`
leave gaps of the length they tell, `close` is answered with `closed` when everything has been told. A session that is
only a probe (null UUIDs) is opened and closed without a call. What was found goes back as `event` messages with
entities of the type `tonewatch`: alerts and ended turns, and with them the call's figures, at most one message a
second. Errors are a `disconnect`.
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
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    CloseConnection,
    ConnectionProtocol,
    EndOfAudio,
    OpenStream,
    ProtocolViolation,
    RejectReason,
    SendMessage,
    Unauthorized,
    get,
    number,
    parse,
)

NULL_UUID = "00000000-0000-0000-0000-000000000000"
RATE_HZ = 8_000
LONGEST_GAP_S = 3_600
MOST_ENTITIES = 64
_DURATION = re.compile(r"PT(\d{1,9}(?:\.\d{1,9})?)S")
_PARTIES: dict[str, Party] = {"external": "customer", "internal": "agent"}


class AudioHookProtocol(ConnectionProtocol):
    """One session. `session` and `organization` are what the request's headers said, where they did."""

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

    def tell(self, event: Event) -> list[Action]:
        """Collect alerts and ended turns; a call's figures take them along."""
        if self.closed or self._probe or self._state == "preparing":
            return []
        if isinstance(event, CallEvent | AlertEvent) or (isinstance(event, TurnEvent) and event.phase == "end"):
            if isinstance(event, CallEvent):  # the newest is enough
                self._entities = [one for one in self._entities if one["data"]["type"] != "call"]
            self._entities = self._entities[-MOST_ENTITIES:]
            self._entities.append({"type": "tonewatch", "data": json.loads(events.to_json(event))})
        return self._flush() if isinstance(event, CallEvent) else []

    def finished(self) -> list[Action]:
        """The rest of what was found, and `closed`; the client closes the connection."""
        return self._seal([*self._flush(), self._say("closed", {}), CloseConnection(1000, "")])

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, bytes):
            return self._hear(message)
        fields = parse(message)
        kind, parameters = self._envelope(fields)
        if self._state == "preparing" and kind not in ("open", "close", "ping", "error"):
            raise ProtocolViolation("a session must begin with open")
        handlers: dict[str, Callable[[dict[str, Any]], list[Action]]] = {
            "open": self._open,
            "close": self._close,
            "ping": lambda _: [self._say("pong", {})],
            "update": lambda _: [self._say("updated", {})],
            "discarded": self._skip,
            "paused": self._pause,
            "resumed": self._resume,
            "error": lambda _: [],
        }
        if kind not in handlers:
            raise ProtocolViolation("that is no message of a client")
        return handlers[kind](parameters)

    def _envelope(self, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if get(fields, "version") != "2":
            raise ProtocolViolation("the version must be 2")
        kind, session = get(fields, "type"), get(fields, "id")
        if number(get(fields, "seq", kind=int), "seq") != self._client_seq + 1:
            raise ProtocolViolation("seq must count up by one")
        self._client_seq += 1
        if number(get(fields, "serverseq", kind=int), "serverseq") > self._seq:
            raise ProtocolViolation("serverseq is of a message that was never sent")
        self._id = self._id or session
        if session != self._id:
            raise ProtocolViolation("the id is of another connection")
        return kind, get(fields, "parameters", kind=dict)

    def _open(self, parameters: dict[str, Any]) -> list[Action]:
        if self._state != "preparing":
            raise ProtocolViolation("a second open came")
        organization = get(parameters, "organizationId")
        if self._organization and organization != self._organization:
            raise Unauthorized("organizationId is not the header's")
        conversation = get(parameters, "conversationId")
        participant = get(parameters, "participant", kind=dict)
        media = _choose(get(parameters, "media", kind=list))
        if media is None:
            raise ProtocolViolation("no PCMU at 8 kHz was offered")
        self._probe = conversation == NULL_UUID and participant.get("id") == NULL_UUID
        self._channels = media["channels"]
        self._state = "open"
        opened = self._say("opened", {"startPaused": False, "media": [media]})
        if self._probe:
            return [opened]
        tracks = tuple(_PARTIES[channel] for channel in self._channels)
        return [OpenStream(conversation, RATE_HZ, tracks, events=True), opened]

    def _close(self, _: dict[str, Any]) -> list[Action]:
        if self._state == "closing":
            return []
        never = self._probe or self._state == "preparing"
        self._state = "closing"
        return self.finished() if never else [EndOfAudio("the conversation has ended")]

    def _hear(self, data: bytes) -> list[Action]:
        if self._state != "open":
            raise ProtocolViolation(f"audio came while the session was {self._state}")
        channels = len(self._channels)
        if len(data) % channels:
            raise ProtocolViolation("the audio is not of whole frames")
        if self._probe or not data:
            return []
        samples = g711.decode(data, "mulaw").reshape(-1, channels)
        start, self._frames = self._frames, self._frames + len(samples)
        return [AudioChunk(track, start, np.ascontiguousarray(samples[:, track])) for track in range(channels)]

    def _pause(self, _: dict[str, Any]) -> list[Action]:
        self._state = "paused" if self._state == "open" else self._state
        return []

    def _resume(self, parameters: dict[str, Any]) -> list[Action]:
        self._state = "open" if self._state == "paused" else self._state
        return self._skip(parameters)

    def _skip(self, parameters: dict[str, Any]) -> list[Action]:
        """Sound was lost, for as long as it says."""
        found = _DURATION.fullmatch(get(parameters, "discarded"))
        if found is None or float(found[1]) > LONGEST_GAP_S:
            raise ProtocolViolation("discarded must be a duration like PT1.5S")
        self._frames += round(float(found[1]) * RATE_HZ)
        return []

    def _flush(self) -> list[Action]:
        if not self._entities:
            return []
        entities, self._entities = self._entities, []
        return [self._say("event", {"entities": entities})]

    def _last_words(self, fault: RejectReason, message: str) -> Sequence[Action]:
        reason = {RejectReason.UNAUTHORIZED: "unauthorized", RejectReason.STOPPING: "completed"}.get(fault, "error")
        return [self._say("disconnect", {"reason": reason, "info": message})]

    def _say(self, kind: str, parameters: dict[str, Any]) -> SendMessage:
        self._seq += 1
        envelope = {"version": "2", "type": kind, "seq": self._seq, "clientseq": self._client_seq, "id": self._id}
        return SendMessage(json.dumps({**envelope, "parameters": parameters}))


def _choose(offered: list[Any]) -> dict[str, Any] | None:
    """The first offer with both channels, else the customer's, else any: PCMU at 8 kHz."""
    fit = []
    for media in offered:
        if not isinstance(media, dict):
            raise ProtocolViolation("media is not a list of objects")
        channels = media.get("channels")
        known = isinstance(channels, list) and 0 < len(channels) == len({str(one) for one in channels})
        if not known or not all(isinstance(one, str) and one in _PARTIES for one in media["channels"]):
            continue
        if (media.get("type"), media.get("format"), media.get("rate")) == ("audio", "PCMU", RATE_HZ):
            fit.append({"type": "audio", "format": "PCMU", "channels": media["channels"], "rate": RATE_HZ})
    fit.sort(key=lambda media: (-len(media["channels"]), "external" not in media["channels"]))
    return fit[0] if fit else None
