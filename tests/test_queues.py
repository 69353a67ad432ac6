"""Queues: every item is taken or counted, streams are served in turn, order is kept."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.queues import EventQueue, FairQueue, QueueClosed


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


async def take(queue: FairQueue[Any], max_items: int = 8) -> list[Any]:
    return await queue.take(max_items=max_items, wanted=lambda: 1, max_wait_s=0)


@pytest.mark.slow
@given(
    script=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 2)) | st.integers(1, 5), max_size=60),
    capacity=st.integers(1, 4),
)
def test_every_item_is_taken_dropped_or_waiting(script: list[Any], capacity: int) -> None:
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


def test_streams_are_served_in_turn() -> None:
    async def check() -> None:
        queue: FairQueue[str] = FairQueue(capacity=10, key=lambda _: 0)
        for _ in range(4):
            await queue.put("busy", "busy", policy="wait")
        await queue.put("quiet", "quiet", policy="wait")
        assert "quiet" in await take(queue, 2)

    run(check())


def test_put_waits_while_the_stream_is_full() -> None:
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


def test_a_batch_waits_for_other_streams_up_to_max_wait_s() -> None:
    async def check() -> None:
        queue: FairQueue[int] = FairQueue(capacity=4, key=lambda _: 0)
        await queue.put("a", 1, policy="wait")
        batch = asyncio.create_task(queue.take(max_items=8, wanted=lambda: 2, max_wait_s=60))
        await asyncio.sleep(0)
        assert not batch.done()
        await queue.put("b", 2, policy="wait")
        assert await batch == [1, 2]
        await queue.put("a", 3, policy="wait")
        assert await queue.take(max_items=8, wanted=lambda: 2, max_wait_s=0.001) == [3]

    run(check())


def test_a_closed_queue_yields_its_items_and_then_ends() -> None:
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
def test_events_conflate_before_any_is_dropped(script: list[str], capacity: int) -> None:
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


def test_turns_survive_while_state_can_be_conflated() -> None:
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


def test_a_new_state_replaces_the_older_one_before_a_turn_is_dropped() -> None:
    async def check() -> None:
        queue: EventQueue[str] = EventQueue(capacity=3, conflate=lambda item: "state" if item[0] == "s" else None)
        for item in ("turn 1", "s1", "turn 2", "s2"):
            await queue.put(item, policy="drop_oldest")
        assert [await queue.take() for _ in range(3)] == ["turn 1", "turn 2", "s2"]
        counts = queue.statistics()
        assert (counts.conflated, counts.dropped) == (1, 0)

    run(check())


@given(st.lists(st.sampled_from(["turn", "a", "b", "take"]), max_size=60), st.integers(1, 5))
def test_a_turn_is_dropped_only_where_nothing_can_be_conflated(script: list[str], capacity: int) -> None:
    async def check() -> None:
        queue: EventQueue[tuple[str, int]] = EventQueue(
            capacity=capacity, conflate=lambda item: None if item[0] == "turn" else item[0]
        )
        inside: list[tuple[str, int]] = []  # expected content of the queue
        for number, step in enumerate(script):
            if step == "take":
                if inside:
                    assert await queue.take() == inside.pop(0)
                continue
            await queue.put((step, number), policy="drop_oldest")
            inside.append((step, number))
            if len(inside) > capacity:
                newest = dict(inside)
                kept = [item for item in inside if item[0] == "turn" or newest[item[0]] == item[1]]
                inside = kept if len(kept) <= capacity else kept[1:]
        queue.close()
        assert [await queue.take() for _ in inside] == inside

    run(check())


def test_a_lossless_event_queue_waits_for_its_reader() -> None:
    async def check() -> None:
        queue: EventQueue[int] = EventQueue(capacity=1, conflate=lambda _: "same")
        await queue.put(1, policy="wait")
        second = asyncio.create_task(queue.put(2, policy="wait"))
        await asyncio.sleep(0)
        assert not second.done()
        assert await queue.take() == 1
        await second
        queue.close()
        assert await queue.take() == 2
        with pytest.raises(QueueClosed):
            await queue.put(3, policy="drop_oldest")
        assert queue.statistics().put == 2

    run(check())


@pytest.mark.slow
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    keys=st.lists(st.integers(0, 2), min_size=36, max_size=36),
    max_items=st.integers(1, 4),
)
def test_no_stream_starves(lengths: list[int], keys: list[int], max_items: int) -> None:
    async def check() -> None:
        queue: FairQueue[tuple[int, int]] = FairQueue(capacity=6, key=lambda item: item[1])
        for stream, length in enumerate(lengths):
            for place in range(length):
                await queue.put(str(stream), (stream, keys[6 * stream + place]), policy="wait")
        left, waited = dict(enumerate(lengths)), dict.fromkeys(range(len(lengths)), 0)
        while any(left.values()):
            served = [stream for stream, _ in await take(queue, max_items)]
            for stream in served:
                left[stream] -= 1
            for stream, length in left.items():
                waited[stream] = 0 if stream in served or not length else waited[stream] + 1
                assert waited[stream] < len(lengths), "every stream is served once a round"
        assert queue.statistics().waiting == 0

    run(check())


@given(count=st.integers(0, 20), capacity=st.integers(1, 5))
def test_the_newest_items_are_kept(count: int, capacity: int) -> None:
    async def check() -> None:
        queue: FairQueue[int] = FairQueue(capacity=capacity, key=lambda _: 0)
        gone: list[int] = []
        for number in range(count):
            gone += await queue.put("a", number, policy="drop_oldest")
        queue.close()
        kept = await take(queue) if count else []
        assert gone + kept == list(range(count))
        assert len(kept) == min(count, capacity)

    run(check())


def test_an_item_past_its_deadline_is_dropped_only_for_a_newer_one() -> None:
    gone: list[int] = []

    async def check() -> None:
        queue: FairQueue[int] = FairQueue(capacity=8, key=lambda _: 0, on_drop=gone.append)
        for item, deadline_s in [(1, 0.0), (2, 0.0), (3, math.inf), (4, 0.0)]:
            await queue.put("a", item, policy="drop_oldest", deadline_s=deadline_s)
        await queue.put("b", 5, policy="drop_oldest", deadline_s=0.0)  # the only one of its stream
        assert await queue.take(max_items=8, wanted=lambda: 1, max_wait_s=0) == [3, 5, 4]
        counts = queue.statistics()
        assert (counts.put, counts.taken, counts.dropped, counts.waiting) == (5, 3, 2, 0)

    run(check())
    assert gone == [1, 2]
