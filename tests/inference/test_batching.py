"""Lanes: every item is resolved, counts add up, every worker has its thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import InferenceError
from stream.inference.batching import MAX_CONSECUTIVE_FAILURES, InferenceLane
from stream.queues import Policy, QueueClosed
from tests.support.acceleration import run_accelerated

MAX_WAIT_S = 20


def lane(infer: Callable[[Sequence[int]], Sequence[Any]], **options: Any) -> InferenceLane[int, Any]:
    return InferenceLane(name="fake", infer=infer, key=lambda _: 0, **options)


async def start_workers(tested: InferenceLane[int, Any], workers: asyncio.TaskGroup) -> None:
    for _ in range(tested.workers):
        workers.create_task(tested.run_worker())


def test_every_item_gets_its_own_result() -> None:
    async def check() -> None:
        tested = lane(lambda batch: [item * 2 for item in batch], workers=3, max_batch=4)
        async with asyncio.TaskGroup() as workers:
            await start_workers(tested, workers)
            futures = [await tested.submit(f"s{number % 5}", number, policy="wait") for number in range(100)]
            assert await asyncio.gather(*futures) == [number * 2 for number in range(100)]
            tested.close()
        counts = tested.statistics()
        assert (counts.submitted, counts.inferred, counts.dropped, counts.failed, counts.waiting) == (100, 100, 0, 0, 0)
        assert counts.batches <= 100
        with pytest.raises(QueueClosed):
            await tested.submit("s", 1, policy="wait")

    asyncio.run(check())


def test_the_newest_items_win_and_the_rest_is_counted() -> None:
    async def check() -> None:
        tested = lane(list, capacity=2)
        futures = [await tested.submit("s", number, policy="drop_oldest") for number in range(10)]
        assert tested.statistics().waiting == 2
        async with asyncio.TaskGroup() as workers:
            await start_workers(tested, workers)
            tested.close()
        assert [await future for future in futures] == [None] * 8 + [8, 9]
        counts = tested.statistics()
        assert counts.submitted == counts.inferred + counts.dropped == 10

    asyncio.run(check())


def test_a_failed_batch_is_counted_and_the_lane_goes_on() -> None:
    def infer(batch: Sequence[int]) -> Sequence[int]:
        if batch[0] == 0:
            raise InferenceError("out of memory")
        return batch

    async def check() -> None:
        tested = lane(infer, max_batch=1)
        async with asyncio.TaskGroup() as workers:
            await start_workers(tested, workers)
            futures = [await tested.submit("s", number, policy="wait") for number in (0, 1, 0, 2)]
            assert await asyncio.gather(*futures) == [None, 1, None, 2]
            tested.close()
        assert tested.statistics().failed == 2

    asyncio.run(check())


@pytest.mark.parametrize("answers", [[], [1, 2]])
def test_a_faulty_model_ends_the_lane(answers: list[int]) -> None:
    async def check() -> None:
        tested = lane(lambda _: answers, max_batch=1)
        async with asyncio.TaskGroup() as workers:
            await start_workers(tested, workers)
            for number in range(MAX_CONSECUTIVE_FAILURES):
                await tested.submit("s", number, policy="wait")

    with pytest.raises(ExceptionGroup) as broken:
        asyncio.run(check())
    assert "returned" in str(broken.value.exceptions[0])
    assert isinstance(broken.value.exceptions[0], InferenceError)


def test_workers_run_concurrently_each_set_up_once() -> None:
    together = threading.Barrier(3)
    prepared: list[int] = []

    def infer(batch: Sequence[int]) -> Sequence[int]:
        together.wait(MAX_WAIT_S)
        return batch

    async def check() -> None:
        tested = lane(infer, workers=3, max_batch=1, thread_setup=lambda: prepared.append(threading.get_ident()))
        async with asyncio.TaskGroup() as workers:
            await start_workers(tested, workers)
            futures = [await tested.submit(f"s{number}", number, policy="wait") for number in range(6)]
            await asyncio.gather(*futures)
            tested.close()

    asyncio.run(check())
    assert len(prepared) == len(set(prepared)) == 3


def test_a_cancelled_worker_does_not_wait_for_its_model() -> None:
    inside, release = threading.Event(), threading.Event()

    def infer(batch: Sequence[int]) -> Sequence[int]:
        inside.set()
        release.wait(MAX_WAIT_S)
        return batch

    async def check() -> None:
        tested = lane(infer)
        worker = asyncio.create_task(tested.run_worker())
        await tested.submit("s", 1, policy="wait")
        await asyncio.to_thread(inside.wait, MAX_WAIT_S)
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker
        counts = tested.statistics()
        assert (counts.submitted, counts.waiting) == (1, 1), "a cancelled batch still counts"
        assert not release.is_set()
        release.set()

    asyncio.run(check())


def test_a_lane_that_raises_resolves_what_it_had_taken() -> None:
    def infer(_: Sequence[int]) -> Sequence[int]:
        raise InferenceError("out of memory")

    async def check() -> None:
        tested = lane(infer, max_batch=1)
        futures = [await tested.submit("s", number, policy="wait") for number in range(MAX_CONSECUTIVE_FAILURES)]
        with pytest.raises(InferenceError, match="out of memory"):
            await tested.run_worker()
        assert [future.result() for future in futures] == [None] * MAX_CONSECUTIVE_FAILURES
        counts = tested.statistics()
        assert counts.submitted == counts.failed == MAX_CONSECUTIVE_FAILURES

    asyncio.run(check())


@settings(max_examples=25, deadline=None)
@given(
    items=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.booleans()), max_size=40),
    workers=st.integers(1, 3),
    max_batch=st.integers(1, 5),
    capacity=st.integers(1, 4),
    policy=st.sampled_from(["wait", "drop_oldest"]),
)
def test_every_item_is_resolved_and_counted(
    items: list[tuple[str, int, bool]], workers: int, max_batch: int, capacity: int, policy: Policy
) -> None:
    def infer(batch: Sequence[tuple[int, int, bool]]) -> Sequence[int]:
        assert len({key for _, key, _ in batch}) == 1
        if (
            len(batch) == 1 and batch[0][2] and batch[0][0] % MAX_CONSECUTIVE_FAILURES == 0
        ):  # never so often that the lane raises
            raise InferenceError("expected failure")
        return [number for number, _, _ in batch]

    async def check() -> None:
        tested: InferenceLane[tuple[int, int, bool], int] = InferenceLane(
            name="fake", infer=infer, key=lambda item: item[1], workers=workers, max_batch=max_batch, capacity=capacity
        )
        with contextlib.suppress(ExceptionGroup):  # failures may happen to come in a row
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(tested.run_worker())
                futures = [
                    await tested.submit(stream, (number, key, bad), policy=policy)
                    for number, (stream, key, bad) in enumerate(items)
                ]
                answers = await asyncio.gather(*futures)
                assert all(answer in (None, number) for number, answer in enumerate(answers))
                counts = tested.statistics()
                assert answers.count(None) == counts.dropped + counts.failed
                assert counts.dropped == 0 or policy == "drop_oldest"
                assert counts.waiting == 0
                tested.close()
        counts = tested.statistics()
        assert counts.submitted == counts.inferred + counts.dropped + counts.failed + counts.waiting

    asyncio.run(check())


class Gate:
    """A model that scores one batch per `step`."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._steps = threading.Semaphore(0)

    def infer(self, batch: Sequence[Any]) -> list[Any]:
        assert self._steps.acquire(timeout=MAX_WAIT_S)
        self.seen += batch
        return list(batch)

    def step(self) -> None:
        self._steps.release()


