"""The analysis of one utterance beside its way to a speech-to-text service: a connection without a socket.

It goes through the same `ClientConnection` as other audio, so that names, limits and counts are the same. The audio
waits in a bounded queue; when that is full, or a limit is exceeded, the analysis ends and nothing else does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from stream.server.gateway import Gateway
from stream.server.protocols.base import ProtocolViolation
from stream.server.protocols.wyoming import AUDIO_STOP, Frame, UtteranceProtocol
from stream.server.sockets import SocketSlot
from stream.server.utterance_result import UtteranceSpeaker

MAX_WAITING_BYTES = 2 * 1024 * 1024
"""A minute of audio at 16 kHz."""

log = logging.getLogger(__name__)


class UtteranceAnalysis:
    """One utterance, analysed from its first audio frame on. `slot` is that of the client's socket."""

    def __init__(self, gateway: Gateway, frame: Frame, *, slot: SocketSlot, peer: str) -> None:
        self.is_ended = False
        self.result = UtteranceSpeaker()
        self._transport = _QueueTransport(slot)
        self._task: asyncio.Task[None] | None = None
        try:
            protocol = UtteranceProtocol(source=gateway.settings.wyoming_source, chunk=frame.data())
        except ProtocolViolation as violation:
            log.warning("audio from %s is not analysed: %s", peer, violation)
            return
        self.result = protocol.result
        self._task = asyncio.create_task(gateway.serve(self._transport, protocol, peer=peer), name="utterance")

    def put(self, audio: bytes) -> None:
        """Analyse audio; never waits."""
        if self._task is not None and not self._task.done() and not self._transport.put(audio):
            log.warning("the node is too slow for an utterance; its analysis ends")
            self._transport.abort()

    def end(self) -> None:
        """No more audio comes."""
        if not self.is_ended:
            self.is_ended = True
            self._transport.put(AUDIO_STOP)

    def abandon(self) -> None:
        """The client is gone: what has arrived is still analysed."""
        if not self.is_ended:
            self.is_ended = True
            self._transport.abort()

    async def wait(self, timeout_s: float) -> None:
        """Wait for the end of the analysis, at most `timeout_s`."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=timeout_s)


class _QueueTransport:
    """Messages from a queue, as a `Transport`; what the protocol sends goes nowhere."""

    def __init__(self, slot: SocketSlot) -> None:
        self.slot = slot
        self._waiting: deque[str | bytes] = deque()
        self._waiting_bytes = 0
        self._readable = asyncio.Event()
        self._closed = False

    def put(self, message: str | bytes) -> bool:
        """Append a message; returns whether there is room for it."""
        self._waiting_bytes += len(message)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            return False
        self._waiting.append(message)
        self._readable.set()
        return True

    async def receive(self) -> str | bytes | None:
        while not self._waiting and not self._closed:
            self._readable.clear()
            await self._readable.wait()
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message)
        return message

    async def send(self, data: str | bytes) -> None:
        """Drop what is sent: the result is read from the protocol."""

    async def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - there is no peer
        self.abort()

    def abort(self) -> None:
        self._closed = True
        self._readable.set()
