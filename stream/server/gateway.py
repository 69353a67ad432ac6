"""The gateway between network connections and the pipeline: every connection opens a call or a stream.

It holds what concerns several connections: unique names, which connections are the two legs of one call, idle
connections, limits, and statistics.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream.events import CallChange, ProtocolHealth
from stream.events.text import identifier
from stream.pipeline.pipeline import Pipeline
from stream.server.attempts import FailedAttempts
from stream.server.buffers import BufferBudget
from stream.server.call_labels import AnnouncedCalls, masked, transfer_text
from stream.server.call_legs import CallLegs, PartyTracks, own_key
from stream.server.connection import ClientConnection
from stream.server.counts import ProtocolCounters
from stream.server.interfaces import Transport
from stream.server.memory import MemoryRelease
from stream.server.protocols.base import ConnectionProtocol, RejectReason
from stream.server.refusals import RefusalLog
from stream.settings import ServeSettings
from stream.sinks.clients import ClientsSink
from stream.sources.push import PushSource

MAX_LAG_S = 1.0
"""A track that lags behind the call's other track by more is filled with silence: switches omit silent packets."""

MAX_NAME_CHARACTERS = 54
"""Leaves space for the party's suffix within the 64 characters of a track's name."""


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayStatistics:
    """Counts since the start, and the number of connected tracks."""

    streams: int
    filled_s: float  # silence inserted into tracks that omitted it
    protocols: tuple[ProtocolHealth, ...]


