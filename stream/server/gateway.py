"""Between connections and the pipeline: every connection is a session, a session opens a call or a stream.

A session feeds what it receives to its protocol and does what that answers. The gateway keeps what no protocol knows:
names, which connections are the two legs of one call, and limits (streams in all and a peer, idle connections, sound
that runs ahead of the clock, clients that do not read). A connection that breaks a limit is closed with its protocol's
own error; nobody else notices. However a connection ends, its sound is flushed and its turns are ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol as Shape

import numpy as np

from stream.errors import SourceError
from stream.events import Party
from stream.pipeline import Pipeline
from stream.rolling.floor import PARTIES
from stream.settings_calls import ServeSettings
from stream.sinks.clients import ClientsSink, Subscription
from stream.sources.track import TrackSource
from stream.sources.wire import Action, Audio, Close, End, Fault, Open, Protocol, Reply, Tune

LAG_S = 1.0
"""A track that brings nothing for so long, while the other goes on, is silent (switches leave silence out)."""

FLUSH_S = 30.0
"""How long the last events of a connection may take."""

LONGEST_NAME = 54
"""With the party's name behind it a track's name fits where names may have 64 letters."""

_FAULTS = {1001: "stopping", 1003: "malformed", 1008: "policy", 1009: "too_big", 1013: "busy"}

log = logging.getLogger(__name__)


class Link(Shape):
    """A connection, whatever carries it."""

    async def receive(self) -> str | bytes | None:
        """The next message; None when the peer has gone."""
        ...

    async def send(self, data: str | bytes) -> None:
        """Send; waits while the peer does not read. Raises `ConnectionError` when it has gone."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close in good order."""
        ...

    def abort(self) -> None:
        """Cut the connection off."""
        ...


@dataclass(frozen=True, slots=True)
class GatewayStatistics:
    """Counts since the start, and what is open now."""

    connections: int
    open: int
    streams: int
    refused: dict[str, int]
    filled_s: float


@dataclass(slots=True)
class _Call:
    """The tracks of a call that are on the line, and the name it goes by in the pipeline."""

    name: str
    tracks: dict[Party | None, TrackSource] = field(default_factory=dict)


class Gateway:
    """All sessions of a run."""

    def __init__(self, *, settings: ServeSettings) -> None:
        self.settings = settings
        self.clients = ClientsSink()
        self.pipeline: Pipeline | None = None
        self.calls: dict[str, _Call] = {}  # by the name their connections gave
        self.streams: Counter[str] = Counter()  # by peer
        self.refused: Counter[str] = Counter()
        self.farewells: set[asyncio.Task[None]] = set()
        self._connections = self._open = 0
        self._filled_s = 0.0
        self._lagging: dict[TrackSource, int] = {}  # tracks behind when we last looked, and where they were

    def attach(self, pipeline: Pipeline) -> None:
        """The run that sound is brought to."""
        self.pipeline = pipeline

    async def serve(self, link: Link, protocol: Protocol, *, peer: str) -> None:
        """One connection, from its first message to its last."""
        self._connections += 1
        self._open += 1
        try:
            await _Session(gateway=self, link=link, protocol=protocol, peer=peer).run()
        finally:
            self._open -= 1

    async def watch(self) -> None:
        """Fill up tracks that fall silent without saying so, for as long as it is not cancelled."""
        while True:
            await asyncio.sleep(LAG_S / 2)
            self.fill(time.monotonic())

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
            connections=self._connections,
            open=self._open,
            streams=self.streams.total(),
            refused=dict(self.refused),
            filled_s=round(self._filled_s, 3),
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


