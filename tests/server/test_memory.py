"""How much memory the audio of calls may take, and that it is given back."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from stream.server.buffers import MIN_BUFFERED_S, BufferBudget
from stream.server.memory import ENDED_TRACKS, INTERVAL_S, MemoryRelease
from stream.server.protocols.asterisk import CODECS
from stream.server.protocols.base import MAX_RATE_HZ
from stream.server.protocols.generic import GenericProtocol
from stream.sources.push import MAX_BUFFERED_S, SAMPLE_BYTES, PushSource
from tests.server.protocols.exchanges import closed, feed
from tests.server.protocols.messages import GENERIC_START


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("tracks", [0, 1, 20, 100, 256])
def test_all_tracks_together_stay_within_the_budget(rate_hz: int, tracks: int) -> None:
    max_bytes = 128e6
    budget = BufferBudget(max_bytes=max_bytes)
    budget.tracks = tracks
    share_s = budget.max_buffered_s(rate_hz)
    assert MIN_BUFFERED_S <= share_s <= MAX_BUFFERED_S
    assert tracks * share_s * rate_hz * SAMPLE_BYTES <= max_bytes * 1.001


def test_a_track_waits_for_its_share_of_the_budget() -> None:
    async def check() -> None:
        budget = BufferBudget(max_bytes=2 * 16_000 * SAMPLE_BYTES)
        source = PushSource(source_id="a", channels="mix", rate_hz=8_000, max_buffered_s=budget.max_buffered_s)
        budget.tracks = 1
        for _ in range(35):
            source.put(source.end_frame, np.zeros(800, np.float32))
        async with asyncio.timeout(1):
            await source.wait_for_capacity()
        budget.tracks = 4  # others have joined
        source.put(source.end_frame, np.zeros(80, np.float32))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await source.wait_for_capacity()
        async with source.blocks() as blocks:
            for _ in range(4):  # seconds, and the rest
                await anext(blocks)
            async with asyncio.timeout(1):
                await source.wait_for_capacity()

    asyncio.run(check())


def test_calls_have_48_khz_at_most() -> None:
    assert max(rate_hz for _, rate_hz in CODECS.values()) == MAX_RATE_HZ
    assert feed(GenericProtocol(), {**GENERIC_START, "rate_hz": MAX_RATE_HZ})
    reason = closed(feed(GenericProtocol(), {**GENERIC_START, "rate_hz": 96_000})).reason
    assert reason == "rate_hz must be from 4000 to 48000"


def test_memory_is_given_back_after_calls_have_ended() -> None:
    memory = MemoryRelease()
    assert not memory.is_due(open_tracks=0, now_s=100.0)
    memory.note_ended(1)
    assert not memory.is_due(open_tracks=2, now_s=100.0)
    assert memory.is_due(open_tracks=0, now_s=100.0)
    memory.note_ended(ENDED_TRACKS)
    assert memory.is_due(open_tracks=2, now_s=100.0)
    asyncio.run(memory.release(100.0))
    memory.note_ended(ENDED_TRACKS)
    assert not memory.is_due(open_tracks=0, now_s=100.0 + INTERVAL_S / 2)
    assert memory.is_due(open_tracks=0, now_s=100.0 + INTERVAL_S)
