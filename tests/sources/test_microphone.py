"""Microphones: loss and return of a device, gaps, and the watchdog, with a fake recording process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from stream.clock import steady_s
from stream.settings import SourceSettings
from stream.sources.capture import WatchdogLimits
from stream.sources.microphone import MicrophoneSource
from stream.sources.recorder import CaptureBlock, CaptureRequest
from stream.types import AudioFormat, Block, Interruption
from tests.support.waiting import wait_until

TIMEOUT_S = 60
QUICK_CHECKS = WatchdogLimits(check_interval_s=0.001, min_retry_pause_s=0.001)
"""The limits of the clock that the tests set, but checked and retried at once."""


class FakeMicrophone:
    """Stands in for `CaptureProcess.open`; `opened` is the newest process."""

    def __init__(self) -> None:
        self.requests: list[CaptureRequest] = []
        self.opened: Any = None

    async def open(self, request: CaptureRequest, wake: Callable[[], None]) -> Any:
        self.requests.append(request)
        self.opened = FakeCapture(wake)
        return self.opened


class FakeCapture:
    """A `CaptureProcess` without a process."""

    format = AudioFormat(16_000, 2)

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._blocks: list[CaptureBlock] = []
        self._frames = self.overflows = 0
        self.newest: CaptureBlock | None = None
        self.ended = self.closed = False

    @property
    def has_block(self) -> bool:
        return bool(self._blocks)

    def take_block(self) -> CaptureBlock:
        return self._blocks.pop(0)

    def request_end(self) -> None:
        self.ended = True
        self._wake()

    async def exit_code(self) -> int:
        return 0

    async def close(self) -> None:
        self.closed = True

    def record(self, samples: np.ndarray, *, recorded_s: float, overflow: bool = False, skip: int = 0) -> None:
        self.overflows += overflow
        self.newest = CaptureBlock(self._frames + skip, samples.astype(np.float32), self.overflows, recorded_s)
        self._frames = self.newest.end_frame
        self._blocks.append(self.newest)
        self._wake()


def microphone(fake: FakeMicrophone, clock: Callable[[], float] = steady_s) -> MicrophoneSource:
    return MicrophoneSource(
        settings=SourceSettings(kind="microphone"), open_process=fake.open, clock=clock, limits=QUICK_CHECKS
    )


def test_recorded_audio_is_delivered_in_order() -> None:
    fake = FakeMicrophone()
    samples = np.random.default_rng(2).uniform(-0.5, 0.5, (5_120, 2)).astype(np.float32)

    async def collect() -> list[Any]:
        source, found = microphone(fake), []
        async with source.blocks() as blocks:
            for part in np.split(samples, 10):
                fake.opened.record(part, recorded_s=steady_s())
            source.stop()
            found += [block async for block in blocks]
        return found

    blocks = asyncio.run(collect())
    assert np.array_equal(np.concatenate([block.samples for block in blocks]), samples)
    assert all(0 <= time.monotonic() - block.captured_s < TIMEOUT_S for block in blocks)
    assert fake.opened.closed


def test_a_lost_device_leaves_a_gap_of_its_length() -> None:
    fake = FakeMicrophone()
    now = 100.0
    tone = np.full((512, 2), 0.1)

    async def collect() -> list[Any]:
        nonlocal now
        source, found = microphone(fake, lambda: now), []
        async with source.blocks() as blocks:
            fake.opened.record(tone, recorded_s=now)
            async for block in blocks:
                found.append(block)
                if isinstance(block, Interruption) and block.state == "resumed":
                    now += 5.0
                    fake.opened.record(tone, recorded_s=now)
                elif len(found) == 1:
                    fake.opened.request_end()
                elif isinstance(block, Block):
                    source.stop()
        return found

    first, stalled, resumed, second = asyncio.run(collect())
    assert (stalled.state, stalled.reason) == ("stalled", "the device was disconnected")
    assert resumed.state == "resumed"
    assert [request.format for request in fake.requests] == [None, FakeCapture.format]
    assert second.start_frame == first.end_frame + 5 * 16_000 - 512


def test_sleep_is_a_gap_of_its_length() -> None:
    """The device delivers audio right after wake-up: only the clock shows the sleep."""
    fake = FakeMicrophone()
    now = 100.0
    tone = np.full((512, 2), 0.1)

    async def collect() -> list[Any]:
        nonlocal now
        source, found = microphone(fake, lambda: now), []
        async with source.blocks() as blocks:
            fake.opened.record(tone, recorded_s=now)
            async for block in blocks:
                found.append(block)
                if len(found) == 1:
                    now += 3_600.0
                    fake.opened.record(tone, recorded_s=now)
                elif isinstance(block, Interruption) and block.state == "resumed":
                    fake.opened.record(tone, recorded_s=now)
                elif isinstance(block, Block):
                    source.stop()
        return found

    first, stalled, resumed, second = asyncio.run(collect())
    assert "may have been asleep" in stalled.reason
    assert resumed.state == "resumed"
    assert second.start_frame == first.end_frame + 3_600 * 16_000 - 512


def test_audio_lost_by_the_system_is_a_gap_of_its_length() -> None:
    fake = FakeMicrophone()
    tone = np.full((512, 2), 0.1)

    async def collect() -> list[Any]:
        source, found = microphone(fake, lambda: 1.0), []
        async with source.blocks() as blocks:
            fake.opened.record(tone, recorded_s=0.0)
            fake.opened.record(tone, recorded_s=0.5 + 512 / 16_000, overflow=True)
            fake.opened.record(tone, recorded_s=0.5 + 1_024 / 16_000)
            source.stop()
            found += [block async for block in blocks]
        return found

    first, second, third = asyncio.run(collect())
    assert second.start_frame == first.end_frame + 8_000
    assert third.start_frame == second.end_frame, "one overflow is one gap"


def test_a_delayed_event_loop_loses_no_device() -> None:
    """The blocks in the pipe are old, and more follow: the pipe was full."""
    fake = FakeMicrophone()
    now = 0.0
    tone = np.full((512, 2), 0.1)

    async def collect() -> list[Any]:
        nonlocal now
        source, found = microphone(fake, lambda: now), []
        async with source.blocks() as blocks:
            for number in range(4):
                fake.opened.record(tone, recorded_s=number * 0.032)
            async for block in blocks:
                found.append(block)
                now = 8.0
                if len(found) == 4:
                    rest = np.full((16_000 * 8 - 2_048, 2), 0.1)
                    asyncio.get_running_loop().call_soon(partial(fake.opened.record, rest, recorded_s=now))
                if len(found) == 5:
                    source.stop()
        return found

    blocks = asyncio.run(collect())
    assert [type(block) for block in blocks] == [Block] * 5
    assert [block.start_frame for block in blocks[1:]] == [block.end_frame for block in blocks[:-1]]


def test_audio_that_was_read_too_late_is_a_gap() -> None:
    fake = FakeMicrophone()
    tone = np.full((16_000, 2), 0.1)

    async def collect() -> list[Any]:
        source, found = microphone(fake, lambda: 1.0), []
        async with source.blocks() as blocks:
            fake.opened.record(tone, recorded_s=1.0)
            fake.opened.record(tone, recorded_s=13.0, skip=11 * 16_000)
            source.stop()
            found += [block async for block in blocks]
        return found

    first, second = asyncio.run(collect())
    assert second.start_frame == first.end_frame + 11 * 16_000


def test_a_device_without_audio_is_lost() -> None:
    fake = FakeMicrophone()
    now = 0.0

    async def collect() -> Interruption:
        nonlocal now
        source = microphone(fake, lambda: now)
        async with source.blocks() as blocks:
            fake.opened.record(np.full((512, 2), 0.1), recorded_s=now)
            async for block in blocks:
                if isinstance(block, Interruption):
                    return block
                now += 2.0
        raise AssertionError

    lost = asyncio.run(collect())
    assert lost.state == "stalled"
    assert "no data from the device for 1 s" in lost.reason


class SilentMicrophone(FakeMicrophone):
    """The first process records zeros; further ones hear `sound`."""

    def __init__(self, sound: float) -> None:
        super().__init__()
        self._sound = sound
        self.processes: list[Any] = []

    async def open(self, request: CaptureRequest, wake: Callable[[], None]) -> Any:
        process = await super().open(request, wake)
        self.processes.append(process)
        if len(self.processes) > 1:
            process.record(np.full((512, 2), self._sound), recorded_s=0.0)
        return process


def record_zeros(
    fake: SilentMicrophone, minutes: float, *, sound_after_probe: bool = False
) -> list[Block | Interruption]:
    """Return what a microphone yields that gives zeros for so long, up to its first interruption."""
    now = 0.0

    async def collect() -> list[Block | Interruption]:
        nonlocal now
        found: list[Block | Interruption] = []
        async with microphone(fake, lambda: now).blocks() as blocks:
            fake.processes[0].record(np.full((512, 2), 0.1), recorded_s=now)
            async for block in blocks:
                found.append(block)
                if isinstance(block, Interruption) or now > 60 * minutes:
                    return found
                await asyncio.sleep(0)  # a second recording may start …
                await wait_until(lambda: all(process.closed for process in fake.processes[1:]))  # … and ends
                await asyncio.sleep(0)
                now += 0.9
                level = 0.1 if sound_after_probe and len(fake.processes) > 1 else 0.0
                fake.processes[0].record(np.full((512, 2), level), recorded_s=now)
        raise AssertionError

    return asyncio.run(collect())


def test_a_muted_device_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.sources.zero_probe.PROBE_S", 0.001)
    fake = SilentMicrophone(sound=0.0)
    found = record_zeros(fake, minutes=20)
    assert not [one for one in found if isinstance(one, Interruption)]
    assert 1 < len(fake.processes) < 25, "it is listened to a second time, ever more rarely"
    assert all(process.closed for process in fake.processes)


def test_a_device_that_gives_zeros_although_it_has_sound_is_lost() -> None:
    *_, lost = record_zeros(SilentMicrophone(sound=0.1), minutes=5)
    assert isinstance(lost, Interruption)
    assert lost.state == "stalled"
    assert "only zeros" in lost.reason


def test_speech_that_begins_while_a_silent_device_is_listened_to_a_second_time_is_no_fault() -> None:
    fake = SilentMicrophone(sound=0.1)
    found = record_zeros(fake, minutes=2, sound_after_probe=True)
    assert len(fake.processes) > 1
    assert not [one for one in found if isinstance(one, Interruption)]