class _Refused(Exception):
    """A limit was broken."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class _Session:
    """One connection."""

    def __init__(self, *, gateway: Gateway, link: Link, protocol: Protocol, peer: str) -> None:
        self._gateway, self._link, self._protocol, self._peer = gateway, link, protocol, peer
        self._settings = gateway.settings
        self._tracks: list[tuple[Party | None, TrackSource]] = []
        self._wish = ""
        self._offset_s = 0.0
        self._offset = 0  # the same in frames, once the rate is known
        self._opened_s = 0.0
        self._subscription: Subscription | None = None
        self._teller: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._done = False

    async def run(self) -> None:
        try:
            while not self._done:
                message = await self._receive()
                actions = self._protocol.hung_up() if message is None else self._protocol.receive(message)
                self._done = self._done or message is None
                await self._perform(actions)
        except ConnectionError:
            log.info("a client has gone")
        finally:
            self._hang_up()
            if self._teller is not None:
                self._teller.cancel()
                await asyncio.gather(self._teller, return_exceptions=True)

    async def _receive(self) -> str | bytes | None:
        try:
            async with asyncio.timeout(self._settings.idle_s):
                message = await self._link.receive()
        except TimeoutError:
            await self._refuse(Fault.IDLE, f"nothing came for {self._settings.idle_s:g} s")
            return None
        if message is not None and len(message) > self._settings.max_message_bytes:
            await self._refuse(Fault.TOO_BIG, f"a message may have {self._settings.max_message_bytes} bytes")
            return None
        return message

    async def _perform(self, actions: Sequence[Action]) -> None:
        try:
            for action in actions:
                await self._do(action)
            for _, track in self._tracks:
                await track.room()
        except _Refused as refusal:
            await self._refuse(refusal.fault, str(refusal))

    async def _do(self, action: Action) -> None:
        match action:
            case Audio():
                self._hear(action)
            case Reply():
                await self._send(action.data)
            case Open():
                await self._open(action)
            case Tune():
                self._tune(action.rate_hz)
            case End():
                await self._end()
            case Close():
                if action.code in _FAULTS:
                    self._gateway.refused[_FAULTS[action.code]] += 1
                self._done = True
                self._hang_up()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.stall_s):
                        await self._link.close(action.code, action.reason[:120])  # a close frame has no room for more

    async def _refuse(self, fault: Fault, message: str) -> None:
        log.warning("a connection from %s is closed: %s", self._peer, message)
        self._done = True
        for action in self._protocol.refuse(fault, message):
            await self._do(action)

    async def _open(self, action: Open) -> None:
        gateway, settings, count = self._gateway, self._settings, len(action.tracks)
        pipeline = gateway.pipeline
        if pipeline is None:
            raise _Refused(Fault.STOPPING, "this node has not begun yet")
        if gateway.streams.total() + count > settings.max_streams:
            raise _Refused(Fault.BUSY, f"{settings.max_streams} streams are heard already")
        if gateway.streams[self._peer] + count > settings.streams_per_peer:
            raise _Refused(Fault.TOO_MANY, f"{settings.streams_per_peer} streams of this peer are heard already")
        self._wish = action.name
        call = gateway.calls.get(action.name) if action.leg else None
        parties = _parties(action, call)
        name = call.name if call is not None else gateway.free_name(action.name)
        if call is not None:  # no clock is shared: a leg begins where the other one is by now
            self._offset_s = max(track.reached_s for track in call.tracks.values())
            self._offset = round(self._offset_s * action.rate_hz)
        tracks = [
            TrackSource(source_id=name, channels=party or "mix", rate_hz=action.rate_hz, on_stop=self._stop)
            for party in parties
        ]
        is_call = parties != (None,)
        if action.events:
            self._subscription = gateway.clients.subscribe(name, is_call=is_call)
            self._teller = asyncio.create_task(self._tell(self._subscription), name=f"client {name}")
        try:
            pipeline.add(*tracks)
        except SourceError as error:
            raise _Refused(Fault.BUSY, str(error)) from None
        self._opened_s = time.monotonic()
        self._tracks = list(zip(parties, tracks, strict=True))
        gateway.streams[self._peer] += count
        if is_call:
            self._register(action, name)
        for reply in self._protocol.started(name):
            await self._do(reply)

    def _register(self, action: Open, name: str) -> None:
        calls = self._gateway.calls
        if not action.leg:
            self._wish = f"\0{name}"  # nobody else can join it
        call = calls.setdefault(self._wish, _Call(name))
        for party, track in self._tracks:
            track.heard_s = self._opened_s
            call.tracks[party] = track

    def _tune(self, rate_hz: int) -> None:
        self._offset = round(self._offset_s * rate_hz)
        for _, track in self._tracks:
            if track.rate_hz not in (0, rate_hz):
                raise _Refused(Fault.MALFORMED, f"the call's sound comes at {track.rate_hz} Hz, not at {rate_hz}")
            track.tune(rate_hz)

    def _hear(self, audio: Audio) -> None:
        if self._done:  # the run was stopped while we waited
            return
        _, track = self._tracks[audio.track]
        track.put(audio.start_frame + self._offset, audio.samples)
        brought_s = track.reached_s - self._offset_s
        if brought_s - (time.monotonic() - self._opened_s) > self._settings.ahead_s:
            raise _Refused(Fault.TOO_FAST, f"the sound is more than {self._settings.ahead_s:g} s ahead of the clock")

    async def _end(self) -> None:
        """The sound has ended: wait for what is still told of it, then say good-bye."""
        self._hang_up(told=True)
        if self._teller is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._teller), FLUSH_S)
        for action in self._protocol.finished():
            await self._do(action)

    def _hang_up(self, *, told: bool = False) -> None:
        """Flush the sound; unless it is still told, nobody listens for events any more."""
        for party, track in self._tracks:
            track.end()
            self._gateway.streams[self._peer] -= 1
            call = self._gateway.calls.get(self._wish)
            if call is not None and call.tracks.get(party) is track:
                del call.tracks[party]
                if not call.tracks:
                    del self._gateway.calls[self._wish]
        self._tracks = []
        self._gateway.streams += Counter()  # forget peers who have none
        if self._subscription is not None and not told:
            self._gateway.clients.leave(self._subscription)

    def _stop(self) -> None:
        """The run stops."""
        task = asyncio.get_running_loop().create_task(self._say_goodbye(), name="good-bye")
        self._gateway.farewells.add(task)
        task.add_done_callback(self._gateway.farewells.discard)

    async def _say_goodbye(self) -> None:
        if not self._done:
            with contextlib.suppress(ConnectionError):
                await self._refuse(Fault.STOPPING, "this node is stopping")

    async def _tell(self, subscription: Subscription) -> None:
        """Events back, until the last; who does not read is cut off."""
        try:
            async for event in subscription:
                for action in self._protocol.tell(event):
                    if isinstance(action, Reply):
                        await self._send(action.data)
        except ConnectionError:
            return

    async def _send(self, data: str | bytes) -> None:
        try:
            async with asyncio.timeout(self._settings.stall_s), self._sending:
                await self._link.send(data)
        except TimeoutError:
            log.warning("a client at %s does not read what it is sent; it is cut off", self._peer)
            self._gateway.refused["stalled"] += 1
            self._link.abort()
            raise ConnectionAbortedError from None


def _parties(action: Open, call: _Call | None) -> tuple[Party | None, ...]:
    """Whose tracks these are; a leg that does not say so is whoever is missing, the customer first."""
    if not action.leg or action.tracks[0] is not None:
        return action.tracks
    there = set(call.tracks) if call is not None else set[Party | None]()
    missing = [party for party in PARTIES if party not in there]
    if not missing:
        raise _Refused(Fault.TOO_MANY, "both parties of this call are on the line already")
    return (missing[0],)
