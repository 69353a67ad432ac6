"""Draining: a node takes no more calls, and its run stops once the last one has ended.

A connection that joins an active call, as its second leg, is still accepted. A load balancer learns of it from
`/readyz`, which answers 503 from then on, as it does while the node has `service.ready_streams` streams.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stream.control.commands import DrainCommand
from stream.control.dispatcher import Handler
from stream.server.gateway import Gateway

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DrainState:
    """Whether the node drains, and what is still connected."""

    draining: bool
    calls: int
    streams: int


class Drain:
    """Drains a gateway.

    Args:
        gateway: Its connections are waited for, and its pipeline is stopped.
        ready_streams: Number of streams from which on the node is not ready for more; 0: the limit of the listener.
    """

    def __init__(self, gateway: Gateway, *, ready_streams: int = 0) -> None:
        self._gateway = gateway
        self._ready_streams = min(ready_streams or gateway.settings.max_streams, gateway.settings.max_streams)
        self._task: asyncio.Task[None] | None = None

    @property
    def handlers(self) -> dict[str, Handler]:
        """The handler of the command `drain`, by its name."""

        async def drain(command: DrainCommand) -> Mapping[str, Any]:
            return asdict(self.start(within_s=command.within_s))

        return {"drain": drain}

    def state(self) -> DrainState:
        """Return what is still connected."""
        gateway = self._gateway
        return DrainState(draining=gateway.is_draining, calls=len(gateway.calls), streams=gateway.total_streams())

    def start(self, *, within_s: float | None = None) -> DrainState:
        """Take no more calls from now on; stop the run with the last one, or after `within_s`.

        A second request replaces the time limit of the first.
        """
        self._gateway.is_draining = True
        state = self.state()
        limit = "" if within_s is None else f", for {within_s:g} s at most"
        log.warning("draining: no more calls are taken; waiting for %d streams to end%s", state.streams, limit)
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._stop_when_empty(within_s), name="drain")
        return state

    def why_not_ready(self) -> str:
        """Return why a load balancer should send calls elsewhere; empty if it need not."""
        state = self.state()
        if state.draining:
            return f"draining: {state.streams} streams left"
        if state.streams >= self._ready_streams:
            return f"full: {state.streams} of {self._ready_streams} streams"
        return ""

    async def _stop_when_empty(self, within_s: float | None) -> None:
        try:
            async with asyncio.timeout(within_s):
                while self._gateway.total_streams():
                    self._gateway.emptied.clear()
                    await self._gateway.emptied.wait()
        except TimeoutError:
            log.warning("%d streams are still connected after %g s; they are ended", self.state().streams, within_s)
        if self._gateway.pipeline is not None:
            self._gateway.pipeline.stop()
