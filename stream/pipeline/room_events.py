"""Room arbitration of a run: observes its speaker events and those of other nodes, and publishes `rooms` events.

It is a sink, so that it gets every event, and publishes in a task of its own, so that it never waits for its own queue.
Time is the arrival of an event: nodes share no clock. Audio must therefore arrive at its own pace.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from stream.events import Event, RoomLevel, RoomOccupant, RoomsBody, SpeakerEvent, StreamEvent
from stream.queues import QueueClosed
from stream.settings import Settings
from stream.tracking.room_arbiter import Placement, RoomArbiter, report_of

POLL_S = 1.0
"""Longest time until a microphone that reports no more is noticed."""

MAX_REMOTE = 200
"""Streams of other nodes that may be followed at a time."""

MAX_PEOPLE, MAX_LEVELS = 50, 4
"""People of an event, and microphones of each of them: an event has at most 64 kB."""

Publish = Callable[[RoomsBody], Awaitable[None]]


class RoomsSink:
    """The rooms of everyone who speaks."""

    def __init__(self, *, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = settings.node
        self._arbiter = RoomArbiter(offsets_db=settings.rooms.offset_db)
        self._clock = clock
        self._started_s = clock()
        self._changed = asyncio.Event()
        self._publish: Publish | None = None
        self._task: asyncio.Task[None] | None = None
        self._latest: tuple[RoomOccupant, ...] = ()

    def attach_publisher(self, publish: Publish) -> None:
        """Set the function that publishes an event of the node."""
        self._publish = publish

    async def __aenter__(self) -> Self:
        """Start publishing."""
        self._started_s = self._clock()
        self._task = asyncio.create_task(self._run(), name="rooms")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop publishing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def send(self, event: Event) -> None:
        """Take an event of this node."""
        if event.call is None:
            self._observe(event, self._node)

    def observe_remote(self, node: str, event: Event) -> None:
        """Take an event of another node."""
        if event.call is not None:
            return
        if (node, event.source) in self._arbiter or self._arbiter.remote_of(self._node) < MAX_REMOTE:
            self._observe(event, node)

    def body(self) -> RoomsBody | None:
        """Return the rooms now, if they differ from those returned last by more than levels."""
        now_s = self._clock()
        people = tuple(self._occupant(one) for one in self._arbiter.placements(now_s)[:MAX_PEOPLE])
        if list(map(_identity, people)) == list(map(_identity, self._latest)):
            return None
        self._latest = people
        return RoomsBody(end_s=round(max(0.0, now_s - self._started_s), 3), people=people)

    def _observe(self, event: Event, node: str) -> None:
        microphone = (node, event.source)
        report = None
        if isinstance(event, SpeakerEvent):
            report = report_of(event, microphone, time_s=self._clock())
        elif not (isinstance(event, StreamEvent) and event.state in ("paused", "stalled", "ended")):
            return
        if report is None:
            self._arbiter.silence(microphone, time_s=self._clock())
        else:
            self._arbiter.observe(report)
        self._changed.set()

    def _occupant(self, placement: Placement) -> RoomOccupant:
        node, source = placement.microphone
        levels = tuple(
            RoomLevel(node=one, source=stream, level_dbfs=level_dbfs)
            for (one, stream), level_dbfs in placement.levels_dbfs[:MAX_LEVELS]
        )
        return RoomOccupant(
            speaker=placement.name,
            node=node,
            source=source,
            since_s=round(max(0.0, placement.since_s - self._started_s), 3),
            certain=placement.certain,
            lead_db=placement.lead_db,
            levels=levels,
        )

    async def _run(self) -> None:
        with contextlib.suppress(QueueClosed):  # the run ends
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), POLL_S)
                self._changed.clear()
                if self._publish is not None and (body := self.body()) is not None:
                    await self._publish(body)


def _identity(occupant: RoomOccupant) -> tuple[object, ...]:
    """Return what makes a new event; levels change with every report."""
    return occupant.speaker, occupant.node, occupant.source, occupant.since_s, occupant.certain
