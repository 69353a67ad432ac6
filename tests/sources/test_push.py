"""A pushed track: no audio is lost, and a connection that is too far ahead waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.sources.push import MAX_BLOCK_S, MAX_BUFFERED_S, PushSource
from stream.types import Block

RATE_HZ = 8_000
RAMP = np.arange(40_000, dtype=np.float32)


def read_all(fill: Callable[[PushSource], Any]) -> list[Block]:
    async def check() -> list[Block]:
        source = PushSource(source_id="desk", channels="customer", rate_hz=RATE_HZ)
        fill(source)
        source.end()
        async with source.blocks() as blocks:
            return [block async for block in blocks if isinstance(block, Block)]

    return asyncio.run(check())


@pytest.mark.slow
@settings(deadline=None)  # each example has a loop of its own
@given(sizes=st.lists(st.integers(1, 3_000), min_size=1, max_size=40))
def test_chunks_are_joined_without_loss(sizes: list[int]) -> None:
    def fill(source: PushSource) -> None:
        start = 0
        for size in sizes:
            source.put(start, RAMP[start : start + size])
            start += size

    blocks = read_all(fill)
    total = min(sum(sizes), len(RAMP))
    assert np.array_equal(np.concatenate([block.samples for block in blocks])[:, 0], RAMP[:total])
    assert [block.start_frame for block in blocks[1:]] == [block.end_frame for block in blocks[:-1]]
    assert all(len(block.samples) >= 2_048 for block in blocks[:-1])
    assert all(block.captured_s is not None for block in blocks)


def test_a_jump_forwards_is_a_gap_and_earlier_samples_are_dropped() -> None:
    def fill(source: PushSource) -> None:
        source.put(0, RAMP[:100])
        source.put(50, RAMP[50:150])
        source.put(500, RAMP[500:600])
        source.put(300, RAMP[300:400])

    blocks = read_all(fill)
    assert [(block.start_frame, block.end_frame) for block in blocks] == [(0, 150), (500, 600)]
    assert np.array_equal(blocks[0].samples[:, 0], RAMP[:150])


def test_a_late_reader_gets_longer_blocks() -> None:
    """A reader that keeps up gets short blocks; a backlog is joined, which takes hardly more time than one of them."""

    async def check() -> list[int]:
        source = PushSource(source_id="desk", channels="customer", rate_hz=RATE_HZ)
        lengths, start = [], 0
        async with source.blocks() as blocks:
            for chunks in (13, 13, 130):  # of 20 ms
                for _ in range(chunks):
                    source.put(start, np.zeros(160, np.float32))
                    start += 160
                block = await anext(blocks)
                assert isinstance(block, Block)
                lengths.append(len(block.samples))
        return lengths

    assert asyncio.run(check()) == [2_080, 2_080, round(MAX_BLOCK_S * RATE_HZ)]


def test_a_connection_too_far_ahead_waits() -> None:
    async def check() -> None:
        source = PushSource(source_id="desk", channels="customer", rate_hz=RATE_HZ)
        limit = round(MAX_BUFFERED_S * RATE_HZ)
        source.put(0, np.zeros(limit, np.float32))
        await source.wait_for_capacity()
        source.put(limit, np.zeros(4_000, np.float32))
        waiting = asyncio.create_task(source.wait_for_capacity())
        async with source.blocks() as blocks:
            await anext(blocks)
            assert not waiting.done()
            await anext(blocks)
            await waiting

    asyncio.run(check())


def test_the_rate_may_be_set_later_or_never() -> None:
    async def check() -> tuple[int, int]:
        later = PushSource(source_id="desk", channels="customer", rate_hz=0)
        assert later.end_s == 0.0
        later.set_rate(16_000)
        later.put(0, RAMP[:16_000])
        later.end()
        async with later.blocks() as blocks:
            count = sum([len(block.samples) async for block in blocks if isinstance(block, Block)])
        never = PushSource(source_id="desk", channels="customer", rate_hz=0)
        never.end()
        async with never.blocks() as blocks:
            assert not [block async for block in blocks]
        return count, later.format.rate_hz

    assert asyncio.run(check()) == (16_000, 16_000)


def test_a_stop_calls_back() -> None:
    calls = []
    source = PushSource(source_id="desk", channels="mix", rate_hz=RATE_HZ, on_stop=lambda: calls.append("stop"))
    source.stop()
    source.put(0, RAMP[:100])
    assert calls == ["stop"]
    assert source.end_frame == 0
