"""Commands that arrive twice or too often (pure)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from stream.control.commands import CommandReply

MAX_REPLIES = 256
"""Replies that are remembered."""

REMEMBER_S = 600.0
"""Time for which a reply is remembered."""


class RecentReplies:
    """Replies by the id of the command, so that a command is executed once however often it arrives."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._replies: OrderedDict[str, tuple[float, bytes, CommandReply]] = OrderedDict()

    def reply(self, identifier: str | None, payload: bytes) -> CommandReply | None:
        """Return the reply to a command that was executed before, or a refusal if its id belongs to another command."""
        if identifier is None or (known := self._replies.get(identifier)) is None:
            return None
        since_s, earlier, reply = known
        if self._clock() - since_s >= REMEMBER_S:
            del self._replies[identifier]
            return None
        if payload == earlier:
            return reply
        return CommandReply(
            id=identifier, ok=False, error=f"another command had the id {identifier!r}; use an id only once"
        )

    def remember(self, identifier: str | None, payload: bytes, reply: CommandReply) -> None:
        """Remember the reply to a command; a refused one may be sent again."""
        if identifier is None or not reply.ok:
            return
        self._replies[identifier] = (self._clock(), payload, reply)
        if len(self._replies) > MAX_REPLIES:
            self._replies.popitem(last=False)


class RateLimit:
    """Permits `per_s` on average, and up to `burst` at once."""

    def __init__(self, *, per_s: float, burst: float, clock: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = self._left = burst
        self._clock = clock
        self._since_s = clock()
        self._refused = 0

    @property
    def is_first_refusal(self) -> bool:
        """Whether the last refusal was the first since something was permitted."""
        return self._refused == 1

    def admit(self) -> bool:
        """Return whether one more is permitted now."""
        now_s = self._clock()
        self._left = min(self._burst, self._left + (now_s - self._since_s) * self._per_s)
        self._since_s = now_s
        if self._left < 1:
            self._refused += 1
            return False
        self._left -= 1
        self._refused = 0
        return True
