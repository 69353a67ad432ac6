"""Queues: what goes in comes out or is counted, streams take turns, order is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.queues import EventQueue, FairQueue, QueueClosed


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


async def take(queue: FairQueue[Any], most: int = 8) -> list[Any]:
    return await queue.take(most=most, enough=lambda: 1, patience_s=0)


@given(
    script=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 2)) | st.integers(1, 5), max_size=60),
    capacity=st.integers(1, 4),
)
def test_put_is_taken_dropped_or_waiting(script: list[Any], capacity: int) -> None:
    async def check() -> None:
        queue: FairQueue[tuple[str, int, int]] = FairQueue(capacity=capacity, key=lambda item: item[1])
        given: dict[str, list[int]] = {name: [] for name in "abc"}
        dropped = 0
        for number, step in enumerate(script):
            if isinstance(step, tuple):
                stream, key = step
                gone = await queue.put(stream, (stream, key, number), policy="drop_oldest")
                dropped += len(gone)
                assert all(item[0] == stream and item[2] < number for item in gone), "the oldest of its own stream"
            elif queue.statistics().waiting:
                batch = await take(queue, step)
                assert 0 < len(batch) <= step
                assert len({item[1] for item in batch}) == 1, "one key a batch"
                for stream, _, place in batch:
                    assert all(place > earlier for earlier in given[stream]), "a stream's order is kept"
                    given[stream].append(place)
            counts = queue.statistics()
            assert counts.put == counts.taken + counts.dropped + counts.waiting
            assert counts.dropped == dropped

    run(check())


def test_streams_take_turns() -> None:
    async def check() -> None:
        queue: FairQueue[str] = FairQueue(capacity=10, key=lambda _: 0)
        for _ in range(4):
            await queue.put("busy", "busy", policy="wait")
        await queue.put("quiet", "quiet", policy="wait")
        assert "quiet" in await take(queue, 2)

    run(check())


def test_a_full_lane_waits_for_room() -> None:
    async def check() -> None:
        queue: FairQueue[int] = FairQueue(capacity=1, key=lambda _: 0)
        await queue.put("a", 1, policy="wait")
        second = asyncio.create_task(queue.put("a", 2, policy="wait"))
        await asyncio.sleep(0)
        assert not second.done()
        assert await take(queue) == [1]
        assert await second == []
        assert await take(queue) == [2]

    run(check())


def test_a_batch_waits_for_the_other_streams_only_so_long() -> None:
    async def check() -> None:
        queue: FairQueue[int] = FairQueue(capacity=4, key=lambda _: 0)
        await queue.put("a", 1, policy="wait")
        batch = asyncio.create_task(queue.take(most=8, enough=lambda: 2, patience_s=60))
        await asyncio.sleep(0)
        assert not batch.done()
        await queue.put("b", 2, policy="wait")
        assert await batch == [1, 2]
        await queue.put("a", 3, policy="wait")
        assert await queue.take(most=8, enough=lambda: 2, patience_s=0.001) == [3]

    run(check())


def test_a_closed_queue_gives_what_it_has_and_then_ends() -> None:
    async def check() -> None:
        queue: FairQueue[int] = FairQueue(capacity=1, key=lambda _: 0)
        await queue.put("a", 1, policy="wait")
        waiting = asyncio.create_task(queue.put("a", 2, policy="wait"))
        await asyncio.sleep(0)
        queue.close()
        with pytest.raises(QueueClosed):
            await waiting
        assert await take(queue) == [1]
        with pytest.raises(QueueClosed):
            await take(queue)

    run(check())


@given(st.lists(st.sampled_from(["turn", "a", "b", "take"]), max_size=80), st.integers(1, 6))
def test_events_conflate_before_any_is_lost(script: list[str], capacity: int) -> None:
    async def check() -> None:
        queue: EventQueue[tuple[str, int]] = EventQueue(
            capacity=capacity, conflate=lambda item: None if item[0] == "turn" else item[0]
        )
        taken: list[tuple[str, int]] = []
        for number, step in enumerate(script):
            if step != "take":
                await queue.put((step, number), policy="drop_oldest")
            elif queue.statistics().waiting:
                taken.append(await queue.take())
            counts = queue.statistics()
            assert counts.put == counts.taken + counts.conflated + counts.dropped + counts.waiting
            assert counts.waiting <= capacity
        numbers = [number for _, number in taken]
        assert numbers == sorted(numbers)

    run(check())


def test_turns_survive_where_state_can_give_way() -> None:
    async def check() -> None:
        queue: EventQueue[str] = EventQueue(capacity=3, conflate=lambda item: "state" if item == "state" else None)
        for item in ("state", "turn", "state", "turn"):
            await queue.put(item, policy="drop_oldest")
        queue.close()
        assert [await queue.take() for _ in range(3)] == ["turn", "state", "turn"]
        assert queue.statistics().conflated == 1
        with pytest.raises(QueueClosed):
            await queue.take()

    run(check())
