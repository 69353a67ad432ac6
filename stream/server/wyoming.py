"""TCP server between Home Assistant and a speech-to-text service that speak Wyoming; frames: `protocols.wyoming`.

What the client sends is passed on to the service unchanged and at once, and so is what the service answers. The audio
of each utterance is analysed beside that, under limits of its own: whatever becomes of the analysis, the transcript
arrives. With `serve.wyoming_wait_s`, a transcript that comes before it is decided who speaks is held, until the
analysis of its utterance has ended, for that time at most. What is found later is published, but not in the transcript.

The service is connected when a client has sent its first frame. Where it cannot be reached the client's connection is
closed, which is what the client would meet without this server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from urllib.parse import urlsplit

from stream.errors import SettingsError
from stream.server import signatures
from stream.server.access import is_loopback
from stream.server.gateway import Gateway
from stream.server.protocols import wyoming
from stream.server.protocols.base import ProtocolViolation, RejectReason
from stream.server.protocols.wyoming import Frame, FrameReader, UtteranceProtocol
from stream.server.sockets import PROOF_TIMEOUT_S, SocketBudget, SocketSlot
from stream.server.utterance import UtteranceAnalysis
from stream.settings import ServeSettings

READ_BYTES = 16_384
CLOSE_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 5.0

ANSWER_TIMEOUT_S = 300.0
"""Time for the service to answer an utterance; a large model on a small machine takes long."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A longer frame of the service is passed on without being read."""

log = logging.getLogger(__name__)