class Gateway:
    """All connections of a run."""

    def __init__(self, *, settings: ServeSettings) -> None:
        self.settings = settings
        self.clients = ClientsSink()
        self.pipeline: Pipeline | None = None
        self.is_draining = False  # no more calls are taken
        self.emptied = asyncio.Event()  # set when the last track is removed
        self.calls: dict[str, CallLegs] = {}  # by the key that their connections have in common
        self.closing_tasks: set[asyncio.Task[None]] = set()
        self._streams: Counter[str] = Counter()  # by peer
        self._counters: defaultdict[str, ProtocolCounters] = defaultdict(ProtocolCounters)  # by protocol
        self._connections: dict[ClientConnection, str] = {}  # and their peers
        self.buffers = BufferBudget(max_bytes=settings.buffer_mb * 1e6)
        self._memory = MemoryRelease()
        self._refusals = RefusalLog()
        self._attempts = FailedAttempts()
        self._announced = AnnouncedCalls()
        self._filled_s = 0.0
        self._lagging: dict[PushSource, int] = {}  # tracks that lagged at the last check, and their end frames

    def attach(self, pipeline: Pipeline) -> None:
        """Set the pipeline that receives the streams; its `health` events include the gateway's statistics."""
        self.pipeline = pipeline
        pipeline.set_protocol_health(lambda: self.statistics().protocols)

    async def serve(self, transport: Transport, protocol: ConnectionProtocol, *, peer: str) -> None:
        """Serve one connection until it ends."""
        counters = self._counters[protocol.name]
        connection = ClientConnection(
            gateway=self, counters=counters, transport=transport, protocol=protocol, peer=peer
        )
        counters.accepted += 1
        counters.open += 1
        self._connections[connection] = peer
        try:
            await connection.run()
        finally:
            counters.open -= 1
            del self._connections[connection]

    def connections_of(self, peer: str) -> int:
        """Count the open connections of an address that have proved who they are."""
        return sum(address == peer and connection.is_proven for connection, address in self._connections.items())

    def streams_of(self, peer: str) -> int:
        """Count the tracks of an address."""
        return self._streams[peer]

    def total_streams(self) -> int:
        """Count the tracks of all connections."""
        return self._streams.total()

    def count_rejected(self, protocol: str, *, peer: str, message: str) -> float:
        """Count and log a connection that was rejected as unauthorized before it was accepted.

        Returns how long its answer is to be delayed.
        """
        self.count_refused(protocol, RejectReason.UNAUTHORIZED, peer=peer, message=message)
        return self._attempts.add(peer, time.monotonic())

    def count_refused(self, protocol: str, reason: RejectReason, *, peer: str, message: str) -> None:
        """Count and log a connection that its server refused or ended."""
        self._counters[protocol].rejected[reason.value] += 1
        self.note_refusal(protocol, peer=peer, reason=reason.value, message=message)

    def note_refusal(self, protocol: str, *, peer: str, reason: str, message: str) -> None:
        """Log a connection that was refused or ended, and keep it for `health` events."""
        self._refusals.add(protocol=protocol, peer=peer, reason=reason, message=message, now_s=time.time())

    def describe(self, key: str, labels: Mapping[str, str], change: CallChange | None = None) -> bool:
        """Set labels of a call, and put it on hold, retrieve or transfer it; returns whether it is connected.

        `key` is what its connections have in common, or its name in events.
        """
        call = self.calls.get(key) or self.calls.get(own_key(key))
        if labels:
            self._announced.set(key, labels)
        if call is None:
            return False
        if change is not None:
            call.change(change)
        given = self.labels_of(key, {})
        for track in call.tracks.values():
            if change == "transfer":
                track.describe(given, transfer_text(track.labels, {**track.labels, **given}), change)
            elif labels:
                track.describe(given)
        return True

    def labels_of(self, key: str, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels of a call: what its own connection says, and what was announced."""
        found = {**self._announced.get(key), **labels}
        return masked(found) if self.settings.mask_numbers else found

    def find_call(self, key: str) -> CallLegs | None:
        """Return the call that connections joined under `key`."""
        return self.calls.get(key)

    def register(self, tracks: PartyTracks, *, peer: str, key: str, name: str) -> None:
        """Add the tracks of a connection; those of a call are found under `key`."""
        self._streams[peer] += len(tracks)
        self.buffers.tracks = self.total_streams()
        for party, track in tracks:
            if party is not None:
                track.received_s = time.monotonic()
                self.calls.setdefault(key, CallLegs(name)).add(party, track)

    def unregister(self, tracks: PartyTracks, *, peer: str, key: str) -> None:
        """Remove the tracks of a connection, and the call with its last track."""
        self._streams[peer] -= len(tracks)
        self._streams += Counter()  # removes peers without streams
        self.buffers.tracks = self.total_streams()
        self._memory.note_ended(len(tracks))
        if not self.total_streams():
            self.emptied.set()
        call = self.calls.get(key)
        if call is None:
            return
        for party, track in tracks:
            if party is not None and call.tracks.get(party) is track:
                del call.tracks[party]
        if not call.tracks:
            del self.calls[key]

    def schedule_close(self, closing: Coroutine[Any, Any, None]) -> None:
        """Run `closing` as a task of its own; the listener waits for it on shutdown."""
        task = asyncio.get_running_loop().create_task(closing, name="close connection")
        self.closing_tasks.add(task)
        task.add_done_callback(self.closing_tasks.discard)

    async def run_housekeeping(self) -> None:
        """Close idle connections and fill silent tracks periodically, until cancelled."""
        interval_s, now_s = min(MAX_LAG_S, self.settings.idle_timeout_s) / 2, time.monotonic()
        while True:
            await asyncio.sleep(interval_s)
            previous_s, now_s = now_s, time.monotonic()
            if now_s - previous_s < interval_s + MAX_LAG_S:  # a delayed event loop has not read its sockets yet
                for connection in tuple(self._connections):
                    self._check(connection, now_s)
            self.fill_silence(now_s)
            if self._memory.is_due(open_tracks=self.total_streams(), now_s=now_s):
                await self._memory.release(now_s)

    def _check(self, connection: ClientConnection, now_s: float) -> None:
        try:
            connection.check_idle(now_s)
            connection.check_audio(now_s)
        except Exception:  # a defect in one connection; the others are to be checked as well
            log.exception("a connection could not be checked; it is closed")
            connection.abort()

    def fill_silence(self, now_s: float) -> None:
        """Fill tracks that lag behind their call by more than `MAX_LAG_S`, in media time and on the clock.

        A track is filled at the second check in a row that finds it unchanged: a delayed event loop has not read its
        sockets at the first one.
        """
        previous, self._lagging = self._lagging, {}
        for call in self.calls.values():
            end_s, rate_hz = max((track.end_s, track.rate_hz) for track in call.tracks.values())
            for track in call.tracks.values():
                missing = round((end_s - MAX_LAG_S - track.end_s) * (track.rate_hz or rate_hz))
                if missing <= 0 or now_s - track.received_s <= MAX_LAG_S or track.is_behind:
                    continue
                self._lagging[track] = track.end_frame
                if previous.get(track) == track.end_frame:
                    if not track.rate_hz:  # no audio yet
                        track.set_rate(rate_hz)
                    self._filled_s += missing / track.rate_hz
                    track.interrupt("resumed", "the other party's audio goes on")
                    track.put(track.end_frame, np.zeros(missing, np.float32))

    def statistics(self) -> GatewayStatistics:
        """Return the statistics since the start."""
        return GatewayStatistics(
            streams=self._streams.total(),
            filled_s=round(self._filled_s, 3),
            protocols=tuple(
                counters.health(protocol, self._refusals.newest(protocol))
                for protocol, counters in sorted(self._counters.items())
            ),
        )

    def unique_name(self, requested: str) -> str:
        """Return a valid name for a call or a stream that the pipeline does not use yet, similar to `requested`."""
        base = identifier(requested)[:MAX_NAME_CHARACTERS] or "call"
        name, count = base, 1
        while self.pipeline is not None and self.pipeline.is_name_taken(name):
            count += 1
            name = f"{base}-{count}"
        return name
