"""Connections and requests that the node refused or ended: one log line each, and the newest ones for `health` events.

A refusal that is repeated is logged once in `REPEAT_S`, with a count, and no more than `MAX_LINES` a minute are logged
in all, so that an attack does not fill a disk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime

from stream.events import ProtocolHealth, Refusal
from stream.server.attempts import FailedAttempts
from stream.server.counts import ProtocolCounters

MAX_REFUSALS = 8
"""Refusals that `health` events show, by protocol."""

MAX_REMEMBERED = 256
REPEAT_S = 60.0
MAX_LINES = 30

UNAUTHORIZED = "unauthorized"

log = logging.getLogger(__name__)


class RefusalLog:
    """The newest refusals, each with the number of its repetitions."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str, str], Refusal] = OrderedDict()
        self._logged_s: dict[tuple[str, str, str], float] = {}
        self._minute, self._lines = 0, 0

    def add(self, *, protocol: str, peer: str, reason: str, message: str, now_s: float) -> None:
        """Note and log a refusal; `now_s` is the time of day."""
        message = message.encode(errors="replace").decode()  # lone surrogates could not be published
        key = (protocol, peer, message)
        before = self._entries.pop(key, None)
        count = before.count + 1 if before is not None else 1
        self._entries[key] = Refusal(
            time=datetime.fromtimestamp(now_s, UTC), peer=peer, reason=reason, message=message, count=count
        )
        if len(self._entries) > MAX_REMEMBERED:
            oldest, _ = self._entries.popitem(last=False)
            self._logged_s.pop(oldest, None)
        self._log(key, count, now_s)

    def newest(self, protocol: str) -> tuple[Refusal, ...]:
        """Return the newest refusals of a protocol, the newest first."""
        found = [entry for key, entry in reversed(self._entries.items()) if key[0] == protocol]
        return tuple(found[:MAX_REFUSALS])

    def _log(self, key: tuple[str, str, str], count: int, now_s: float) -> None:
        if now_s - self._logged_s.get(key, -REPEAT_S) < REPEAT_S:
            return
        minute = int(now_s // 60)
        self._minute, self._lines = minute, self._lines + 1 if minute == self._minute else 1
        if self._lines > MAX_LINES:
            return
        self._logged_s[key] = now_s
        protocol, peer, message = key
        log.warning("%s connection from %s refused: %s%s", protocol, peer, message, f" ({count}x)" if count > 1 else "")


class RefusedRequests:
    """Requests without the credential of a page or port that has no gateway, under a name of its own in `health`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._counters = ProtocolCounters()
        self._log = RefusalLog()
        self._attempts = FailedAttempts()

    async def add(self, peer: str, message: str) -> None:
        """Count and log a request that is refused; returns when it may be answered."""
        self._counters.rejected[UNAUTHORIZED] += 1
        self._log.add(protocol=self._name, peer=peer, reason=UNAUTHORIZED, message=message, now_s=time.time())
        await asyncio.sleep(self._attempts.add(peer, time.monotonic()))

    def health(self) -> tuple[ProtocolHealth, ...]:
        """Return the row of `health` events; none while nothing was refused."""
        if not self._counters.rejected:
            return ()
        return (self._counters.health(self._name, self._log.newest(self._name)),)
