"""A microphone, by PortAudio, recorded by a process of its own (`capture`).

The source is the watchdog: it gives what the process records, and decides that a device is gone.

A device that goes away is rarely reported (no exception, no status flag). It counts as lost when the process has ended,
when nothing came for `SILENT_S` (the first sound may take `STARTING_S`: sound servers wake slowly), or when every
sample has been exactly zero for `ZEROS_S`. Then its process is ended, and another one tries with a pause that doubles
up to `LONGEST_PAUSE_S`. `Interruption`s tell both ends; the frames lost are counted by the clock, so that the gap has
its true length: by the block that came least late (`CaptureClock`), before the loss and in the first `SETTLE_S` after it, for a
device that opens gives its first blocks late and in a bunch.

A machine that wakes from sleep gives sound at once, as if nothing had been: the clock, which goes on in sleep, tells
that less sound came than time went by, and the device counts as lost and found.

Sound that the system lost (`input_overflow`), or that the process did, is a gap as well: blocks jump ahead by its
length.

The first opening is not retried: who names a wrong device wants to know now.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

from stream.clock import steady_s
from stream.errors import DeviceLost, SourceError
from stream.settings import SourceSettings
from stream.sources.microphone_process import MicrophoneProcess
from stream.sources.recorder import CaptureBlock, CaptureRequest
from stream.types import AudioFormat, Block, Interruption

SILENT_S = 1.0
STARTING_S = 5.0
ZEROS_S = 10.0
SETTLE_S = 0.25
JITTER_S = 0.1
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0

Opener = Callable[[CaptureRequest, Callable[[], None]], Awaitable[MicrophoneProcess]]

log = logging.getLogger(__name__)


class CaptureClock:
    """When frame 0 was heard, by the clock, as the block says that came least late in the last `SPAN_S` or so.

    Not in all the time: no device's clock goes exactly like ours.
    """

    SPAN_S = 5.0

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._before_s = self._now_s = float("inf")

    def mark(self, now_s: float, heard_s: float) -> None:
        """Sound up to `heard_s` of the stream was there at `now_s`."""
        if self._began_s is None or now_s - self._began_s > self.SPAN_S:
            self._began_s, self._before_s, self._now_s = now_s, self._now_s, float("inf")
        self._now_s = min(self._now_s, now_s - heard_s)

    @property
    def origin_s(self) -> float | None:
        """None where nothing was heard."""
        earliest_s = min(self._before_s, self._now_s)
        return earliest_s if earliest_s != float("inf") else None


class MicrophoneSource:
    """One input device; `settings.target` is its index, a part of its name, or empty for the default one."""

    live = True
    paced = True

    def __init__(
        self, *, settings: SourceSettings, open_: Opener = MicrophoneProcess.open, clock: Callable[[], float] = steady_s
    ) -> None:
        self.id = settings.id or "microphone"
        self.channels = settings.channels
        self._target = settings.target
        self._open_device = open_
        self._clock = clock
        self._format: AudioFormat | None = None
        self._capture: MicrophoneProcess | None = None
        self._stopped = False
        self._heard_s = clock()
        self._woken = asyncio.Event()

    @property
    def format(self) -> AudioFormat:
        """Rate and channels, once opened; they stay the same when the device comes back."""
        if self._format is None:
            raise RuntimeError("a source has a format only while it is open")
        return self._format

    def stop(self) -> None:
        """End the stream; what was captured is still given."""
        self._stopped = True
        if self._capture is not None:
            self._capture.finish()
        self._woken.set()

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block | Interruption]]:
        """Open the device and give its blocks. Raises `SourceNotFound` or `PortAudioMissing`."""
        try:
            capture = await self._open()
            async with aclosing(self._follow(capture)) as blocks:
                yield blocks
        finally:
            await self._close()

    async def _open(self) -> MicrophoneProcess:
        """Open the device at 16 kHz if it can, else at its own rate; once more as it was the first time."""
        wish = CaptureRequest(self._target, self.channels, self._format)
        self._capture = capture = await self._open_device(wish, self._woken.set)
        self._format = capture.format
        if self._stopped:
            capture.finish()
        return capture

    async def _follow(self, capture: MicrophoneProcess) -> AsyncGenerator[Block | Interruption]:
        """Blocks of one device after the other, as it comes and goes."""
        frame, origin_s = 0, None  # of the whole stream: what was lost counts
        while True:
            pace = CaptureClock()
            try:
                async with aclosing(self._read(capture, frame, origin_s)) as blocks:
                    async for block in blocks:
                        frame = block.end_frame
                        pace.mark(self._heard_s, frame / self.format.rate_hz)
                        yield block
            except DeviceLost as lost:
                log.warning("%s: %s; it is opened again when it is back", self.id, lost)
                found_s = self._heard_s if pace.origin_s is None and origin_s is None else pace.origin_s
                if origin_s is None or (found_s is not None and abs(found_s - origin_s) > JITTER_S):
                    origin_s = found_s  # less is how late blocks come, and would add up from loss to loss
                yield Interruption(self.id, "stalled", str(lost))
            else:
                return  # stopped
            await self._close()
            again = await self._reopen()
            if again is None:
                return
            capture = again
            yield Interruption(self.id, "resumed", "the device is back")

    async def _read(self, capture: MicrophoneProcess, frame: int, origin_s: float | None) -> AsyncGenerator[Block]:
        """Blocks from `frame` on until stopped; after a loss, from where we are by now if frame 0 was at `origin_s`.

        Raises `DeviceLost`.
        """
        rate_hz = self.format.rate_hz
        if origin_s is not None:
            frame = max(frame, await self._settled(capture, origin_s))
        taken = skipped = overflows = 0
        heard_s = sounded_s = began_s = came_s = self._clock()
        while True:
            await self._wait(capture, lambda: capture.waiting)
            if capture.waiting:
                piece, came_s = capture.take(), self._clock()
                _slept(piece.heard_s - heard_s - (piece.end_frame - taken) / rate_hz if taken else 0.0)
                if not taken:
                    began_s = piece.heard_s - len(piece.samples) / rate_hz
                taken = piece.end_frame
                if overflows != piece.overflows:  # nobody says how much; the clock does, and one frame makes a gap
                    overflows = piece.overflows
                    log.warning("%s: the system lost sound before we could take it (%d times)", self.id, overflows)
                    missing = max(1, round((piece.heard_s - began_s) * rate_hz) - taken - skipped)
                    skipped += missing
                    frame += missing
                self._heard_s = heard_s = piece.heard_s
                sounded_s = heard_s if piece.samples.any() else sounded_s
                captured_s = time.monotonic() - (came_s - heard_s)
                yield Block(self.id, frame + piece.start_frame, piece.samples, captured_s)
            elif capture.finished and not self._stopped:
                raise DeviceLost(await capture.why())
            elif self._stopped and (capture.finished or self._clock() - came_s > SILENT_S):
                return
            # what waits may be old: then it was the loop that stood still, not the device
            nothing_s = 0.0 if capture.waiting else self._clock() - came_s
            _silent(nothing_s, patience_s=SILENT_S if taken else STARTING_S, zeros_s=heard_s - sounded_s)

    async def _settled(self, capture: MicrophoneProcess, origin_s: float) -> int:
        """The stream's frame at which a device that was opened anew begins; 0 if it gives nothing."""
        pace = CaptureClock()
        seen: CaptureBlock | None = None
        opened_s = self._clock()
        first_s = opened_s
        while not (self._stopped or capture.finished):
            await self._wait(capture, lambda: capture.newest is not seen)  # noqa: B023 - called before `seen` changes
            newest = capture.newest
            if newest is not None and newest is not seen:
                first_s = first_s if seen else newest.heard_s
                seen = newest
                pace.mark(newest.heard_s, newest.end_frame / self.format.rate_hz)
                if newest.heard_s - first_s >= SETTLE_S:
                    break
            elif seen or self._clock() - opened_s > STARTING_S:
                break
        return 0 if pace.origin_s is None else round((pace.origin_s - origin_s) * self.format.rate_hz)

    async def _wait(self, capture: MicrophoneProcess, ready: Callable[[], bool]) -> None:
        """For something to be heard, the end, or the watchdog's next look."""
        if ready() or capture.finished:
            return
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENT_S / 4):
                await self._woken.wait()

    async def _reopen(self) -> MicrophoneProcess | None:
        """Try until the device is back; None when stopped meanwhile."""
        pause_s = FIRST_PAUSE_S
        while not self._stopped:
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            if self._stopped:
                return None
            try:
                return await self._open()
            except SourceError as error:
                log.info("%s is not back yet: %s", self.id, error)
        return None

    async def _close(self) -> None:
        """End the process that records, if one does."""
        capture, self._capture = self._capture, None
        if capture is not None:
            await capture.close()


def _slept(missing_s: float) -> None:
    """Raises `DeviceLost` when there is less sound than time went by since the last."""
    if missing_s > SILENT_S:
        raise DeviceLost("less sound came than time went by; this machine may have been asleep")


def _silent(nothing_s: float, *, patience_s: float, zeros_s: float) -> None:
    """Raises `DeviceLost` when a device has been silent for longer than any that works."""
    if nothing_s > patience_s:
        raise DeviceLost(f"the device has given nothing for {patience_s:g} s")
    if zeros_s > ZEROS_S:
        raise DeviceLost(f"the device has given nothing but zeros for {ZEROS_S:g} s")