@pytest.mark.slow
def test_under_overload_all_streams_get_equal_shares_and_the_newest_windows_win() -> None:
    """Five live streams submit a window per tick; the model scores one window per tick."""
    streams, ticks = 5, 60
    model = Gate()

    async def check() -> None:
        tested: InferenceLane[Any, Any] = InferenceLane(
            name="fake", infer=model.infer, key=lambda _: 0, max_batch=1, capacity=4, deadline_s=2.5
        )
        async with asyncio.TaskGroup() as workers:
            await start_workers(tested, workers)
            futures = []
            for tick in range(ticks):
                futures += [
                    await tested.submit(str(stream), (stream, tick), policy="drop_oldest") for stream in range(streams)
                ]
                model.step()
                await asyncio.sleep(1)
            for _ in range(streams * 4):
                model.step()
            tested.close()
        assert all(future.done() for future in futures)  # dropped ones are resolved, too
        counts = tested.statistics()
        assert counts.submitted == counts.inferred + counts.dropped == streams * ticks

    run_accelerated(check())
    settled = [entry for entry in model.seen[:ticks] if entry[1] > 10]
    shares = [sum(stream == number for stream, _ in settled) for number in range(streams)]
    assert max(shares) - min(shares) <= 2
    ages = [place - tick for place, (_, tick) in enumerate(model.seen[:ticks]) if tick > 10]
    assert max(ages) <= 4  # without a deadline each would have waited behind three older ones


def test_the_age_at_submission_counts_towards_the_deadline() -> None:
    """Windows of audio that waited elsewhere are late although they have not waited in the queue."""
    model = Gate()

    async def check() -> list[Any]:
        tested = lane(model.infer, max_batch=4, capacity=4, deadline_s=60.0)
        futures = [
            await tested.submit("s", number, policy="drop_oldest", age_s=age_s)
            for number, age_s in enumerate((90.0, 70.0, 50.0, 30.0))
        ]
        async with asyncio.TaskGroup() as workers:
            await start_workers(tested, workers)
            for _ in range(2):
                model.step()
            answers = await asyncio.gather(*futures)
            tested.close()
        assert tested.statistics().dropped == 2
        return answers

    assert asyncio.run(check()) == [None, None, 2, 3]


def test_a_short_stall_drops_nothing() -> None:
    model = Gate()

    async def check() -> None:
        tested = lane(model.infer, max_batch=1, capacity=4, deadline_s=60.0)
        async with asyncio.TaskGroup() as workers:
            await start_workers(tested, workers)
            futures = [await tested.submit("s", number, policy="drop_oldest") for number in range(4)]
            for _ in range(4):
                model.step()
            assert await asyncio.gather(*futures) == [0, 1, 2, 3]
            tested.close()
        assert tested.statistics().dropped == 0

    asyncio.run(check())
