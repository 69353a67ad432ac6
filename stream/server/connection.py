"""One client connection: passes received messages to its protocol and performs the actions that the protocol returns.

A connection that exceeds a limit is closed with its protocol's own error; other connections are not affected. However a
connection ends, its audio is flushed and its open turns are ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from stream.calls.floor import PARTIES
from stream.errors import SourceError
from stream.events import Party
from stream.server.call_legs import CallLegs
from stream.server.counts import ProtocolCounters
from stream.server.interfaces import ConnectionContext, Transport
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

FLUSH_TIMEOUT_S = 30.0
"""Maximum time for sending the remaining events after the end of the audio."""

MAX_CLOSE_REASON_CHARACTERS = 120
"""A WebSocket close frame holds 123 bytes of text (RFC 6455)."""

log = logging.getLogger(__name__)


class _Rejected(Exception):
    """A limit was exceeded."""

    def __init__(self, reason: RejectReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ClientConnection:
    """One connection. Its gateway calls `check_idle` periodically."""

    def __init__(
        self,
        *,
        gateway: ConnectionContext,
        counters: ProtocolCounters,
        transport: Transport,
        protocol: ConnectionProtocol,
        peer: str,
    ) -> None:
        self._gateway, self._transport, self._protocol, self._peer = gateway, transport, protocol, peer
        self._settings = gateway.settings
        self._counters = counters
        self._tracks: list[tuple[Party | None, PushSource]] = []
        self._key = ""  # of the call, for further connections
        self._offset_s = 0.0  # start of this connection's audio within the call
        self._offset_frames = 0  # the same, once the rate is known
        self._opened_s = 0.0
        self._subscription: Subscription | None = None
        self._event_task: asyncio.Task[None] | None = None
        self._send_lock = asyncio.Lock()
        self._started_s = self._received_s = time.monotonic()
        self._messages = 0
        self._is_receiving = False
        self._done = False

    async def run(self) -> None:
        """Serve the connection until either side closes it."""
        limit = self._settings.streams_per_peer
        try:
            if self._gateway.connections_of(self._peer) > limit:
                await self.reject(
                    RejectReason.TOO_MANY, f"connection limit per address reached (serve.streams_per_peer = {limit})"
                )
            while not self._done:
                self._is_receiving = True
                message = await self._transport.receive()
                self._is_receiving, self._received_s = False, time.monotonic()
                if message is None:
                    self._done = True
                    await self._perform_all(self._protocol.peer_closed())
                else:
                    await self._process(message)
        except ConnectionError:
            log.info("client %s disconnected", self._peer)
        finally:
            self._release_tracks()
            if self._event_task is not None:
                self._event_task.cancel()
                await asyncio.gather(self._event_task, return_exceptions=True)

    def check_idle(self, now_s: float) -> None:
        """Close the connection if it sends no data, or opens no stream, for `serve.idle_timeout_s`."""
        timeout_s = self._settings.idle_timeout_s
        if self._done or not self._is_receiving:  # back-pressure: the peer cannot send
            return
        if now_s - self._received_s > timeout_s:
            self._close_later(RejectReason.IDLE, f"idle timeout: no data for {timeout_s:g} s (serve.idle_timeout_s)")
        elif not self._tracks and not self._opened_s and now_s - self._started_s > timeout_s:
            self._close_later(
                RejectReason.IDLE, f"idle timeout: no stream opened for {timeout_s:g} s (serve.idle_timeout_s)"
            )

    async def reject(self, reason: RejectReason, message: str) -> None:
        """Close the connection with the protocol's own error."""
        log.warning("closing the connection from %s: %s", self._peer, message)
        self._done = True
        for action in self._protocol.reject(reason, message):
            await self._perform(action)

    async def _process(self, message: str | bytes) -> None:
        settings = self._settings
        self._messages += 1
        self._counters.messages += 1
        self._counters.bytes += len(message)
        if len(message) > settings.max_message_bytes:
            limit = settings.max_message_bytes
            await self.reject(
                RejectReason.TOO_BIG,
                f"message too long: {len(message)} bytes, at most {limit} (serve.max_message_bytes)",
            )
        elif self._messages > settings.messages_per_s * (self._received_s - self._started_s + settings.max_ahead_s):
            await self.reject(
                RejectReason.TOO_FAST,
                f"more than {settings.messages_per_s} messages per second (serve.messages_per_s)",
            )
        else:
            await self._perform_all(self._protocol.receive(message))

    async def _perform_all(self, actions: Sequence[Action]) -> None:
        try:
            for action in actions:
                if isinstance(action, AudioChunk):  # thousands per second: saves a coroutine each
                    self._put_audio(action)
                else:
                    await self._perform(action)
            for _, track in self._tracks:
                await track.wait_for_capacity()
        except _Rejected as rejected:
            await self.reject(rejected.reason, str(rejected))

    async def _perform(self, action: Action) -> None:
        match action:
            case AudioChunk():
                self._put_audio(action)
            case SendMessage():
                await self._send(action.data)
            case OpenStream():
                await self._open(action)
            case SetRate():
                self._set_rate(action.rate_hz)
            case EndOfAudio():
                await self._end_audio()
            case CloseConnection():
                await self._close(action)

    async def _close(self, action: CloseConnection) -> None:
        if action.reject_reason is not None:
            self._counters.rejected[action.reject_reason.value] += 1
        self._done = True
        self._release_tracks()
        try:
            async with asyncio.timeout(self._settings.write_timeout_s):
                await self._transport.close(action.code, action.reason[:MAX_CLOSE_REASON_CHARACTERS])
        except TimeoutError:  # the peer does not read
            self._transport.abort()

    async def _open(self, action: OpenStream) -> None:
        gateway = self._gateway
        pipeline = gateway.pipeline
        if pipeline is None:
            raise _Rejected(RejectReason.STOPPING, "node is starting; retry later")
        self._check_limits(len(action.tracks))
        call = gateway.find_call(action.name) if action.leg else None
        parties = _parties(action, call)
        name = call.name if call is not None else gateway.unique_name(action.name)
        if call is not None:  # legs share no clock: this one starts at the current end of the other
            self._offset_s = max(track.end_s for track in call.tracks.values())
            self._offset_frames = round(self._offset_s * action.rate_hz)
        tracks = [
            PushSource(source_id=name, channels=party or "mix", rate_hz=action.rate_hz, on_stop=self._on_stop)
            for party in parties
        ]
        if action.events:
            self._subscription = gateway.clients.subscribe(name, is_call=parties != (None,))
            self._event_task = asyncio.create_task(self._send_events(self._subscription), name=f"client {name}")
        try:
            pipeline.add(*tracks)
        except SourceError as error:
            raise _Rejected(RejectReason.BUSY, str(error)) from None
        self._opened_s = time.monotonic()
        self._tracks = list(zip(parties, tracks, strict=True))
        self._key = action.name if action.leg else f"\0{name}"  # a key that no leg can have
        gateway.register(self._tracks, peer=self._peer, key=self._key, name=name)
        for reply in self._protocol.stream_opened(name):
            await self._perform(reply)

    def _check_limits(self, count: int) -> None:
        """Raises `_Rejected` if `count` more tracks exceed a limit."""
        settings = self._settings
        if self._gateway.total_streams() + count > settings.max_streams:
            raise _Rejected(RejectReason.BUSY, f"stream limit reached (serve.max_streams = {settings.max_streams})")
        if self._gateway.streams_of(self._peer) + count > settings.streams_per_peer:
            raise _Rejected(
                RejectReason.TOO_MANY,
                f"stream limit per address reached (serve.streams_per_peer = {settings.streams_per_peer})",
            )

    def _set_rate(self, rate_hz: int) -> None:
        self._offset_frames = round(self._offset_s * rate_hz)
        for _, track in self._tracks:
            if track.rate_hz not in (0, rate_hz):
                raise _Rejected(
                    RejectReason.MALFORMED, f"sample rate {rate_hz} Hz; the call's audio has {track.rate_hz} Hz"
                )
            track.set_rate(rate_hz)

    def _put_audio(self, audio: AudioChunk) -> None:
        if self._done:  # the run stopped meanwhile
            return
        _, track = self._tracks[audio.track]
        start_frame = audio.start_frame + self._offset_frames
        if 0 < track.end_frame < start_frame:
            self._counters.gaps += 1
            self._counters.lost_s += (start_frame - track.end_frame) / track.rate_hz
        track.put(start_frame, audio.samples)
        received_s = track.end_s - self._offset_s
        if received_s - (time.monotonic() - self._opened_s) > self._settings.max_ahead_s:
            raise _Rejected(
                RejectReason.TOO_FAST,
                f"audio is more than {self._settings.max_ahead_s:g} s ahead of real time (serve.max_ahead_s)",
            )

    async def _end_audio(self) -> None:
        """End the tracks, send the remaining events, then close."""
        self._release_tracks(keep_subscription=True)
        if self._event_task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._event_task), FLUSH_TIMEOUT_S)
        for action in self._protocol.audio_finished():
            await self._perform(action)

    def _release_tracks(self, *, keep_subscription: bool = False) -> None:
        """End and unregister the tracks; unless `keep_subscription`, cancel the subscription to events."""
        for _, track in self._tracks:
            track.end()
        self._gateway.unregister(self._tracks, peer=self._peer, key=self._key)
        self._tracks = []
        if self._subscription is not None and not keep_subscription:
            self._gateway.clients.unsubscribe(self._subscription)

    def _on_stop(self) -> None:
        """Close the connection because the run stops its tracks."""
        self._close_later(RejectReason.STOPPING, "node is shutting down; reconnect later")

    def _close_later(self, reason: RejectReason, message: str) -> None:
        self._gateway.schedule_close(self._reject_if_open(reason, message))

    async def _reject_if_open(self, reason: RejectReason, message: str) -> None:
        if not self._done:
            with contextlib.suppress(ConnectionError):
                await self.reject(reason, message)

    async def _send_events(self, subscription: Subscription) -> None:
        """Send the events of the connection's call or stream until the last one."""
        try:
            async for event in subscription:
                for action in self._protocol.encode_event(event):
                    if isinstance(action, SendMessage):
                        await self._send(action.data)
        except ConnectionError:
            return

    async def _send(self, data: str | bytes) -> None:
        """Send a message. Aborts the connection and raises `ConnectionAbortedError` if the peer does not read."""
        try:
            async with asyncio.timeout(self._settings.write_timeout_s), self._send_lock:
                await self._transport.send(data)
        except TimeoutError:
            log.warning("client %s does not read; connection aborted", self._peer)
            self._counters.rejected["stalled"] += 1
            self._transport.abort()
            raise ConnectionAbortedError from None


def _parties(action: OpenStream, call: CallLegs | None) -> tuple[Party | None, ...]:
    """Return the parties of the tracks; a leg without a party is the first party that the call lacks."""
    if not action.leg or action.tracks[0] is not None:
        return action.tracks
    connected = set(call.tracks) if call is not None else set[Party]()
    missing = [party for party in PARTIES if party not in connected]
    if not missing:
        raise _Rejected(RejectReason.TOO_MANY, "both parties of this call are already connected")
    return (missing[0],)
