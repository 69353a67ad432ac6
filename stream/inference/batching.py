"""Inference lanes: one model, one queue, micro-batches, one thread per worker.

An `InferenceLane` has a `FairQueue` and `workers` tasks; each task takes a batch and runs it on its own
`InferenceThread`. All bookkeeping stays on the event loop; only `infer` runs in the thread. This module does not depend
on torch: what a thread needs before its first batch (the limit on its BLAS threads) is passed in as `thread_setup`.

Guarantee: every submitted item is resolved, in any order: with the model's result, or with None if a newer window
replaced it or its batch failed. `submitted = inferred + dropped + failed + waiting` at any time. A lane whose batches
fail `MAX_CONSECUTIVE_FAILURES` times in a row raises the last error from `run_worker`.

A batch that exceeds `timeout_s` counts as failed and its thread is replaced, so a model that hangs costs one batch. A
batch that does not fit into memory is halved, and later batches are no larger.

Shutdown: after `close()` the workers empty the queue and end. A cancelled worker does not wait for its thread, which
would block the event loop for as long as the model runs.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stream.errors import ClusterUnavailable, InferenceError
from stream.inference.worker import InferenceThread
from stream.queues import FairQueue, Policy, QueueClosed

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_CONSECUTIVE_FAILURES = 3
"""Failed batches in a row after which a lane raises."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """Counts since the start, in items; `busy_s` is time spent inside the model, summed over the workers."""

    name: str
    submitted: int
    inferred: int
    dropped: int
    failed: int
    waiting: int
    batches: int
    busy_s: float
    workers_replaced: int  # after a batch timed out
    max_batch: int


class InferenceLane(Generic[Item, Result]):
    """The queue and the workers of one model.

    Args:
        name: The model's name, used in log lines and thread names.
        infer: Scores a batch; called in a worker thread.
        key: Items of one batch have equal keys.
        workers: Batches that run at the same time.
        max_batch: Items in a batch.
        max_wait_s: How long a batch waits for items of further streams.
        deadline_s: Age at which a queued item of a live stream is dropped in favour of a newer one.
        capacity: Items that may wait per stream.
        thread_setup: Called once in every worker thread, before its first batch.
        timeout_s: Time a batch may take; None for no limit.
        active: Number of streams that submit items; a batch does not wait for more streams than that.
    """

    def __init__(
        self,
        *,
        name: str,
        infer: Callable[[Sequence[Item]], Sequence[Result]],
        key: Callable[[Item], Hashable],
        workers: int = 1,
        max_batch: int = 8,
        max_wait_s: float = 0.0,
        deadline_s: float = math.inf,
        capacity: int = 4,
        thread_setup: Callable[[], None] | None = None,
        timeout_s: float | None = None,
        active: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = name
        self.workers = workers
        self._infer = infer
        self._thread_setup = thread_setup or (lambda: None)
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._timeout_s = timeout_s
        self._workers_replaced = 0
        self._deadline_s = deadline_s
        self._queue: FairQueue[tuple[Item, asyncio.Future[Result | None]]] = FairQueue(
            capacity=capacity, key=lambda entry: key(entry[0]), on_drop=lambda entry: _resolve(entry[1], None)
        )
        self._active = active
        self._in_flight = self._inferred = self._failed = self._batches = 0
        self._consecutive_failures = 0
        self._busy_s = 0.0

    async def submit(
        self, stream: str, item: Item, *, policy: Policy, age_s: float = 0.0
    ) -> asyncio.Future[Result | None]:
        """Queue one item; the returned future gives the result, or None if a newer item replaced this one.

        `age_s` is the time since the item's audio was captured; it counts towards the deadline. With the policy `wait`
        the call waits while the stream's queue is full, and items have no deadline. Raises `QueueClosed` after
        `close()`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result | None] = loop.create_future()
        deadline_s = loop.time() + self._deadline_s - age_s if policy == "drop_oldest" else math.inf
        for _, dropped in await self._queue.put(stream, (item, future), policy=policy, deadline_s=deadline_s):
            _resolve(dropped, None)
        return future

    def close(self) -> None:
        """Accept no more items; workers end once the queue is empty."""
        self._queue.close()

    def statistics(self) -> LaneStatistics:
        """Return the counts so far."""
        queue = self._queue.statistics()
        return LaneStatistics(
            name=self.name,
            submitted=queue.put,
            inferred=self._inferred,
            dropped=queue.dropped,
            failed=self._failed,
            waiting=queue.waiting + self._in_flight,
            batches=self._batches,
            busy_s=self._busy_s,
            workers_replaced=self._workers_replaced,
            max_batch=self._max_batch,
        )

    async def run_worker(self) -> None:
        """Process batches until the lane is closed and empty.

        Raises `InferenceError` after `MAX_CONSECUTIVE_FAILURES` failed batches in a row.
        """
        thread = self._start_thread()
        try:
            while True:
                batch = await self._queue.take(
                    max_items=self._max_batch, wanted=self._active, max_wait_s=self._max_wait_s
                )
                if batch and not await self._process(batch, thread):
                    thread.close()
                    thread = self._start_thread()
        except QueueClosed:
            pass
        finally:
            thread.close()

    def _start_thread(self) -> InferenceThread:
        return InferenceThread(name=f"tonewatch-{self.name}", thread_setup=self._thread_setup)

    async def _process(self, batch: list[tuple[Item, asyncio.Future[Result | None]]], thread: InferenceThread) -> bool:
        """Score a batch and resolve its futures; returns whether the thread can still be used."""
        items = [item for item, _ in batch]
        self._in_flight += len(batch)
        try:
            results, elapsed_s = await thread.run(lambda: self._timed(items), timeout_s=self._timeout_s)
        except (InferenceError, TimeoutError) as error:
            timed_out = isinstance(error, TimeoutError)
            if timed_out:
                self._workers_replaced += 1
                error = InferenceError(
                    f"inference timed out after {self._timeout_s:g} s (pool.timeout_s); check the machine's load"
                )
            self._in_flight -= len(batch)
            self._failed += len(batch)
            is_away = isinstance(error, ClusterUnavailable)  # which is logged once, and comes back by itself
            self._consecutive_failures += not is_away
            level = logging.DEBUG if is_away else logging.WARNING
            log.log(level, "%s: batch of %d windows failed: %s", self.name, len(batch), error)
            _resolve_all(batch, [None] * len(batch))
            if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
                raise error from None
            return not timed_out
        else:
            self._in_flight -= len(batch)  # not in `finally`: a cancelled batch stays in flight, so that counts add up
            self._inferred += len(batch)
            self._consecutive_failures = 0
            self._batches += 1
            self._busy_s += elapsed_s
            _resolve_all(batch, results)
            return True

    def _timed(self, items: Sequence[Item]) -> tuple[Sequence[Result], float]:
        began_s = time.perf_counter()
        results = self._within_memory(items)
        if len(results) != len(items):
            raise InferenceError(
                f"{self.name} returned {len(results)} results for {len(items)} windows; the model is faulty"
            )
        return results, time.perf_counter() - began_s

    def _within_memory(self, items: Sequence[Item]) -> Sequence[Result]:
        """Score a batch; one that does not fit into memory is scored in halves and lowers `max_batch`."""
        try:
            return self._infer(items)
        except InferenceError as error:
            half = len(items) // 2
            if not half or not _is_out_of_memory(error):
                raise
            self._max_batch = min(self._max_batch, half)
            log.warning("%s: out of memory with batch size %d; reduced to %d", self.name, len(items), half)
        return [*self._within_memory(items[:half]), *self._within_memory(items[half:])]


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether a lack of memory caused `error`; torch's error is matched by name, since torch is not imported."""
    cause: BaseException | None = error
    while cause is not None:
        message = str(cause).lower()
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return True
        if "out of memory" in message or "not enough memory" in message or "can't allocate memory" in message:
            return True
        cause = cause.__cause__
    return False


def _resolve_all(batch: Sequence[tuple[Item, asyncio.Future[Result | None]]], results: Sequence[Result | None]) -> None:
    for (_, future), result in zip(batch, results, strict=True):
        _resolve(future, result)


def _resolve(future: asyncio.Future[Result | None], result: Result | None) -> None:
    if not future.done():  # cancelled together with its stream
        future.set_result(result)
