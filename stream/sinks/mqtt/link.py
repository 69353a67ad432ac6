"""Reports on the connection to a broker: its state, outages and recoveries, and what was set aside (pure)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from stream.events import BrokerHealth
from stream.sinks.outbox.set_aside import SetAsideCounts

MINUTE_S, HOUR_S = 60, 3_600


def _now() -> datetime:
    return datetime.now(UTC)


class Link:
    """The connection to one broker over a whole run. `clock` is monotonic, `time_of_day` gives UTC."""

    def __init__(self, *, clock: Callable[[], float], time_of_day: Callable[[], datetime] = _now) -> None:
        self._clock = clock
        self._time_of_day = time_of_day
        self._state: Literal["connecting", "connected", "lost"] = "connecting"
        self._since = time_of_day()
        self._began_s = clock()  # of the connection, or of the time without one
        self._error = ""
        self._outages = 0
        self._outage_s: float | None = None
        self._recovered = 0
        self._target: int | None = None  # messages sent at which what waited is through
        self._set_aside = SetAsideCounts(time_of_day=time_of_day)

    @property
    def connected_s(self) -> float:
        """How long the connection has lasted; 0 without one."""
        return self._clock() - self._began_s if self._state == "connected" else 0.0

    def connected(self, *, sent: int, waiting: int) -> None:
        """Note a connection, with the number of messages sent so far and of those that waited for it."""
        if self._error:
            self._outage_s = self._clock() - self._began_s
            self._recovered, self._target = waiting, sent + waiting
        self._change("connected", "")

    def lost(self, error: str) -> None:
        """Note that there is no connection, or that an attempt failed."""
        self._error, self._target = error, None
        if self._state == "connected":
            self._outages += 1
            self._change("lost", error)

    def recovery(self, *, sent: int, waiting: int) -> str:
        """Return once, when all that waited during an outage is through, what to tell about it; else ""."""
        if self._target is None or (sent < self._target and waiting):
            return ""
        self._target = None
        again = "again " if self._outages else ""
        return f"connected {again}after {duration(self._outage_s or 0.0)}; {self._recovered} messages sent"

    def set_aside(self, topic: str, reason: str) -> bool:
        """Note a message that the broker refused; returns whether it is the first of its kind."""
        kind = topic.rpartition("/")[2]  # sources come and go
        return self._set_aside.add(kind=kind, topic=topic, reason=reason)

    def health(self) -> BrokerHealth:
        """Return the state for `health`."""
        return BrokerHealth(
            state=self._state,
            since=self._since,
            error=self._error,
            outages=self._outages,
            outage_s=None if self._outage_s is None else round(self._outage_s, 1),
            recovered=self._recovered,
            set_aside=self._set_aside.newest_first(),
        )

    def _change(self, state: Literal["connected", "lost"], error: str) -> None:
        self._state, self._error = state, error
        self._since, self._began_s = self._time_of_day(), self._clock()


def duration(seconds: float) -> str:
    """Return a duration in words of one or two units: `45 s`, `4 min`, `2 h 5 min`."""
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    hours, rest_s = divmod(round(seconds), HOUR_S)
    minutes = rest_s // MINUTE_S
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
