"""Simulated callers that pause, fall silent, leave one by one, cut the connection, or send too fast."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping

from scripts.callers import RATE_HZ, Asterisk, AudioHook, Link, WebSocketLink

FLOOD_S = 8.0
"""Audio that is sent at once."""


class PausedCall(AudioHook):
    """A call of Genesys AudioHook with a secure pause."""

    def pause(self) -> None:
        """Say that no audio comes for now."""
        self._sequenced("paused", 2, {})

    def resume(self, paused_s: float) -> None:
        """Say that audio comes again."""
        self._sequenced("resumed", 3, {"start": "PT0S", "discarded": f"PT{paused_s:.1f}S"})

    def close(self) -> None:
        """Send the end of the audio."""
        self._sequenced("close", 4, {"reason": "end"})

    def _sequenced(self, kind: str, seq: int, parameters: Mapping[str, str]) -> None:
        self.text(json.dumps({**self._envelope, "type": kind, "seq": seq, "parameters": parameters}))


class PartedCall(Asterisk):
    """A call of two connections."""

    async def leave(self) -> None:
        """Hang up as the customer, then as the agent, whose audio goes on for a moment."""
        await self._legs.pop(0).end()
        self._legs[0].send(0, RATE_HZ // 2)
        await self.end()


class Caller:
    """Sends audio of one call in real time until it is told to stop."""

    def __init__(self, link: Link, chunk_s: float) -> None:
        self.link, self._chunk_s = link, chunk_s
        self._sent = 0
        self._sending: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Call, and send audio from now on."""
        await self.link.begin()
        self.speak()

    def speak(self) -> None:
        """Send audio from now on."""
        self._sending = asyncio.create_task(self._send())

    async def be_silent(self) -> None:
        """Send no more audio; the connection stays."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def hang_up(self) -> None:
        """End the call as its protocol does."""
        await self.be_silent()
        await self.link.end()

    async def cut(self) -> None:
        """Cut the connection without a word."""
        await self.be_silent()
        assert isinstance(self.link, WebSocketLink)  # noqa: S101
        self.link.cut()

    async def flood(self) -> None:
        """Send far more audio than real time has passed."""
        await self.be_silent()
        for _ in range(round(FLOOD_S / self._chunk_s)):
            self._chunk()

    def _chunk(self) -> None:
        length = round(self._chunk_s * RATE_HZ)
        self.link.send(self._sent, length)
        self._sent += length

    async def _send(self) -> None:
        clock = asyncio.get_running_loop().time
        due_s = clock()
        while True:
            with contextlib.suppress(ConnectionError):
                self._chunk()
            due_s += self._chunk_s
            await asyncio.sleep(max(0.0, due_s - clock()))
