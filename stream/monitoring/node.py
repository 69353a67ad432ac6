"""The running node as probes, metrics and systemd see it, and the task that feeds systemd's watchdog."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from stream.control.commands import NodeStatus
from stream.events import HealthBody
from stream.monitoring.liveness import MonitoredStream, StallDetector
from stream.monitoring.systemd import SystemdNotifier
from stream.server.draining import Drain

MAX_POLL_INTERVAL_S = 1.0
"""Interval at which readiness and liveness are checked, at most."""

log = logging.getLogger(__name__)


class NodeView(Protocol):
    """What is monitored; `Pipeline` is one."""

    @property
    def streams(self) -> Sequence[MonitoredStream]:
        """All open streams."""
        ...

    @property
    def accepts_sources(self) -> bool:
        """Whether sources may join: models are loaded and sinks started."""
        ...

    def status(self) -> NodeStatus:
        """Return the state of every open stream."""
        ...

    def health(self) -> HealthBody:
        """Return the current statistics."""
        ...


class NodeMonitor:
    """Readiness and liveness of a pipeline, and its `drain`, if it takes calls; reports to systemd while entered."""

    def __init__(
        self,
        *,
        pipeline: NodeView,
        stall_timeout_s: float,
        notifier: SystemdNotifier | None = None,
        clock: Callable[[], float] = time.monotonic,
        drain: Drain | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._detector = StallDetector(stall_timeout_s=stall_timeout_s)
        self._notifier = notifier or SystemdNotifier()
        self._clock = clock
        self._logged: tuple[str, ...] = ()  # stalled streams that were logged last
        self._task: asyncio.Task[None] | None = None
        self.drain = drain
        self.is_ready = False

    def why_not_ready(self) -> str:
        """Return why no call should be sent to this node; empty if it is ready."""
        if not self.is_ready:
            return "not ready"
        return self.drain.why_not_ready() if self.drain is not None else ""

    def status(self) -> NodeStatus:
        """Return the state of every open stream."""
        return self._pipeline.status()

    def health(self) -> HealthBody:
        """Return the current statistics."""
        return self._pipeline.health()

    def stalled(self) -> tuple[str, ...]:
        """Return the names of streams whose audio does not advance; each change is logged."""
        found = self._detector.stalled(self._pipeline.streams, self._clock())
        if found and found != self._logged:
            log.warning("no audio progress: %s", ", ".join(found))
        self._logged = found
        return found

    def _first_attempts(self) -> bool:
        """Whether a sink's broker has neither answered nor failed to since the start (a failure is logged)."""
        brokers = (sink.broker for sink in self._pipeline.health().sinks)
        return any(broker is not None and broker.state == "connecting" for broker in brokers)

    def poll(self) -> None:
        """Notify systemd: ready once a stream is open or may be and brokers were tried, alive while none is stalled."""
        opened = self._pipeline.streams or self._pipeline.accepts_sources
        if not self.is_ready and opened and not self._first_attempts():
            self.is_ready = True
            self._notifier.notify("READY=1", "STATUS=listening")
        if not self.stalled() and self._notifier.watchdog_s is not None:
            self._notifier.notify("WATCHDOG=1")

    async def __aenter__(self) -> Self:
        """Start polling."""
        self._task = asyncio.create_task(self._poll_forever(), name="service")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop polling, and notify systemd that the node stops."""
        if self._task is not None:
            self._task.cancel()
        self.is_ready = False
        self._notifier.notify("STOPPING=1")

    async def _poll_forever(self) -> None:
        watchdog_s = self._notifier.watchdog_s
        interval_s = MAX_POLL_INTERVAL_S if watchdog_s is None else min(MAX_POLL_INTERVAL_S, watchdog_s / 3)
        while True:
            self.poll()
            await asyncio.sleep(interval_s)
