"""A source that a process of its own records (`capture_process`): a microphone or a network stream.

It passes on what the process records, and detects the loss of its device or connection.

A loss is rarely reported (no exception, no status flag). A device counts as lost when its process has ended, when no
data arrived for `no_data_timeout_s` (`first_data_timeout_s` for the first block: sound servers wake up slowly), or when
every sample was exactly zero for `zeros_timeout_s` while a second recording of it has sound or fails (`ZeroProbe`): a
muted headset gives zeros for hours, and so does a dead connection. Its process is then ended and another one started,
with a retry pause that doubles up to `max_retry_pause_s`. An `Interruption` marks both the loss and the return.

Lost frames are counted by the clock, so that the gap has its true length. The reference is the block with the smallest
delay (`CaptureClock`), before the loss and in the first `SETTLE_S` after the return, since a device that has just been
opened delivers its first blocks late and in a burst.

A machine that wakes from sleep delivers audio at once, as if nothing had happened. The clock, which includes sleep,
then shows less audio than elapsed time, and the device counts as lost and returned.

Audio lost by the system (`input_overflow`) or by the process is a gap as well: the start frame of the next block jumps.

The first opening is not retried, so that a wrong name is reported immediately.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar

from stream.errors import DeviceLost, SourceError
from stream.sources.capture_process import CaptureProcess
from stream.sources.recorder import FINISHED, CaptureBlock, CaptureRequest
from stream.sources.zero_probe import ZeroProbe
from stream.types import AudioFormat, Block, Interruption

SETTLE_S = 0.25
"""Audio after a reopening over which the smallest delay is measured."""

MAX_JITTER_S = 0.1
"""Differences of the measured origin up to this are delays of blocks; they would add up from loss to loss."""

Opener = Callable[[CaptureRequest, Callable[[], None]], Awaitable[CaptureProcess]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchdogLimits:
    """When a device counts as lost, and how often it is opened again."""

    no_data_timeout_s: float = 1.0
    first_data_timeout_s: float = 5.0
    zeros_timeout_s: float = 10.0
    check_interval_s: float = 0.25
    min_retry_pause_s: float = 0.25
    max_retry_pause_s: float = 5.0


class CaptureClock:
    """Clock time of frame 0, from the block with the smallest delay in the last `SPAN_S` to `2 * SPAN_S`.

    Older blocks are ignored because no device's clock runs exactly like the system's.
    """

    SPAN_S = 5.0

    def __init__(self) -> None:
        self._span_start_s: float | None = None
        self._previous_s = self._current_s = float("inf")

    def mark(self, now_s: float, end_s: float) -> None:
        """Record that audio up to media time `end_s` was there at `now_s`."""
        if self._span_start_s is None or now_s - self._span_start_s > self.SPAN_S:
            self._span_start_s, self._previous_s, self._current_s = now_s, self._current_s, float("inf")
        self._current_s = min(self._current_s, now_s - end_s)

    @property
    def origin_s(self) -> float | None:
        """Clock time of frame 0; None before the first block."""
        earliest_s = min(self._previous_s, self._current_s)
        return earliest_s if earliest_s != float("inf") else None


class CaptureSource(ABC):
    """What a process records, across losses and returns."""

    live = True
    paced = True
    has_own_clock = True
    """Time of frames is counted by the clock of a device or a sender, which drifts."""

    what: ClassVar[str]
    """What is recorded, in messages."""

    def __init__(
        self,
        *,
        source_id: str,
        channels: str,
        open_process: Opener,
        clock: Callable[[], float],
        limits: WatchdogLimits,
    ) -> None:
        self.id = source_id
        self.channels = channels
        self._open_process = open_process
        self._clock = clock
        self._limits = limits
        self._format: AudioFormat | None = None
        self._capture: CaptureProcess | None = None
        self._stopped = False
        self._recorded_s = clock()  # time of the newest frame
        self._woken = asyncio.Event()
        self._probe = ZeroProbe(lambda wake: open_process(self._request(self._format), wake), limits.zeros_timeout_s)

    @property
    def format(self) -> AudioFormat:
        """Sample rate and channel count, once opened; a reopened device keeps them."""
        if self._format is None:
            raise RuntimeError("a source has a format only while it is open")
        return self._format

    def stop(self) -> None:
        """End the stream; audio recorded so far is still delivered."""
        self._stopped = True
        if self._capture is not None:
            self._capture.request_end()
        self._woken.set()

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block | Interruption]]:
        """Start the process and yield an iterator over its blocks. Raises `SourceError`."""
        try:
            capture = await self._open()
            async with aclosing(self._follow(capture)) as blocks:
                yield blocks
        finally:
            await self._close()

    @abstractmethod
    def _request(self, audio_format: AudioFormat | None) -> CaptureRequest:
        """Return what the process is to record: with the first format, once that is known."""

    async def _open(self) -> CaptureProcess:
        request = self._request(self._format)
        self._capture = capture = await self._open_process(request, self._woken.set)
        self._format = capture.format
        if self._stopped:
            capture.request_end()
        return capture

    async def _follow(self, capture: CaptureProcess) -> AsyncGenerator[Block | Interruption]:
        """Yield the device's blocks across losses and reopenings."""
        frame, origin_s = 0, None  # of the whole stream, lost frames included
        while True:
            capture_clock = CaptureClock()
            try:
                async with aclosing(self._read(capture, frame, origin_s)) as blocks:
                    async for block in blocks:
                        frame = block.end_frame
                        capture_clock.mark(self._recorded_s, frame / self.format.rate_hz)
                        yield block
            except DeviceLost as lost:
                log.warning("%s: %s; will reopen when the %s returns", self.id, lost, self.what)
                measured_s = capture_clock.origin_s
                if measured_s is None and origin_s is None:
                    measured_s = self._recorded_s
                if origin_s is None or (measured_s is not None and abs(measured_s - origin_s) > MAX_JITTER_S):
                    origin_s = measured_s
                yield Interruption(self.id, "stalled", str(lost))
            else:
                return  # stopped
            await self._close()
            reopened = await self._reopen()
            if reopened is None:
                return
            capture = reopened
            yield Interruption(self.id, "resumed", f"the {self.what} is back")

    async def _read(self, capture: CaptureProcess, frame: int, origin_s: float | None) -> AsyncGenerator[Block]:
        """Yield blocks from `frame` on until stopped.

        After a loss (`origin_s`, the clock time of the stream's frame 0) the first block starts at the frame that
        corresponds to the current time. Raises `DeviceLost`.
        """
        rate_hz, limits = self.format.rate_hz, self._limits
        if origin_s is not None:
            frame = max(frame, await self._first_frame(capture, origin_s))
        end_frame = skipped = overflows = 0  # of this opening
        recorded_s = start_s = received_s = self._clock()
        while True:
            await self._wait(capture, lambda: capture.has_block)
            if capture.has_block:
                block, received_s = capture.take_block(), self._clock()
                if end_frame:
                    _check_sleep(block.recorded_s - recorded_s - (block.end_frame - end_frame) / rate_hz, limits)
                else:
                    start_s = block.recorded_s - len(block.samples) / rate_hz
                end_frame = block.end_frame
                if overflows != block.overflows:  # the amount is not reported: the clock gives it, at least one frame
                    overflows = block.overflows
                    log.warning(
                        "%s: input overflow, audio lost (%d so far); check the system's load", self.id, overflows
                    )
                    missing = max(1, round((block.recorded_s - start_s) * rate_hz) - end_frame - skipped)
                    skipped += missing
                    frame += missing
                self._recorded_s = recorded_s = block.recorded_s
                self._probe.mark(recorded_s, is_zero=not block.samples.any())
                captured_s = time.monotonic() - (received_s - recorded_s)
                yield Block(self.id, frame + block.start_frame, block.samples, captured_s)
            elif capture.ended and not self._stopped:
                code = await capture.exit_code()
                if code == FINISHED:
                    return
                why = f"the recording process ended with code {code}" if code else f"the {self.what} was disconnected"
                raise DeviceLost(why)
            elif self._stopped and (capture.ended or self._clock() - received_s > limits.no_data_timeout_s):
                return
            # blocks that wait may be old: then the event loop was delayed, not the device
            no_data_s = 0.0 if capture.has_block else self._clock() - received_s
            timeout_s = limits.no_data_timeout_s if end_frame else limits.first_data_timeout_s
            self._check_activity(no_data_s, timeout_s)

    async def _first_frame(self, capture: CaptureProcess, origin_s: float) -> int:
        """Return the stream's frame at which a reopened device starts; 0 if it delivers nothing."""
        capture_clock = CaptureClock()
        seen: CaptureBlock | None = None
        opened_s = self._clock()
        first_s = opened_s
        while not (self._stopped or capture.ended):
            await self._wait(capture, lambda: capture.newest is not seen)  # noqa: B023 - called before `seen` changes
            newest = capture.newest
            if newest is not None and newest is not seen:
                first_s = first_s if seen else newest.recorded_s
                seen = newest
                capture_clock.mark(newest.recorded_s, newest.end_frame / self.format.rate_hz)
                if newest.recorded_s - first_s >= SETTLE_S:
                    break
            elif seen or self._clock() - opened_s > self._limits.first_data_timeout_s:
                break
        device_origin_s = capture_clock.origin_s
        return 0 if device_origin_s is None else round((device_origin_s - origin_s) * self.format.rate_hz)

    async def _wait(self, capture: CaptureProcess, is_ready: Callable[[], bool]) -> None:
        """Wait for a block, the end of the process, or the next check of the watchdog."""
        if is_ready() or capture.ended:
            return
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.check_interval_s):
                await self._woken.wait()

    async def _reopen(self) -> CaptureProcess | None:
        """Retry until the device opens; None if stopped meanwhile."""
        pause_s = self._limits.min_retry_pause_s
        while not self._stopped:
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()
            pause_s = min(2 * pause_s, self._limits.max_retry_pause_s)
            if self._stopped:
                return None
            try:
                return await self._open()
            except SourceError as error:
                log.info("%s: cannot reopen yet: %s", self.id, error)
        return None

    async def _close(self) -> None:
        """End the recording process, if there is one."""
        await self._probe.close()
        capture, self._capture = self._capture, None
        if capture is not None:
            await capture.close()

    def _check_activity(self, no_data_s: float, timeout_s: float) -> None:
        """Raises `DeviceLost` if a device delivers nothing, or zeros although it has sound or is gone."""
        if no_data_s > timeout_s:
            raise DeviceLost(f"no data from the {self.what} for {timeout_s:g} s")
        if fault := self._probe.fault:
            raise DeviceLost(f"only zeros from the {self.what}, but {fault}")


def _check_sleep(missing_s: float, limits: WatchdogLimits) -> None:
    """Raises `DeviceLost` if much less audio arrived than time elapsed since the last block."""
    if missing_s > limits.no_data_timeout_s:
        raise DeviceLost("less audio than elapsed time; the machine may have been asleep")
