"""One connection, from its first message to its last: what comes goes to its protocol, and what that answers is done.

A connection that breaks a limit is closed with its protocol's own error; nobody else notices. However it ends, its
sound is flushed and its turns are ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from stream.calls.floor import PARTIES
from stream.errors import SourceError
from stream.events import Party
from stream.server.counts import ProtocolCounters
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    CloseConnection,
    ConnectionProtocol,
    EndOfAudio,
    OpenStream,
    RejectReason,
    SendMessage,
    SetRate,
)
from stream.sinks.clients import Subscription
from stream.sources.push import PushSource

if TYPE_CHECKING:
    from stream.server.gateway import CallLegs, Gateway

FLUSH_S = 30.0
"""How long the last events of a connection may take."""

log = logging.getLogger(__name__)


class Transport(Protocol):
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


class _Rejected(Exception):
    """A limit was broken."""

    def __init__(self, fault: RejectReason, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class ClientConnection:
    """One connection. The gateway looks after it (`look`) and counts what it brings."""

    def __init__(self, *, gateway: Gateway, link: Transport, protocol: ConnectionProtocol, peer: str) -> None:
        self._gateway, self._link, self._protocol, self._peer = gateway, link, protocol, peer
        self._settings = gateway.settings
        self._counts: ProtocolCounters = gateway.counts[protocol.name]
        self._tracks: list[tuple[Party | None, PushSource]] = []
        self._key = ""  # of the call that others may join
        self._offset_s = 0.0
        self._offset = 0  # the same in frames, once the rate is known
        self._opened_s = 0.0
        self._subscription: Subscription | None = None
        self._teller: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._began_s = self._heard_s = time.monotonic()
        self._messages = 0
        self._listening = False  # for the next message
        self._done = False

    async def run(self) -> None:
        """Until either side goes."""
        most = self._settings.streams_per_peer
        try:
            if self._gateway.connections_of(self._peer) > most:
                await self.refuse(RejectReason.TOO_MANY, f"{most} connections of this peer are open already")
            while not self._done:
                self._listening = True
                message = await self._link.receive()
                self._listening, self._heard_s = False, time.monotonic()
                if message is None:
                    self._done = True
                    await self._perform(self._protocol.hung_up())
                else:
                    await self._take(message)
        except ConnectionError:
            log.info("a client has gone")
        finally:
            self._hang_up()
            if self._teller is not None:
                self._teller.cancel()
                await asyncio.gather(self._teller, return_exceptions=True)

    def look(self, now_s: float) -> None:
        """Let it go if nothing comes, or nothing comes of it. To be called again and again."""
        idle_timeout_s = self._settings.idle_timeout_s
        if self._done or not self._listening:  # who is held back cannot be blamed for saying nothing
            return
        if now_s - self._heard_s > idle_timeout_s:
            self._let_go(RejectReason.IDLE, f"nothing came for {idle_timeout_s:g} s")
        elif not self._tracks and not self._opened_s and now_s - self._began_s > idle_timeout_s:
            self._let_go(RejectReason.IDLE, f"no sound was announced for {idle_timeout_s:g} s")

    async def refuse(self, fault: RejectReason, message: str) -> None:
        """Close it with the protocol's own error."""
        log.warning("a connection from %s is closed: %s", self._peer, message)
        self._done = True
        for action in self._protocol.refuse(fault, message):
            await self._do(action)

    async def _take(self, message: str | bytes) -> None:
        settings = self._settings
        self._messages += 1
        self._counts.messages += 1
        self._counts.bytes += len(message)
        if len(message) > settings.max_message_bytes:
            await self.refuse(RejectReason.TOO_BIG, f"a message may have {settings.max_message_bytes} bytes")
        elif self._messages > settings.messages_per_s * (self._heard_s - self._began_s + settings.max_ahead_s):
            await self.refuse(RejectReason.TOO_FAST, f"more than {settings.messages_per_s} messages a second came")
        else:
            await self._perform(self._protocol.receive(message))

    async def _perform(self, actions: Sequence[Action]) -> None:
        try:
            for action in actions:
                if isinstance(action, AudioChunk):  # thousands a second: not worth a coroutine each
                    self._hear(action)
                else:
                    await self._do(action)
            for _, track in self._tracks:
                await track.room()
        except _Rejected as refusal:
            await self.refuse(refusal.fault, str(refusal))

    async def _do(self, action: Action) -> None:
        match action:
            case AudioChunk():
                self._hear(action)
            case SendMessage():
                await self._send(action.data)
            case OpenStream():
                await self._open(action)
            case SetRate():
                self._tune(action.rate_hz)
            case EndOfAudio():
                await self._end()
            case CloseConnection():
                if action.fault is not None:
                    self._counts.refused[action.fault.value] += 1
                self._done = True
                self._hang_up()
                try:
                    async with asyncio.timeout(self._settings.write_timeout_s):
                        await self._link.close(action.code, action.reason[:120])  # a close frame has no room for more
                except TimeoutError:  # it does not even read that
                    self._link.abort()

    async def _open(self, action: OpenStream) -> None:
        gateway, settings, count = self._gateway, self._settings, len(action.tracks)
        pipeline = gateway.pipeline
        if pipeline is None:
            raise _Rejected(RejectReason.STOPPING, "this node has not begun yet")
        if gateway.streams.total() + count > settings.max_streams:
            raise _Rejected(RejectReason.BUSY, f"{settings.max_streams} streams are heard already")
        if gateway.streams[self._peer] + count > settings.streams_per_peer:
            raise _Rejected(
                RejectReason.TOO_MANY, f"{settings.streams_per_peer} streams of this peer are heard already"
            )
        call = gateway.calls.get(action.name) if action.leg else None
        parties = _parties(action, call)
        name = call.name if call is not None else gateway.free_name(action.name)
        if call is not None:  # no clock is shared: a leg begins where the other one is by now
            self._offset_s = max(track.reached_s for track in call.tracks.values())
            self._offset = round(self._offset_s * action.rate_hz)
        tracks = [
            PushSource(source_id=name, channels=party or "mix", rate_hz=action.rate_hz, on_stop=self._stop)
            for party in parties
        ]
        is_call = parties != (None,)
        if action.events:
            self._subscription = gateway.clients.subscribe(name, is_call=is_call)
            self._teller = asyncio.create_task(self._tell(self._subscription), name=f"client {name}")
        try:
            pipeline.add(*tracks)
        except SourceError as error:
            raise _Rejected(RejectReason.BUSY, str(error)) from None
        self._opened_s = time.monotonic()
        self._tracks = list(zip(parties, tracks, strict=True))
        self._key = action.name if action.leg else f"\0{name}"  # what is no leg nobody else can join
        gateway.enter(self._tracks, peer=self._peer, key=self._key, name=name)
        for reply in self._protocol.started(name):
            await self._do(reply)

    def _tune(self, rate_hz: int) -> None:
        self._offset = round(self._offset_s * rate_hz)
        for _, track in self._tracks:
            if track.rate_hz not in (0, rate_hz):
                raise _Rejected(
                    RejectReason.MALFORMED, f"the call's sound comes at {track.rate_hz} Hz, not at {rate_hz}"
                )
            track.tune(rate_hz)

    def _hear(self, audio: AudioChunk) -> None:
        if self._done:  # the run was stopped while we waited
            return
        _, track = self._tracks[audio.track]
        start_frame = audio.start_frame + self._offset
        if 0 < track.end_frame < start_frame:
            self._counts.gaps += 1
            self._counts.lost_s += (start_frame - track.end_frame) / track.rate_hz
        track.put(start_frame, audio.samples)
        brought_s = track.reached_s - self._offset_s
        if brought_s - (time.monotonic() - self._opened_s) > self._settings.max_ahead_s:
            raise _Rejected(
                RejectReason.TOO_FAST, f"the sound is more than {self._settings.max_ahead_s:g} s ahead of the clock"
            )

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
        for _, track in self._tracks:
            track.end()
        self._gateway.leave(self._tracks, peer=self._peer, key=self._key)
        self._tracks = []
        if self._subscription is not None and not told:
            self._gateway.clients.leave(self._subscription)

    def _stop(self) -> None:
        """The run stops."""
        self._let_go(RejectReason.STOPPING, "this node is stopping")

    def _let_go(self, fault: RejectReason, message: str) -> None:
        self._gateway.see_off(self._say_goodbye(fault, message))

    async def _say_goodbye(self, fault: RejectReason, message: str) -> None:
        if not self._done:
            with contextlib.suppress(ConnectionError):
                await self.refuse(fault, message)

    async def _tell(self, subscription: Subscription) -> None:
        """Events back, until the last; who does not read is cut off."""
        try:
            async for event in subscription:
                for action in self._protocol.tell(event):
                    if isinstance(action, SendMessage):
                        await self._send(action.data)
        except ConnectionError:
            return

    async def _send(self, data: str | bytes) -> None:
        try:
            async with asyncio.timeout(self._settings.write_timeout_s), self._sending:
                await self._link.send(data)
        except TimeoutError:
            log.warning("a client at %s does not read what it is sent; it is cut off", self._peer)
            self._counts.refused["stalled"] += 1
            self._link.abort()
            raise ConnectionAbortedError from None


def _parties(action: OpenStream, call: CallLegs | None) -> tuple[Party | None, ...]:
    """Whose tracks these are; a leg that does not say so is whoever is missing, the customer first."""
    if not action.leg or action.tracks[0] is not None:
        return action.tracks
    there = set(call.tracks) if call is not None else set[Party | None]()
    missing = [party for party in PARTIES if party not in there]
    if not missing:
        raise _Rejected(RejectReason.TOO_MANY, "both parties of this call are on the line already")
    return (missing[0],)
