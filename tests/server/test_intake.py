"""Stalls, pauses and gaps of a connection's audio, on a fake clock."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from stream.server.counts import ProtocolCounters
from stream.server.intake import AudioIntake
from stream.server.protocols.base import AudioChunk
from stream.sources.push import PushSource
from stream.types import Block, Interruption

RATE_HZ = 8_000
CHUNK = 160


class Line:
    """A connection of one track; its clock is moved by what arrives and by what does not."""

    def __init__(self, *, timestamped: bool = False) -> None:
        self.track = PushSource(source_id="desk", channels="mix", rate_hz=RATE_HZ)
        self.intake = AudioIntake(timestamped=timestamped, counters=ProtocolCounters())
        self.now_s = 100.0
        self.frames = 0
        self.intake.open([(None, self.track)], offset_s=0.0, now_s=self.now_s)

    def talk(self, seconds: float, *, pace: float = 1.0) -> None:
        """Receive audio at `pace` times real time."""
        for _ in range(round(seconds * RATE_HZ / CHUNK)):
            self.now_s += CHUNK / RATE_HZ / pace
            self.intake.put(AudioChunk(0, self.frames, np.ones(CHUNK, np.float32)), self.now_s)
            self.frames += CHUNK

    def wait(self, seconds: float) -> None:
        """Let time pass without audio; the node checks every half second."""
        for _ in range(round(seconds / 0.5)):
            self.now_s += 0.5
            self.intake.check(self.now_s, 0.0)

    def skip(self, seconds: float) -> None:
        """Let the peer's frame numbers jump."""
        self.frames += round(seconds * RATE_HZ)

    def items(self) -> list[Block | Interruption]:
        """Return all that the pipeline gets."""
        self.track.end()

        async def read() -> list[Block | Interruption]:
            async with self.track.blocks() as blocks:
                return [block async for block in blocks]

        return asyncio.run(read())


def states(items: list[Block | Interruption]) -> list[str]:
    return [item.state for item in items if isinstance(item, Interruption)]


def test_a_stall_is_told_after_two_seconds_and_keeps_media_time_on_the_clock() -> None:
    line = Line()
    line.talk(3)
    line.wait(1.5)
    assert not line.intake.is_interrupted
    line.wait(8.5)
    assert line.intake.is_interrupted
    line.talk(2)
    assert line.track.end_s == pytest.approx(line.now_s - 100.0, abs=0.1)
    items = line.items()
    assert states(items) == ["stalled", "resumed"]
    assert isinstance(items[-1], Block)


def test_audio_that_was_late_leaves_no_gap() -> None:
    line = Line()
    line.talk(3)
    line.wait(4)
    line.talk(4, pace=200)
    line.talk(2)
    assert line.track.end_s == pytest.approx(9.0)
    assert states(line.items()) == ["stalled", "resumed"]


def test_an_announced_pause_is_not_counted_twice() -> None:
    line = Line()
    line.talk(3)
    line.intake.announce("paused", "paused by the client")
    line.wait(30)
    line.skip(30)
    line.intake.announce("resumed", "resumed by the client")
    line.talk(2)
    assert line.track.end_s == pytest.approx(35.0, abs=0.1)
    assert states(line.items()) == ["paused", "resumed"]


def test_what_is_held_is_passed_on_when_nothing_more_comes() -> None:
    line = Line()
    line.talk(1)
    line.wait(3)
    line.talk(0.1)
    line.wait(0.5)
    assert not line.intake.is_interrupted
    line.talk(0.04)
    line.wait(3)
    line.talk(0.02)
    line.intake.flush(line.now_s)
    assert states(line.items()) == ["stalled", "resumed"] * 2


def test_frames_continue_behind_silence_that_was_filled_in() -> None:
    line = Line()
    line.talk(1)
    line.track.put(line.track.end_frame, np.zeros(RATE_HZ * 10, np.float32))
    line.talk(2)
    assert line.track.end_s == pytest.approx(13.0), "none of it is dropped"


@pytest.mark.parametrize(("pace", "found"), [(0.5, True), (1.0, False), (2.0, True), (0.8, False)])
def test_audio_at_half_or_twice_the_speed_is_noticed(*, pace: float, found: bool) -> None:
    line = Line()
    line.talk(12 * pace, pace=pace)
    assert (line.intake.new_pace(line.now_s) is not None) == found
