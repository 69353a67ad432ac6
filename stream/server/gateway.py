"""Between connections and the pipeline: every connection opens a call or a stream.

The gateway keeps what no protocol knows: names, which connections are the two legs of one call, who is idle, and how
much came from where.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stream.events import Party, ProtocolHealth
from stream.pipeline.pipeline import Pipeline
from stream.server.connection import ClientConnection, Transport
from stream.server.counts import ProtocolCounters
from stream.server.protocols.base import ConnectionProtocol, RejectReason
from stream.settings import ServeSettings
from stream.sinks.clients import ClientsSink
from stream.sources.push import PushSource

LAG_S = 1.0
"""A track that brings nothing for so long, while the other goes on, is silent (switches leave silence out)."""

LONGEST_NAME = 54
"""With the party's name behind it a track's name fits where names may have 64 letters."""


@dataclass(frozen=True, slots=True)
class GatewayStatistics:
    """Counts since the start, and the tracks that are heard now."""

    streams: int
    filled_s: float  # silence that was put in for tracks that left theirs out
    protocols: tuple[ProtocolHealth, ...]


@dataclass(slots=True)
class CallLegs:
    """The tracks of a call that are on the line, and the name it goes by in the pipeline."""

    name: str
    tracks: dict[Party | None, PushSource] = field(default_factory=dict)


class Gateway:
    """All sessions of a run."""

    def __init__(self, *, settings: ServeSettings) -> None:
        self.settings = settings
        self.clients = ClientsSink()
        self.pipeline: Pipeline | None = None
        self.calls: dict[str, CallLegs] = {}  # by the name their connections gave
        self.streams: Counter[str] = Counter()  # by peer
        self.counts: defaultdict[str, ProtocolCounters] = defaultdict(ProtocolCounters)  # by protocol
        self.farewells: set[asyncio.Task[None]] = set()
        self._connections: dict[ClientConnection, str] = {}  # and their peers
        self._filled_s = 0.0
        self._lagging: dict[PushSource, int] = {}  # tracks behind when we last looked, and where they were

    def attach(self, pipeline: Pipeline) -> None:
        """The run that sound is brought to, and that tells what came."""
        self.pipeline = pipeline
        pipeline.listens(lambda: self.statistics().protocols)

    async def serve(self, link: Transport, protocol: ConnectionProtocol, *, peer: str) -> None:
        """One connection, from its first message to its last."""
        counts = self.counts[protocol.name]
        connection = ClientConnection(gateway=self, link=link, protocol=protocol, peer=peer)
        counts.accepted += 1
        counts.open += 1
        self._connections[connection] = peer
        try:
            await connection.run()
        finally:
            counts.open -= 1
            del self._connections[connection]

    def connections_of(self, peer: str) -> int:
        """How many are open from an address."""
        return sum(one == peer for one in self._connections.values())

    def turn_away(self, protocol: str) -> None:
        """Count somebody who was not let in."""
        self.counts[protocol].refused[RejectReason.UNAUTHORIZED.value] += 1

    def enter(self, tracks: Sequence[tuple[Party | None, PushSource]], *, peer: str, key: str, name: str) -> None:
        """Tracks are on the line; those of a call can be found under `key`."""
        self.streams[peer] += len(tracks)
        for party, track in tracks:
            if party is not None:
                track.heard_s = time.monotonic()
                self.calls.setdefault(key, CallLegs(name)).tracks[party] = track

    def leave(self, tracks: Sequence[tuple[Party | None, PushSource]], *, peer: str, key: str) -> None:
        """They are not any more."""
        self.streams[peer] -= len(tracks)
        self.streams += Counter()  # forget peers who have none
        call = self.calls.get(key)
        if call is None:
            return
        for party, track in tracks:
            if call.tracks.get(party) is track:
                del call.tracks[party]
        if not call.tracks:
            del self.calls[key]

    def see_off(self, goodbye: Coroutine[Any, Any, None]) -> None:
        """Let a connection say good-bye, beside whatever else it does."""
        task = asyncio.get_running_loop().create_task(goodbye, name="good-bye")
        self.farewells.add(task)
        task.add_done_callback(self.farewells.discard)

    async def watch(self) -> None:
        """Let idle connections go and fill up tracks that fall silent, for as long as it is not cancelled."""
        pause_s, then_s = min(LAG_S, self.settings.idle_timeout_s) / 2, time.monotonic()
        while True:
            await asyncio.sleep(pause_s)
            before_s, then_s = then_s, time.monotonic()
            if then_s - before_s < pause_s + LAG_S:  # a loop that stood still has not read what lies in the sockets
                for connection in tuple(self._connections):
                    connection.look(then_s)
            self.fill(then_s)

    def fill(self, now_s: float) -> None:
        """A track behind its call's other one by more than `LAG_S`, in sound and on the clock, was silent.

        It must not have moved since we looked last: a loop that stood still has not read what lies in the sockets.
        """
        before, self._lagging = self._lagging, {}
        for call in self.calls.values():
            reached_s, rate_hz = max((track.reached_s, track.rate_hz) for track in call.tracks.values())
            for track in call.tracks.values():
                missing = round((reached_s - LAG_S - track.reached_s) * (track.rate_hz or rate_hz))
                if missing <= 0 or now_s - track.heard_s <= LAG_S or track.is_behind:
                    continue
                self._lagging[track] = track.end_frame
                if before.get(track) == track.end_frame:
                    if not track.rate_hz:  # nothing ever came of it
                        track.tune(rate_hz)
                    self._filled_s += missing / track.rate_hz
                    track.put(track.end_frame, np.zeros(missing, np.float32))

    def statistics(self) -> GatewayStatistics:
        """Counts so far."""
        return GatewayStatistics(
            streams=self.streams.total(),
            filled_s=round(self._filled_s, 3),
            protocols=tuple(counts.health(protocol) for protocol, counts in sorted(self.counts.items())),
        )

    def free_name(self, wish: str) -> str:
        """A name for a call or a stream that nothing else goes by."""
        base = (
            "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in wish)[:LONGEST_NAME] or "call"
        )
        name, count = base, 1
        while self.pipeline is not None and self.pipeline.knows(name):
            count += 1
            name = f"{base}-{count}"
        return name
