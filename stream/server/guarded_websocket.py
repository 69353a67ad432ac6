"""uvicorn's WebSocket with what it lacks: bounds of the work that one client can cause at a time.

What one read brings is parsed piece by piece, and no further while the application has messages to take: 256 KiB may
hold 43,000 empty frames, which would keep the event loop busy for a second. Frames that bring the application nothing
(pings, pongs, tiny fragments, whatever comes after the connection was closed) are few in real clients; one that sends
them faster is disconnected. So is one that leaves the replies to its pings unread.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame

from stream.server.leaky_bucket import LeakyBucket

ABNORMAL_CLOSURE = 1006
"""The code of a connection that ended without a close frame (RFC 6455, 7.1.5)."""

PIECE_BYTES = 4_096
"""What is parsed at a time: 682 frames at most."""

MAX_MESSAGES_PER_TURN = 16
"""Messages that the application processes before the event loop does anything else."""

MAX_LAST_MESSAGES = 1_000
"""Messages that were received before a connection was lost, and are processed all the same."""

MAX_UNREAD_BYTES = 262_144
"""Replies to pings that a client may leave unread."""

MAX_IDLE_FRAMES, IDLE_FRAMES_PER_S = 500, 100.0
"""Frames without a message that a client may send at once, and on average."""

TINY_FRAGMENT_BYTES = 64
"""A continuation of fewer bytes counts as a frame without a message."""


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket of bounded work, which frees the slot that its HTTP request took."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unparsed = bytearray()
        self._taken = 0  # messages since the application last waited
        self._idle_frames = LeakyBucket(capacity=MAX_IDLE_FRAMES, per_s=IDLE_FRAMES_PER_S, clock=self.loop.time)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the slot; a connection without a close frame from either side was cut, for which uvicorn has no code."""
        self.app_state["slot"].release()
        while self._unparsed and self.queue.qsize() < MAX_LAST_MESSAGES:
            self._parse_piece()
        self._unparsed.clear()
        if self.handshake_complete and self.conn.close_rcvd is None and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": ABNORMAL_CLOSURE})
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process frames as far as the application takes their messages."""
        self._unparsed += data
        self._parse()

    async def receive(self) -> Any:
        """Return the next message; the frames behind it are processed once the application waits again."""
        self._taken = 0 if self.queue.empty() else self._taken + 1
        if self._taken >= MAX_MESSAGES_PER_TURN:  # a message that waits is returned at once
            self._taken = 0
            await asyncio.sleep(0)
        message = await super().receive()
        self._continue()
        return message

    async def send(self, message: Any) -> None:
        """Send a message; a closed connection is read on until the client has closed it as well."""
        await super().send(message)
        self._continue()

    def shutdown(self) -> None:
        """Close because the server stops, also a connection that its client is closing."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.abort()

    def handle_ping(self) -> None:
        """Reply, unless the client reads no replies."""
        self._idle_frames.add()
        if self.transport.is_closing():
            return
        super().handle_ping()
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES and not self.writable.is_set():
            self.transport.abort()

    def handle_pong(self, event: Frame) -> None:
        """Take a reply to a ping."""
        self._idle_frames.add()
        super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Take the continuation of a message."""
        if len(event.data) < TINY_FRAGMENT_BYTES:
            self._idle_frames.add()
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Hand over a message; behind a close frame of this side uvicorn drops it."""
        if self.close_sent:
            self._idle_frames.add()
        super().send_receive_event_to_app()

    def _continue(self) -> None:
        if self._unparsed and not self.read_paused:
            self.loop.call_soon(self._parse)

    def _parse(self) -> None:
        while self._unparsed and not self.read_paused and not self.transport.is_closing():
            self._parse_piece()

    def _parse_piece(self) -> None:
        piece = bytes(self._unparsed[:PIECE_BYTES])
        del self._unparsed[:PIECE_BYTES]
        try:
            super().data_received(piece)
        except InvalidState:  # uvicorn cannot refuse a frame when a close frame came behind it
            self._abort()
        if self._idle_frames.overflows:
            self._abort()

    def _abort(self) -> None:
        self._unparsed.clear()
        self.transport.abort()
