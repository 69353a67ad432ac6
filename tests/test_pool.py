"""Lanes: every item is answered, counts add up, threads are as many as were asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from stream.errors import InferenceError
from stream.pool import PATIENCE, Lane
from stream.queues import QueueClosed

PATIENCE_S = 20


def lane(infer: Callable[[Sequence[int]], Sequence[Any]], **options: Any) -> Lane[int, Any]:
    return Lane(name="fake", infer=infer, key=lambda _: 0, **options)


async def drain(tested: Lane[int, Any], workers: asyncio.TaskGroup) -> None:
    for _ in range(tested.workers):
        workers.create_task(tested.work())


def test_everything_put_is_answered_in_its_place() -> None:
    async def check() -> None:
        tested = lane(lambda batch: [item * 2 for item in batch], workers=3, max_batch=4)
        async with asyncio.TaskGroup() as workers:
            await drain(tested, workers)
            futures = [await tested.submit(f"s{number % 5}", number, policy="wait") for number in range(100)]
            assert await asyncio.gather(*futures) == [number * 2 for number in range(100)]
            tested.close()
        counts = tested.statistics()
        assert (counts.cut, counts.inferred, counts.dropped, counts.failed, counts.waiting) == (100, 100, 0, 0, 0)
        assert counts.batches <= 100
        with pytest.raises(QueueClosed):
            await tested.submit("s", 1, policy="wait")

    asyncio.run(check())


def test_the_freshest_wins_and_the_rest_is_counted() -> None:
    async def check() -> None:
        tested = lane(list, capacity=2)
        futures = [await tested.submit("s", number, policy="drop_oldest") for number in range(10)]
        assert tested.statistics().waiting == 2
        async with asyncio.TaskGroup() as workers:
            await drain(tested, workers)
            tested.close()
        assert [await future for future in futures] == [None] * 8 + [8, 9]
        counts = tested.statistics()
        assert counts.cut == counts.inferred + counts.dropped == 10

    asyncio.run(check())


def test_a_failed_batch_is_counted_and_the_lane_goes_on() -> None:
    def infer(batch: Sequence[int]) -> Sequence[int]:
        if batch[0] == 0:
            raise InferenceError("out of memory")
        return batch

    async def check() -> None:
        tested = lane(infer, max_batch=1)
        async with asyncio.TaskGroup() as workers:
            await drain(tested, workers)
            futures = [await tested.submit("s", number, policy="wait") for number in (0, 1, 0, 2)]
            assert await asyncio.gather(*futures) == [None, 1, None, 2]
            tested.close()
        assert tested.statistics().failed == 2

    asyncio.run(check())


@pytest.mark.parametrize("answers", [[], [1, 2]])
def test_a_broken_model_ends_the_lane(answers: list[int]) -> None:
    async def check() -> None:
        tested = lane(lambda _: answers, max_batch=1)
        async with asyncio.TaskGroup() as workers:
            await drain(tested, workers)
            for number in range(PATIENCE):
                await tested.submit("s", number, policy="wait")

    with pytest.raises(ExceptionGroup) as broken:
        asyncio.run(check())
    assert "gave" in str(broken.value.exceptions[0])
    assert isinstance(broken.value.exceptions[0], InferenceError)


def test_workers_run_side_by_side_each_prepared_once() -> None:
    together = threading.Barrier(3)
    prepared: list[int] = []

    def infer(batch: Sequence[int]) -> Sequence[int]:
        together.wait(PATIENCE_S)
        return batch

    async def check() -> None:
        tested = lane(infer, workers=3, max_batch=1, prepare=lambda: prepared.append(threading.get_ident()))
        async with asyncio.TaskGroup() as workers:
            await drain(tested, workers)
            futures = [await tested.submit(f"s{number}", number, policy="wait") for number in range(6)]
            await asyncio.gather(*futures)
            tested.close()

    asyncio.run(check())
    assert len(prepared) == len(set(prepared)) == 3


def test_a_cancelled_worker_does_not_wait_for_its_model() -> None:
    inside, release = threading.Event(), threading.Event()

    def infer(batch: Sequence[int]) -> Sequence[int]:
        inside.set()
        release.wait(PATIENCE_S)
        return batch

    async def check() -> None:
        tested = lane(infer)
        worker = asyncio.create_task(tested.work())
        await tested.submit("s", 1, policy="wait")
        await asyncio.to_thread(inside.wait, PATIENCE_S)
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker
        assert not release.is_set()
        release.set()

    asyncio.run(check())
