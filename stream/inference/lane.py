"""The worker pool: micro-batches in, answers out, one thread a model replica.

A `InferenceLane` leads to one model: a `FairQueue`, and `workers` tasks that each take a batch and run it on a thread of their
own. All bookkeeping stays on the event loop; only `infer` runs elsewhere. The pool knows no torch: what a thread must
do before its first batch (limit its BLAS threads) is handed in as `prepare`.

Promise: every item put into a lane is answered, in any order: with the model's answer, or with None when a fresher
window took its place or its batch failed. `cut = inferred + dropped + failed + waiting`, always. A lane whose batches
fail `PATIENCE` times in a row is broken: its error is raised to the owner of the pool.

A batch that takes longer than `timeout_s` counts as failed, and its worker is replaced: a model that hangs costs a
batch, not the run. A batch for which there was no memory is halved, and so are those that follow.

Shutdown: `close()` lets the queues run dry. A cancelled worker does not wait for its thread, or the loop would stand
still for as long as a model takes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stream.errors import InferenceError
from stream.inference.worker import InferenceThread
from stream.queues import FairQueue, Policy, QueueClosed

Item = TypeVar("Item")
Answer = TypeVar("Answer")

PATIENCE = 3
"""Failed batches in a row after which a lane gives up."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """Counts since the start, in items; `busy_s` is time spent inside the model, all workers together."""

    name: str
    cut: int
    inferred: int
    dropped: int
    failed: int
    waiting: int
    batches: int
    busy_s: float
    replaced: int  # workers, because a batch took too long
    max_batch: int


class InferenceLane(Generic[Item, Answer]):
    """One model's way through the pool."""

    def __init__(
        self,
        *,
        name: str,
        infer: Callable[[Sequence[Item]], Sequence[Answer]],
        key: Callable[[Item], Hashable],
        workers: int = 1,
        max_batch: int = 8,
        max_wait_s: float = 0.0,
        deadline_s: float = math.inf,
        capacity: int = 4,
        prepare: Callable[[], None] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.name = name
        self.workers = workers
        self._infer = infer
        self._prepare = prepare or (lambda: None)
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._timeout_s = timeout_s
        self._replaced = 0
        self._deadline_s = deadline_s
        self._queue: FairQueue[tuple[Item, asyncio.Future[Answer | None]]] = FairQueue(
            capacity=capacity, key=lambda entry: key(entry[0]), on_drop=lambda entry: _settle(entry[1], None)
        )
        self._streams: set[str] = set()
        self._in_flight = self._inferred = self._failed = self._batches = 0
        self._failures_in_a_row = 0
        self._busy_s = 0.0

    def join(self, stream: str) -> None:
        """A stream will put items: batches may wait for it to."""
        self._streams.add(stream)

    def leave(self, stream: str) -> None:
        """A stream has ended: batches no longer wait for it."""
        self._streams.discard(stream)

    async def submit(
        self, stream: str, item: Item, *, policy: Policy, age_s: float = 0.0
    ) -> asyncio.Future[Answer | None]:
        """Queue one item; the future gives the answer, or None if a fresher item took its place.

        `age_s` is how long ago its sound came in: the deadline counts from then, wherever the time was spent. With
        the policy `wait` this waits while the stream's lane is full, and items have no deadline. Raises `QueueClosed`
        after `close()`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer | None] = loop.create_future()
        deadline_s = loop.time() + self._deadline_s - age_s if policy == "drop_oldest" else math.inf
        for _, dropped in await self._queue.put(stream, (item, future), policy=policy, deadline_s=deadline_s):
            _settle(dropped, None)
        return future

    def close(self) -> None:
        """No more items; workers end when the queue has run dry."""
        self._queue.close()

    def statistics(self) -> LaneStatistics:
        """Counts so far."""
        queue = self._queue.statistics()
        return LaneStatistics(
            name=self.name,
            cut=queue.put,
            inferred=self._inferred,
            dropped=queue.dropped,
            failed=self._failed,
            waiting=queue.waiting + self._in_flight,
            batches=self._batches,
            busy_s=self._busy_s,
            replaced=self._replaced,
            max_batch=self._max_batch,
        )

    async def work(self) -> None:
        """One worker: take, infer, answer, until closed and dry. Raises `InferenceError` when the lane is broken."""
        worker = self._hire()
        try:
            while True:
                batch = await self._queue.take(
                    most=self._max_batch, enough=lambda: len(self._streams), patience_s=self._max_wait_s
                )
                if batch and not await self._answer(batch, worker):
                    worker.close()
                    worker = self._hire()
        except QueueClosed:
            pass
        finally:
            worker.close()

    def _hire(self) -> InferenceThread:
        return InferenceThread(name=f"tonewatch-{self.name}", prepare=self._prepare)

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Answer | None]]], worker: InferenceThread) -> bool:
        """Score a batch and settle it; returns whether the worker can still be used."""
        items = [item for item, _ in batch]
        self._in_flight += len(batch)
        try:
            answers, took_s = await worker.run(lambda: self._timed(items), timeout_s=self._timeout_s)
        except (InferenceError, TimeoutError) as error:
            stuck = isinstance(error, TimeoutError)
            if stuck:
                self._replaced += 1
                error = InferenceError(f"it took longer than {self._timeout_s:g} s; check what else this machine does")
            self._in_flight -= len(batch)
            self._failed += len(batch)
            self._failures_in_a_row += 1
            log.warning("%s lost a batch of %d: %s", self.name, len(batch), error)
            _settle_all(batch, [None] * len(batch))
            if self._failures_in_a_row >= PATIENCE:
                raise error from None
            return not stuck
        else:
            self._in_flight -= len(batch)  # one that was cut off stays in flight, or it would be missing from the sum
            self._inferred += len(batch)
            self._failures_in_a_row = 0
            self._batches += 1
            self._busy_s += took_s
            _settle_all(batch, answers)
            return True

    def _timed(self, items: Sequence[Item]) -> tuple[Sequence[Answer], float]:
        began_s = time.perf_counter()
        answers = self._within_memory(items)
        if len(answers) != len(items):
            raise InferenceError(f"{self.name} gave {len(answers)} answers to {len(items)} items; this model is broken")
        return answers, time.perf_counter() - began_s

    def _within_memory(self, items: Sequence[Item]) -> Sequence[Answer]:
        """A batch that does not fit is scored in halves; those that follow are made no larger."""
        try:
            return self._infer(items)
        except InferenceError as error:
            half = len(items) // 2
            if not half or not _ran_out_of_memory(error):
                raise
            self._max_batch = min(self._max_batch, half)
            log.warning("%s has no memory for a batch of %d; from now on it gets %d", self.name, len(items), half)
        return [*self._within_memory(items[:half]), *self._within_memory(items[half:])]


def _ran_out_of_memory(error: BaseException) -> bool:
    """Whether that is behind a failure; torch is not known here, so its error goes by its name."""
    seen: BaseException | None = error
    while seen is not None:
        words = str(seen).lower()
        if isinstance(seen, MemoryError) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if "out of memory" in words or "not enough memory" in words or "can't allocate memory" in words:
            return True
        seen = seen.__cause__
    return False


def _settle_all(batch: Sequence[tuple[Item, asyncio.Future[Answer | None]]], answers: Sequence[Answer | None]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        _settle(future, answer)


def _settle(future: asyncio.Future[Answer | None], answer: Answer | None) -> None:
    if not future.done():  # its stream may have been cut off meanwhile
        future.set_result(answer)
