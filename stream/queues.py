"""Bounded queues of the event loop, each declaring what happens when it is full, each counting what it drops.

* `FairQueue` stands before a model: one short lane for each stream, taken from in turn, so that no stream starves
  another. Its policy is chosen at every `put`: `wait` (a file: lossless, the reader is held back) or `drop_oldest`
  (live sound: the freshest window wins). It is the only place in tonewatch that drops windows.
* `EventQueue` stands before a sink. Lossless streams wait; live ones conflate rolling state by key (the newest replaces
  the one before) and, if even that does not help, drop the oldest event, counted.

Both are used by one event loop only and take no locks. Both close: what is inside is still given, then the end.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")
Policy = Literal["wait", "drop_oldest"]


class QueueClosed(Exception):
    """The queue takes nothing more, or has given all it had."""


class _Condition:
    """Wakes everyone who waits for a change; cheaper than asyncio.Condition, which wants a lock."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def notify_all(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


@dataclass(frozen=True, slots=True)
class FairQueueStatistics:
    """Counts since the start. `put` = `taken` + `dropped` + `waiting`, always."""

    put: int
    taken: int
    dropped: int
    waiting: int


class FairQueue(Generic[Item]):
    """Items of many streams, taken in batches of one key, one stream after the other.

    An item may have a deadline: once it has passed, the item gives way to a fresher one of its stream (it is dropped,
    counted, and handed to `on_drop`). So a queue that is always full holds every stream's freshest item, and what is
    taken is never older than it need be, while a short stand-still loses nothing.
    """

    def __init__(
        self,
        *,
        capacity: int,
        key: Callable[[Item], Hashable],
        on_drop: Callable[[Item], None] | None = None,
    ) -> None:
        self._capacity = capacity
        self._key = key
        self._on_drop = on_drop
        self._lanes: OrderedDict[str, deque[tuple[Item, float]]] = OrderedDict()  # streams with items, next first
        self._changed = _Condition()
        self._closed = False
        self._put = self._taken = self._dropped = 0

    async def put(self, stream: str, item: Item, *, policy: Policy, deadline_s: float = math.inf) -> list[Item]:
        """Append to the stream's lane; returns what had to be dropped for it (`drop_oldest`), or waits (`wait`).

        `deadline_s` is a time of the loop's clock.
        """
        while policy == "wait" and not self._closed and self._length(stream) >= self._capacity:
            await self._changed.wait()
        if self._closed:
            raise QueueClosed
        lane = self._lanes.setdefault(stream, deque())
        dropped = [lane.popleft()[0] for _ in range(len(lane) - self._capacity + 1)]
        lane.append((item, deadline_s))
        self._put += 1
        self._dropped += len(dropped)
        self._changed.notify_all()
        return dropped

    async def take(self, *, most: int, enough: Callable[[], int], patience_s: float) -> list[Item]:
        """The next batch: up to `most` items of equal key.

        Waits for a first item, then up to `patience_s` for `enough()` streams to have one. Raises `QueueClosed` when
        closed and empty.
        """
        while not self._lanes:
            if self._closed:
                raise QueueClosed
            await self._changed.wait()
        if patience_s > 0:
            await self._gather(min(most, enough()), patience_s)
        if not self._lanes:  # another worker was quicker
            return []
        self._give_way(asyncio.get_running_loop().time())
        return self._batch(most)

    def close(self) -> None:
        """Take nothing more; what waits is still given."""
        self._closed = True
        self._changed.notify_all()

    def statistics(self) -> FairQueueStatistics:
        """Counts so far."""
        waiting = sum(len(lane) for lane in self._lanes.values())
        return FairQueueStatistics(put=self._put, taken=self._taken, dropped=self._dropped, waiting=waiting)

    def _length(self, stream: str) -> int:
        lane = self._lanes.get(stream)
        return len(lane) if lane is not None else 0

    async def _gather(self, wanted: int, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                while len(self._lanes) < wanted and not self._closed:
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _give_way(self, now_s: float) -> None:
        for lane in self._lanes.values():
            while len(lane) > 1 and lane[0][1] < now_s:
                item, _ = lane.popleft()
                self._dropped += 1
                if self._on_drop is not None:
                    self._on_drop(item)

    def _batch(self, most: int) -> list[Item]:
        key = self._key(next(iter(self._lanes.values()))[0][0])
        batch: list[Item] = []
        progressed = True
        while progressed and len(batch) < most:
            progressed = False
            for stream in list(self._lanes):
                lane = self._lanes[stream]
                if self._key(lane[0][0]) != key:
                    continue
                batch.append(lane.popleft()[0])
                progressed = True
                if lane:
                    self._lanes.move_to_end(stream)  # the others come first next time
                else:
                    del self._lanes[stream]
                if len(batch) == most:
                    break
        self._taken += len(batch)
        self._changed.notify_all()
        return batch


@dataclass(frozen=True, slots=True)
class EventQueueStatistics:
    """Counts since the start. `put` = `taken` + `conflated` + `dropped` + `waiting`, always."""

    put: int
    taken: int
    conflated: int
    dropped: int
    waiting: int


class EventQueue(Generic[Item]):
    """A sink's queue. `conflate` gives the key under which a newer item replaces an older one, or None to keep both."""

    def __init__(self, *, capacity: int, conflate: Callable[[Item], Hashable | None]) -> None:
        self._capacity = capacity
        self._conflate = conflate
        self._items: OrderedDict[int, Item] = OrderedDict()
        self._changed = _Condition()
        self._closed = False
        self._put = self._taken = self._conflated = self._dropped = 0

    async def put(self, item: Item, *, policy: Policy) -> None:
        """Append; when full wait, or (`drop_oldest`) conflate and then drop, both counted."""
        while policy == "wait" and not self._closed and len(self._items) >= self._capacity:
            await self._changed.wait()
        if self._closed:
            raise QueueClosed
        self._put += 1
        self._items[self._put] = item
        if len(self._items) > self._capacity:
            self._make_room()
        self._changed.notify_all()

    async def take(self) -> Item:
        """The oldest item; raises `QueueClosed` when closed and empty."""
        return (await self.take_all(most=1))[0]

    async def take_all(self, *, most: int) -> list[Item]:
        """The oldest items, one at least; raises `QueueClosed` when closed and empty."""
        while not self._items:
            if self._closed:
                raise QueueClosed
            await self._changed.wait()
        taken = [self._items.popitem(last=False)[1] for _ in range(min(most, len(self._items)))]
        self._taken += len(taken)
        self._changed.notify_all()
        return taken

    def close(self) -> None:
        """Take nothing more; what waits is still given."""
        self._closed = True
        self._changed.notify_all()

    def statistics(self) -> EventQueueStatistics:
        """Counts so far."""
        return EventQueueStatistics(
            put=self._put,
            taken=self._taken,
            conflated=self._conflated,
            dropped=self._dropped,
            waiting=len(self._items),
        )

    def _make_room(self) -> None:
        """Let the newest of each key replace its elders; if all keys differ, drop the oldest item."""
        newest = {self._conflate(item): place for place, item in self._items.items()}
        stale = [
            place
            for place, item in self._items.items()
            if (key := self._conflate(item)) is not None and newest[key] != place
        ]
        for place in stale:
            del self._items[place]
        self._conflated += len(stale)
        if not stale:
            self._items.popitem(last=False)
            self._dropped += 1
