"""A whole node on loopback: listener, gateway, pipeline with the models that ship, and a list of what it told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from stream.events import Event, HealthEvent, StreamEvent
from stream.pipeline.pipeline import Pipeline
from stream.server.gateway import Gateway
from stream.server.listener import NetworkListener
from stream.settings import Settings
from stream.types import Model, SpeechDetector, Task
from tests.support.fakes import FakeDetector, FakeModel, ListSink

HASTY: dict[str, dict[str, Any]] = {
    "serve": {"port": 0, "audiosocket_port": 0, "max_ahead_s": 3600.0},
    "pool": {"queue_windows": 1024, "deadline_ms": 60_000},
}
"""Sound may come as fast as it likes, and nothing is dropped for it."""


@dataclass
class Node:
    """What a test talks to."""

    gateway: Gateway
    listener: NetworkListener
    pipeline: Pipeline
    sink: ListSink

    async def first(self) -> Event:
        """The first event there is."""
        await self.sink.first.wait()
        return self.own[0]

    async def ended(self, *sources: str) -> None:
        """Wait until these streams have ended."""
        while True:
            events = self.sink.events
            done = {event.source for event in events if isinstance(event, StreamEvent) and event.state == "ended"}
            if set(sources) <= done and not self.gateway.statistics().streams:
                return
            await asyncio.sleep(0.02)

    @property
    def refused(self) -> Counter[str]:
        """Connections that were not let in or were ended by the node, by reason."""
        return sum((Counter(row.refused) for row in self.gateway.statistics().protocols), Counter())

    @property
    def own(self) -> list[Event]:
        """Everything but health."""
        return [event for event in self.sink.events if not isinstance(event, HealthEvent)]


@asynccontextmanager
async def node(
    *, models: Sequence[Model] = (), detector: SpeechDetector | None = None, mounts: Any = (), **changed: Any
) -> AsyncIterator[Node]:
    """A node that listens while it is entered; with fake models unless others are given."""
    merged: dict[str, Any] = {key: {**HASTY.get(key, {}), **changed.get(key, {})} for key in {*HASTY, *changed}}
    settings = Settings.model_validate(merged)
    gateway, sink = Gateway(settings=settings.serve), ListSink()
    pipeline = Pipeline(
        settings=settings,
        sources=[],
        models=models or [FakeModel(), FakeModel(task=Task.SPEAKER)],
        detector=detector or FakeDetector(),
        sinks={"list": sink, "clients": gateway.clients},
        stays=True,
    )
    async with NetworkListener(gateway=gateway, mounts=mounts) as listener:
        running = asyncio.create_task(pipeline.run())
        await asyncio.sleep(0)
        gateway.attach(pipeline)
        try:
            yield Node(gateway, listener, pipeline, sink)
        finally:
            pipeline.stop()
            await running
