"""What the outside may know of a running node, and the task that feeds systemd's watchdog."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from stream.control.commands import NodeStatus
from stream.events import HealthBody
from stream.monitoring.liveness import StallDetector
from stream.monitoring.systemd import SystemdNotifier

LOOK_S = 1.0
"""How often readiness and vitals are looked at, at least."""

log = logging.getLogger(__name__)


class NodeView(Protocol):
    """What `Pipeline` offers to be seen."""

    def status(self) -> NodeStatus:
        """What every stream is doing."""
        ...

    def health(self) -> HealthBody:
        """Statistics of this moment."""
        ...


class NodeMonitor:
    """A running pipeline as probes and systemd see it."""

    def __init__(
        self,
        *,
        pipeline: NodeView,
        stall_timeout_s: float,
        notifier: SystemdNotifier | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline = pipeline
        self._vitals = StallDetector(stall_timeout_s=stall_timeout_s)
        self._notifier = notifier or SystemdNotifier()
        self._clock = clock
        self._said: tuple[str, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self.ready = False

    def status(self) -> NodeStatus:
        """What every stream is doing."""
        return self._pipeline.status()

    def health(self) -> HealthBody:
        """Statistics of this moment."""
        return self._pipeline.health()

    def stuck(self) -> tuple[str, ...]:
        """Streams whose sound stands still without a reason."""
        found = self._vitals.stuck(self.status(), self._clock())
        if found and found != self._said:
            log.warning("the sound of %s stands still", ", ".join(found))
        self._said = found
        return found

    def look(self) -> None:
        """Tell systemd what there is to tell: ready once a stream is heard, alive while nothing is stuck."""
        if not self.ready and self.status().streams:
            self.ready = True
            self._notifier.tell("READY=1", "STATUS=listening")
        if not self.stuck() and self._notifier.watchdog_s is not None:
            self._notifier.tell("WATCHDOG=1")

    async def __aenter__(self) -> Self:
        """Begin to look."""
        self._task = asyncio.create_task(self._keep_looking(), name="service")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say that the end has come."""
        if self._task is not None:
            self._task.cancel()
        self.ready = False
        self._notifier.tell("STOPPING=1")

    async def _keep_looking(self) -> None:
        watchdog_s = self._notifier.watchdog_s
        pause_s = LOOK_S if watchdog_s is None else min(LOOK_S, watchdog_s / 3)
        while True:
            self.look()
            await asyncio.sleep(pause_s)