class WyomingServer:
    """Accepts Wyoming connections and passes them on to `serve.wyoming_upstream`. Raises `SettingsError`."""

    def __init__(self, gateway: Gateway, budget: SocketBudget) -> None:
        self._gateway, self._budget = gateway, budget
        self._upstream = upstream_address(gateway.settings)
        self._open: Counter[str] = Counter()  # connections by peer
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; the callback of `asyncio.start_server`."""
        peer = str(writer.get_extra_info("peername", ("unknown",))[0])
        slot = self._budget.admit(address=peer, is_local=is_loopback(peer), abort=writer.transport.abort)
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        self._open[peer] += 1
        try:
            if slot is None:
                log.warning("no room for more connections (%d are open)", len(self._budget))
            elif self._may_connect(peer):
                await _Relay(self._gateway, self._upstream, reader, writer, slot=slot, peer=peer).run()
        except asyncio.CancelledError:  # the listener closes; asyncio would log an error
            pass
        finally:
            if task is not None:
                self._tasks.discard(task)
            self._open[peer] -= 1
            self._open += Counter()  # removes peers without connections
            if slot is not None:
                slot.release()
            await _close(writer)

    def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()

    def _may_connect(self, peer: str) -> bool:
        settings = self._gateway.settings
        if not signatures.is_within(peer, settings.wyoming_peers):
            message = "address not allowed; add its network to serve.wyoming_peers"
            self._gateway.count_rejected(UtteranceProtocol.name, peer=peer, message=message)
            return False
        if self._open[peer] > settings.streams_per_peer:
            message = f"connection limit per address reached (serve.streams_per_peer = {settings.streams_per_peer})"
            self._gateway.count_refused(UtteranceProtocol.name, RejectReason.TOO_MANY, peer=peer, message=message)
            return False
        return True


class _Relay:
    """One client's connection and the one to the service."""

    def __init__(
        self,
        gateway: Gateway,
        upstream: tuple[str, int],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        slot: SocketSlot,
        peer: str,
    ) -> None:
        self._gateway, self._upstream, self._settings = gateway, upstream, gateway.settings
        self._reader, self._writer, self._slot, self._peer = reader, writer, slot, peer
        self._frames = FrameReader(max_bytes=self._settings.max_message_bytes)
        self._started_s, self._count = time.monotonic(), 0
        self._utterance: UtteranceAnalysis | None = None
        self._awaits_transcript = False
        self._deadline = asyncio.timeout(PROOF_TIMEOUT_S)

    async def run(self) -> None:
        """Pass frames on until either side closes."""
        upstream: asyncio.StreamWriter | None = None
        try:
            async with self._deadline:
                frames = await self._receive()
                if frames is None:
                    return
                self._slot.prove()
                answers, upstream = await self._connect()
                await self._pass_on(frames, upstream)
                await self._relay(answers, upstream)
        except TimeoutError:
            self._refuse(RejectReason.IDLE, "idle timeout: no frame (serve.idle_timeout_s)")
        except ProtocolViolation as violation:
            self._refuse(violation.reject_reason, str(violation))
        except OSError as failure:  # either side is gone
            log.debug("Wyoming connection from %s: %s", self._peer, failure)
        finally:
            if self._utterance is not None:
                self._utterance.abandon()
            if upstream is not None:
                await _close(upstream)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the service. Raises `OSError`."""
        host, port = self._upstream
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await asyncio.open_connection(host, port)
        except OSError as failure:  # TimeoutError is one
            why = failure.strerror or str(failure) or f"no answer within {CONNECT_TIMEOUT_S:g} s"
            message = f"cannot reach {host}:{port} ({why}); check serve.wyoming_upstream"
            self._gateway.count_refused(UtteranceProtocol.name, RejectReason.BUSY, peer=self._peer, message=message)
            raise ConnectionError(message) from None

    async def _relay(self, answers: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        """Pass on both directions; the end of the service's answers ends the connection."""
        requests = asyncio.create_task(self._relay_requests(upstream), name="wyoming requests")
        returning = asyncio.create_task(self._relay_answers(answers), name="wyoming answers")
        try:
            done, _ = await asyncio.wait((requests, returning), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await returning
        finally:
            for task in (requests, returning):
                task.cancel()
            await asyncio.gather(requests, returning, return_exceptions=True)

    async def _receive(self) -> list[Frame] | None:
        """Return the client's next whole frames; None at the end. Raises `ProtocolViolation`."""
        while data := await self._reader.read(READ_BYTES):
            if len(data) == READ_BYTES:  # what else has arrived is returned at once: others go first
                await asyncio.sleep(0)
            if frames := self._frames.feed(data):
                return frames
        return None

    async def _relay_requests(self, upstream: asyncio.StreamWriter) -> None:
        while (frames := await self._receive()) is not None:
            await self._pass_on(frames, upstream)
        if self._utterance is not None:
            self._utterance.end()
        upstream.write_eof()

    async def _pass_on(self, frames: list[Frame], upstream: asyncio.StreamWriter) -> None:
        settings = self._settings
        self._count += len(frames)
        if self._count > settings.messages_per_s * (time.monotonic() - self._started_s + settings.max_ahead_s):
            message = f"more than {settings.messages_per_s} messages per second (serve.messages_per_s)"
            self._refuse(RejectReason.TOO_FAST, message)
            raise ConnectionError(message)
        upstream.write(b"".join(frame.raw for frame in frames))
        for frame in frames:
            self._listen(frame)
        self._extend()
        await self._drain(upstream)

    def _listen(self, frame: Frame) -> None:
        """Analyse a frame that was passed on."""
        if frame.type == wyoming.AUDIO_CHUNK:
            if self._utterance is None or self._utterance.is_ended:
                self._utterance = UtteranceAnalysis(self._gateway, frame, slot=self._slot, peer=self._peer)
            self._utterance.put(frame.payload)
        elif frame.type == wyoming.AUDIO_STOP and self._utterance is not None:
            self._utterance.end()
            self._awaits_transcript = True

    async def _relay_answers(self, answers: asyncio.StreamReader) -> None:
        frames = FrameReader(max_bytes=MAX_ANSWER_BYTES)
        is_readable = True
        while data := await answers.read(READ_BYTES):
            if is_readable:
                try:
                    for frame in frames.feed(data):
                        self._writer.write(await self._answer(frame))
                except ProtocolViolation as violation:  # not ours to judge: the client gets what the service sends
                    log.warning("the Wyoming service sends what cannot be read: %s; passed on as it is", violation)
                    is_readable = False
                    self._writer.write(frames.pending)
            else:
                self._writer.write(data)
            self._extend()
            await self._drain(self._writer)

    async def _answer(self, frame: Frame) -> bytes:
        """Return what the client gets for a frame of the service, held while it is not decided who speaks."""
        if not frame.type.startswith(wyoming.TRANSCRIPT) or self._utterance is None:
            return frame.raw
        utterance, wait_s = self._utterance, self._settings.wyoming_wait_s
        if wait_s and utterance.is_ended and not utterance.result.is_decided:
            await utterance.wait(wait_s)
        if frame.type != wyoming.TRANSCRIPT:
            return frame.raw
        self._awaits_transcript = False
        return self._told(frame, utterance)

    def _told(self, frame: Frame, utterance: UtteranceAnalysis) -> bytes:
        """Return a transcript with what `serve.wyoming_tell` adds; without it, its bytes."""
        sent, context = frame.raw, utterance.result.context()
        if "context" in self._settings.wyoming_tell:
            try:
                sent = wyoming.with_context(frame, context)
            except ProtocolViolation as violation:
                log.warning("the transcript has data that cannot be read (%s); passed on as it is", violation)
        if "detection" in self._settings.wyoming_tell:
            sent = wyoming.detection(utterance.result.speaker, context) + sent
        return sent

    def _extend(self) -> None:
        """Start the time for the next frame."""
        limit_s = ANSWER_TIMEOUT_S if self._awaits_transcript else self._settings.idle_timeout_s
        self._deadline.reschedule(asyncio.get_running_loop().time() + limit_s)

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        """Wait until the peer reads. Raises `ConnectionError` if it does not within `serve.write_timeout_s`."""
        try:
            async with asyncio.timeout(self._settings.write_timeout_s):
                await writer.drain()
        except TimeoutError:
            writer.transport.abort()
            raise ConnectionAbortedError("the peer does not read") from None

    def _refuse(self, reason: RejectReason, message: str) -> None:
        """Count a refusal, and tell the client in the protocol's own words."""
        self._gateway.count_refused(UtteranceProtocol.name, reason, peer=self._peer, message=message)
        self._writer.write(wyoming.error(message, reason.value))


def upstream_address(settings: ServeSettings) -> tuple[str, int]:
    """Return host and port of `serve.wyoming_upstream`. Raises `SettingsError`."""
    try:
        url = urlsplit(settings.wyoming_upstream)
        if url.scheme == "tcp" and url.hostname and url.port and not url.path.strip("/"):
            return url.hostname, url.port
    except ValueError:  # of the port, or of an IPv6 address
        pass
    raise SettingsError(
        f"invalid serve.wyoming_upstream {settings.wyoming_upstream!r}; set it to the address of a Wyoming "
        "speech-to-text service, e.g. tcp://whisper:10300"
    )


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close, and abort what the peer does not read."""
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await writer.wait_closed()
    writer.transport.abort()
