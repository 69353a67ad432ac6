"""A track that a connection brings: nothing is lost, and who brings too much waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.sources.push import LONGEST_S, MOST_S, PushSource
from stream.types import Block

RATE_HZ = 8_000
RAMP = np.arange(40_000, dtype=np.float32)


def heard(fill: Callable[[PushSource], Any]) -> list[Block]:
    async def check() -> list[Block]:
        source = PushSource(source_id="desk", channels="customer", rate_hz=RATE_HZ)
        fill(source)
        source.end()
        async with source.blocks() as blocks:
            return [block async for block in blocks]

    return asyncio.run(check())


@settings(deadline=None)  # each example has a loop of its own
@given(sizes=st.lists(st.integers(1, 3_000), min_size=1, max_size=40))
def test_pieces_become_blocks_without_a_loss(sizes: list[int]) -> None:
    def fill(source: PushSource) -> None:
        place = 0
        for size in sizes:
            source.put(place, RAMP[place : place + size])
            place += size

    blocks = heard(fill)
    total = min(sum(sizes), len(RAMP))
    assert np.array_equal(np.concatenate([block.samples for block in blocks])[:, 0], RAMP[:total])
    assert [block.start_frame for block in blocks[1:]] == [block.end_frame for block in blocks[:-1]]
    assert all(len(block.samples) >= 2_048 for block in blocks[:-1])
    assert all(block.captured_s is not None for block in blocks)


def test_a_jump_is_a_gap_and_the_past_stays_as_it_was() -> None:
    def fill(source: PushSource) -> None:
        source.put(0, RAMP[:100])
        source.put(50, RAMP[50:150])
        source.put(500, RAMP[500:600])
        source.put(300, RAMP[300:400])

    blocks = heard(fill)
    assert [(block.start_frame, block.end_frame) for block in blocks] == [(0, 150), (500, 600)]
    assert np.array_equal(blocks[0].samples[:, 0], RAMP[:150])


def test_who_is_late_hears_more_at_a_time() -> None:
    """A reader that keeps up gets short blocks; what has piled up costs it hardly more than one of them."""

    async def check() -> list[int]:
        source = PushSource(source_id="desk", channels="customer", rate_hz=RATE_HZ)
        heard, place = [], 0
        async with source.blocks() as blocks:
            for pieces in (13, 13, 130):  # of 20 ms
                for _ in range(pieces):
                    source.put(place, np.zeros(160, np.float32))
                    place += 160
                heard.append(len((await anext(blocks)).samples))
        return heard

    assert asyncio.run(check()) == [2_080, 2_080, round(LONGEST_S * RATE_HZ)]


def test_who_brings_more_than_is_heard_waits() -> None:
    async def check() -> None:
        source = PushSource(source_id="desk", channels="customer", rate_hz=RATE_HZ)
        most = round(MOST_S * RATE_HZ)
        source.put(0, np.zeros(most, np.float32))
        await source.room()
        source.put(most, np.zeros(4_000, np.float32))
        waiting = asyncio.create_task(source.room())
        async with source.blocks() as blocks:
            await anext(blocks)
            assert not waiting.done()
            await anext(blocks)
            await waiting

    asyncio.run(check())


def test_a_rate_may_be_told_later_or_never() -> None:
    async def check() -> tuple[int, int]:
        tuned = PushSource(source_id="desk", channels="customer", rate_hz=0)
        assert tuned.reached_s == 0.0
        tuned.tune(16_000)
        tuned.put(0, RAMP[:16_000])
        tuned.end()
        async with tuned.blocks() as blocks:
            count = sum([len(block.samples) async for block in blocks])
        never = PushSource(source_id="desk", channels="customer", rate_hz=0)
        never.end()
        async with never.blocks() as blocks:
            assert not [block async for block in blocks]
        return count, tuned.format.rate_hz

    assert asyncio.run(check()) == (16_000, 16_000)


def test_a_stop_is_told_to_whoever_holds_the_connection() -> None:
    told = []
    source = PushSource(source_id="desk", channels="mix", rate_hz=RATE_HZ, on_stop=lambda: told.append("stop"))
    source.stop()
    source.put(0, RAMP[:100])
    assert told == ["stop"]
    assert source.end_frame == 0
