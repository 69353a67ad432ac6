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

from stream.errors import SourceError
from stream.events import Outcome, Party
from stream.server.call_legs import choose_parties, own_key
from stream.server.counts import ProtocolCounters
from stream.server.intake import AudioIntake
from stream.server.interfaces import ConnectionContext, Transport
from stream.server.limits import LimitExceeded, check_streams, close_reason
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    ChangeCall,
    CloseConnection,
    ConnectionProtocol,
    EndOfAudio,
    InterruptAudio,
    Omission,
    OpenStream,
    RejectReason,
    SendMessage,
    SetRate,
)
from stream.server.sockets import PROOF_TIMEOUT_S
from stream.sinks.clients import Subscription
from stream.sources.push import PushSource

FLUSH_TIMEOUT_S = 30.0
"""Maximum time for sending the remaining events after the end of the audio."""

DEFECT = "the connection failed inside the node; its log has the details"

log = logging.getLogger(__name__)


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
        self._intake = AudioIntake(timestamped=protocol.timestamped, counters=counters)
        self._tracks: list[tuple[Party | None, PushSource]] = []
        self._key = ""  # of the call, for further connections
        self._opened_s = 0.0
        self._left_out = 0  # malformed messages
        self._ending: tuple[str, Outcome] = ("the connection was lost", "cut")
        self._subscription: Subscription | None = None
        self._event_task: asyncio.Task[None] | None = None
        self._send_lock = asyncio.Lock()
        self._started_s = self._received_s = time.monotonic()
        self._is_receiving = False
        self._done = False

    @property
    def is_proven(self) -> bool:
        """Whether the client has proved who it is."""
        return self._transport.slot.is_proven

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
                message = await self._receive()
                self._is_receiving, self._received_s = False, time.monotonic()
                if message is None:
                    self._done = True
                    await self._perform_all(self._protocol.peer_closed())
                else:
                    await self._process(message)
        except ConnectionError:
            log.info("client %s disconnected", self._peer)
        except Exception:  # a defect; other connections have nothing to do with it
            log.exception("%s connection from %s failed", self._protocol.name, self._peer)
            await self._reject_if_open(RejectReason.INTERNAL, DEFECT)
        finally:
            self._release_tracks()
            if self._event_task is not None:
                self._event_task.cancel()
                await asyncio.gather(self._event_task, return_exceptions=True)

    async def _receive(self) -> str | bytes | None:
        """Return the next message; None at the end, whether the client has closed or the connection is lost."""
        try:
            message = await self._transport.receive()
        except ConnectionError:
            return None
        if message is None and not self._done:
            self._ending = ("the client closed the connection", "hung_up")
        return message

    def abort(self) -> None:
        """Close at once, without the protocol's own error."""
        self._done = True
        self._transport.abort()

    def check_idle(self, now_s: float) -> None:
        """Close the connection if it sends no data, or opens no stream, for `serve.idle_timeout_s`."""
        timeout_s = self._settings.idle_timeout_s
        if not self.is_proven:
            timeout_s = min(timeout_s, PROOF_TIMEOUT_S)
        if self._done or not self._is_receiving:  # back-pressure: the peer cannot send
            return
        if now_s - self._received_s > timeout_s:
            self._close_later(RejectReason.IDLE, f"idle timeout: no data for {timeout_s:g} s (serve.idle_timeout_s)")
        elif not self._tracks and not self._opened_s and now_s - self._started_s > timeout_s:
            self._close_later(
                RejectReason.IDLE, f"idle timeout: no stream opened for {timeout_s:g} s (serve.idle_timeout_s)"
            )

    def check_audio(self, now_s: float) -> None:
        """Find out whether the audio has stalled, and whether its pace is that of the clock."""
        if self._done or not self._tracks or not self._is_receiving:  # back-pressure: the peer cannot send
            return
        call = self._gateway.find_call(self._key)
        tracks = call.tracks.values() if call is not None else [track for _, track in self._tracks]
        self._intake.check(now_s, max(track.received_s for track in tracks))
        if (pace := self._intake.new_pace(now_s)) is not None:
            name = self._tracks[0][1].id
            log.warning("%s: audio arrives at %.1f times real time; %s", name, pace, self._protocol.pace_hint)

    async def reject(self, reason: RejectReason, message: str) -> None:
        """Close the connection with the protocol's own error."""
        if reason is not RejectReason.STOPPING:
            self._note_refusal(reason, message)
        self._done = True
        for action in self._protocol.reject(reason, message):
            await self._perform(action)

    async def _process(self, message: str | bytes) -> None:
        settings = self._settings
        self._counters.messages += 1
        self._counters.bytes += len(message)
        allowed = settings.messages_per_s * (self._received_s - self._started_s + settings.max_ahead_s)
        if len(message) > settings.max_message_bytes:
            limit = settings.max_message_bytes
            text = f"message too long: {len(message)} bytes, at most {limit} (serve.max_message_bytes)"
            await self.reject(RejectReason.TOO_BIG, text)
        elif self._protocol.messages + 1 > allowed:
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
        except LimitExceeded as rejected:
            await self.reject(rejected.reason, str(rejected))

    async def _perform(self, action: Action) -> None:
        match action:
            case SendMessage():
                await self._send(action.data)
            case OpenStream():
                await self._open(action)
            case SetRate():
                if not self._intake.set_rate(action.rate_hz):
                    raise LimitExceeded(RejectReason.MALFORMED, f"the call's audio does not have {action.rate_hz} Hz")
            case EndOfAudio():
                self._ending = (action.reason, "hung_up")
                await self._end_audio()
            case CloseConnection():
                await self._close(action)
            case Omission():
                await self._note_left_out(action.message)
            case InterruptAudio():
                self._intake.announce(action.state, action.reason)
            case ChangeCall():
                self._gateway.describe(self._key, action.labels, action.change)

    async def _close(self, action: CloseConnection) -> None:
        if action.reject_reason is not None:
            self._counters.rejected[action.reject_reason.value] += 1
            if not self._done:  # the protocol's own decision
                self._note_refusal(action.reject_reason, action.reason)
        self._done = True
        self._release_tracks()
        try:
            async with asyncio.timeout(self._settings.write_timeout_s):
                await self._transport.close(action.code, close_reason(action.reason))
        except TimeoutError:  # the peer does not read
            self._transport.abort()

    async def _open(self, action: OpenStream) -> None:
        gateway = self._gateway
        pipeline = gateway.pipeline
        if pipeline is None:
            raise LimitExceeded(RejectReason.STOPPING, "node is starting; retry later")
        call = gateway.find_call(action.name) if action.leg else None
        check_streams(gateway, peer=self._peer, count=len(action.tracks), joins=call is not None)
        parties = choose_parties(action.tracks, call) if action.leg else action.tracks
        if not parties:
            raise LimitExceeded(RejectReason.TOO_MANY, "both parties of this call are already connected")
        name = call.name if call is not None else gateway.unique_name(action.name)
        # legs share no clock: this one starts at the current end of the other
        offset_s = max(track.end_s for track in call.tracks.values()) if call is not None else 0.0
        tracks = [
            PushSource(
                source_id=name,
                channels=party or "mix",
                rate_hz=action.rate_hz,
                on_stop=self._on_stop,
                max_buffered_s=gateway.buffers.max_buffered_s,
            )
            for party in parties
        ]
        labels = gateway.labels_of(action.name, action.labels)
        for track in tracks:
            track.labels = labels
            track.started_s = time.time() - action.age_s if action.age_s else None
        if action.events:
            self._subscription = gateway.clients.subscribe(name, is_call=parties != (None,))
            self._event_task = asyncio.create_task(self._send_events(self._subscription), name=f"client {name}")
        try:
            pipeline.add(*tracks)
        except SourceError as error:
            raise LimitExceeded(RejectReason.BUSY, str(error)) from None
        self._transport.slot.prove()
        self._opened_s = time.monotonic()
        self._tracks = list(zip(parties, tracks, strict=True))
        self._intake.open(self._tracks, offset_s=offset_s, now_s=self._opened_s, age_s=action.age_s)
        self._key = action.name if action.leg else own_key(name)
        gateway.register(self._tracks, peer=self._peer, key=self._key, name=name)
        for reply in self._protocol.stream_opened(name):
            await self._perform(reply)

    def _put_audio(self, audio: AudioChunk) -> None:
        if self._done:  # the run stopped meanwhile
            return
        now_s = time.monotonic()
        self._intake.put(audio, now_s)
        if self._intake.ahead_s(now_s) > self._settings.max_ahead_s:
            raise LimitExceeded(
                RejectReason.TOO_FAST,
                f"audio is more than {self._settings.max_ahead_s:g} s ahead of real time (serve.max_ahead_s)",
            )

    def _note_refusal(self, reason: RejectReason, message: str) -> None:
        self._ending = (message, "refused")
        self._gateway.note_refusal(self._protocol.name, peer=self._peer, reason=reason.value, message=message)

    async def _note_left_out(self, message: str) -> None:
        """Count a malformed message; the first one of a connection is logged and answered."""
        self._counters.malformed += 1
        self._left_out += 1
        if self._left_out > 1:
            return
        name = self._tracks[0][1].id if self._tracks else self._peer
        log.warning("%s (%s, %s): %s; left out, the call goes on", name, self._protocol.name, self._peer, message)
        for reply in self._protocol.left_out(message):
            await self._perform(reply)

    async def _end_audio(self) -> None:
        """End the tracks, send the remaining events, then close."""
        self._release_tracks(keep_subscription=True)
        await self._wait_for_last_event()
        for action in self._protocol.audio_finished():
            await self._perform(action)

    def _release_tracks(self, *, keep_subscription: bool = False) -> None:
        """End and unregister the tracks; unless `keep_subscription`, cancel the subscription to events."""
        self._intake.flush(time.monotonic())
        for _, track in self._tracks:
            track.end(*self._ending)
        self._gateway.unregister(self._tracks, peer=self._peer, key=self._key)
        self._tracks = []
        if self._subscription is not None and not keep_subscription:
            self._gateway.clients.unsubscribe(self._subscription)

    def _on_stop(self) -> None:
        """Close the connection because the run stops its tracks."""
        self._gateway.schedule_close(self._close_after_last_event())

    async def _close_after_last_event(self) -> None:
        """Close once the client has the last event of its call or stream."""
        await self._wait_for_last_event()
        await self._reject_if_open(RejectReason.STOPPING, "node is shutting down; reconnect later")

    async def _wait_for_last_event(self) -> None:
        if self._event_task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._event_task), FLUSH_TIMEOUT_S)

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
        except Exception:  # a defect; the audio is still processed, for the other sinks
            log.exception("%s connection from %s gets no more events", self._protocol.name, self._peer)

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
