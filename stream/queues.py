"""Bounded asyncio queues with a declared overflow policy and counted drops.

* `FairQueue` precedes a model: one short queue per stream, served in turn, so that no stream starves another. The
  policy is chosen at every `put`: `wait` (files: lossless, the reader is held back) or `drop_oldest` (live audio: the
  newest window wins). It is the only place in tonewatch that drops windows.
* `EventQueue` precedes a sink. Lossless streams wait; live ones conflate rolling state by key (the newest replaces the
  one before) and, if that is not enough, drop the oldest event.

Both belong to one event loop and take no locks. A closed queue still yields its items before it ends.
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
    """The queue accepts no more items, or is closed and empty."""


class _Condition:
    """Wakes all waiters on a change; cheaper than asyncio.Condition, which needs a lock."""

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
    """Items of many streams, taken in batches with equal keys, one stream after the other.

    An item may have a deadline: after it, the item is dropped in favour of a newer one of its stream, counted, and
    passed to `on_drop`. A queue that is always full thus keeps the newest item of every stream, while a short stall
    loses nothing.
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
        self._streams: OrderedDict[str, deque[tuple[Item, float]]] = OrderedDict()  # with items only, next first
        self._changed = _Condition()
        self._closed = False
        self._put = self._taken = self._dropped = 0

    async def put(self, stream: str, item: Item, *, policy: Policy, deadline_s: float = math.inf) -> list[Item]:
        """Append an item of a stream; returns the items dropped for it (`drop_oldest`), or waits (`wait`).

        `deadline_s` is in the time of the event loop. Raises `QueueClosed`.
        """
        while policy == "wait" and not self._closed and self._length(stream) >= self._capacity:
            await self._changed.wait()
        if self._closed:
            raise QueueClosed
        items = self._streams.setdefault(stream, deque())
        dropped = [items.popleft()[0] for _ in range(len(items) - self._capacity + 1)]
        items.append((item, deadline_s))
        self._put += 1
        self._dropped += len(dropped)
        self._changed.notify_all()
        return dropped

    async def take(self, *, max_items: int, wanted: Callable[[], int], max_wait_s: float) -> list[Item]:
        """Take the next batch: up to `max_items` items with equal keys.

        Waits for a first item, then up to `max_wait_s` until `wanted()` streams have one. Raises `QueueClosed` when
        closed and empty.
        """
        while not self._streams:
            if self._closed:
                raise QueueClosed
            await self._changed.wait()
        if max_wait_s > 0:
            await self._gather(min(max_items, wanted()), max_wait_s)
        if not self._streams:  # another worker took the items
            return []
        self._drop_expired(asyncio.get_running_loop().time())
        return self._batch(max_items)

    def close(self) -> None:
        """Accept no more items; those queued can still be taken."""
        self._closed = True
        self._changed.notify_all()

    def statistics(self) -> FairQueueStatistics:
        """Return the current counts."""
        waiting = sum(len(items) for items in self._streams.values())
        return FairQueueStatistics(put=self._put, taken=self._taken, dropped=self._dropped, waiting=waiting)

    def _length(self, stream: str) -> int:
        items = self._streams.get(stream)
        return len(items) if items is not None else 0

    async def _gather(self, wanted: int, max_wait_s: float) -> None:
        try:
            async with asyncio.timeout(max_wait_s):
                while len(self._streams) < wanted and not self._closed:
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _drop_expired(self, now_s: float) -> None:
        for items in self._streams.values():
            while len(items) > 1 and items[0][1] < now_s:
                item, _ = items.popleft()
                self._dropped += 1
                if self._on_drop is not None:
                    self._on_drop(item)

    def _batch(self, max_items: int) -> list[Item]:
        key = self._key(next(iter(self._streams.values()))[0][0])
        batch: list[Item] = []
        progressed = True
        while progressed and len(batch) < max_items:
            progressed = False
            for stream in list(self._streams):
                items = self._streams[stream]
                if self._key(items[0][0]) != key:
                    continue
                batch.append(items.popleft()[0])
                progressed = True
                if items:
                    self._streams.move_to_end(stream)  # behind the other streams
                else:
                    del self._streams[stream]
                if len(batch) == max_items:
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
    """Queue of a sink. `conflate` returns the key by which a newer item replaces an older one, or None to keep both."""

    def __init__(self, *, capacity: int, conflate: Callable[[Item], Hashable | None]) -> None:
        self._capacity = capacity
        self._conflate = conflate
        self._items: OrderedDict[int, Item] = OrderedDict()
        self._changed = _Condition()
        self._closed = False
        self._put = self._taken = self._conflated = self._dropped = 0

    async def put(self, item: Item, *, policy: Policy) -> None:
        """Append an item; when full, wait or (`drop_oldest`) conflate and then drop. Raises `QueueClosed`."""
        while policy == "wait" and not self._closed and len(self._items) >= self._capacity:
            await self._changed.wait()
        if self._closed:
            raise QueueClosed
        self._put += 1
        self._items[self._put] = item
        if len(self._items) > self._capacity:
            self._shrink()
        self._changed.notify_all()

    async def take(self) -> Item:
        """Take the oldest item. Raises `QueueClosed` when closed and empty."""
        return (await self.take_all(max_items=1))[0]

    async def take_all(self, *, max_items: int) -> list[Item]:
        """Take the oldest items, waiting for at least one. Raises `QueueClosed` when closed and empty."""
        while not self._items:
            if self._closed:
                raise QueueClosed
            await self._changed.wait()
        taken = [self._items.popitem(last=False)[1] for _ in range(min(max_items, len(self._items)))]
        self._taken += len(taken)
        self._changed.notify_all()
        return taken

    def close(self) -> None:
        """Accept no more items; those queued can still be taken."""
        self._closed = True
        self._changed.notify_all()

    def statistics(self) -> EventQueueStatistics:
        """Return the current counts."""
        return EventQueueStatistics(
            put=self._put,
            taken=self._taken,
            conflated=self._conflated,
            dropped=self._dropped,
            waiting=len(self._items),
        )

    def _shrink(self) -> None:
        """Keep only the newest item of each key; if that removes nothing, drop the oldest item."""
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
