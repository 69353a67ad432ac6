"""A microphone, by PortAudio.

Three parties: PortAudio's thread calls `Capture.hear`, which copies into a ring and wakes the loop, nothing else (no
lock, no log, an exception there would silently end the stream); the event loop reads the ring and gives blocks; the
watchdog, also on the loop, decides that a device is gone.

A device that goes away is rarely reported (no exception, no status flag). It counts as lost when PortAudio says
`finished`, when no callback came for `SILENT_S` (the first one may take `STARTING_S`: sound servers wake slowly), or
when every sample has been exactly zero for `ZEROS_S`. Then it is
closed and tried again with a pause that doubles up to `LONGEST_PAUSE_S`; PortAudio's list of devices is refreshed
first, since it is frozen when the library starts. `Interruption`s tell both ends; the frames lost are counted by the
clock, so that the gap has its true length: by the block that came least late (`Pace`), before the loss and in the first
`SETTLE_S` after it, for a device that opens gives its first blocks late and in a bunch.

A machine that wakes from sleep gives sound at once, as if nothing had been: the clock, which goes on in sleep, tells
that less sound came than time went by, and the device counts as lost and found.

Sound that the system lost (`input_overflow`), or that the ring did, is a gap as well: blocks jump ahead by its length.

The first opening is not retried: who names a wrong device wants to know now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import numpy as np

from stream.clock import steady_s
from stream.errors import DeviceLost, SourceError
from stream.ring import Ring
from stream.settings import SourceSettings
from stream.sources import devices
from stream.types import AudioFormat, Block, Interruption

BLOCK_S = 0.032
RING_S = 30.0
SILENT_S = 1.0
STARTING_S = 5.0
ZEROS_S = 10.0
SETTLE_S = 0.25
JITTER_S = 0.1
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
MOST_CHANNELS = {"mix": 2, "split": 8}
"""Virtual devices offer dozens of channels that say the same; a mix needs no more than a stereo microphone has."""

log = logging.getLogger(__name__)


class Pace:
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


class Capture:
    """One open PortAudio stream, its ring, and what its callback noticed."""

    def __init__(self, *, format: AudioFormat, wake: Callable[[], None]) -> None:  # noqa: A002 - the field's own word
        self.ring = Ring(capacity=round(RING_S * format.rate_hz), channels=format.channels)
        self.overflows = 0
        self.finished = False
        self._channels = format.channels
        self._wake = wake

    def hear(self, data: Any, frames: int, times: Any, status: Any) -> None:  # noqa: ARG002 - PortAudio's signature
        """PortAudio's thread: copy and wake."""
        if status.input_overflow:
            self.overflows += 1
        self.ring.write(np.frombuffer(data, np.float32).reshape(-1, self._channels))
        self._wake()

    def finish(self) -> None:
        """PortAudio's thread: the stream has ended, asked for or not."""
        self.finished = True
        self._wake()


class MicrophoneSource:
    """One input device; `settings.target` is its index, a part of its name, or empty for the default one."""

    live = True
    paced = True

    def __init__(self, *, settings: SourceSettings, backend: Any = None, clock: Callable[[], float] = steady_s) -> None:
        self.id = settings.id or "microphone"
        self.channels = settings.channels
        self._target = settings.target
        self._backend = backend
        self._clock = clock
        self._format: AudioFormat | None = None
        self._stream: Any = None
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
        self._woken.set()

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block | Interruption]]:
        """Open the device and give its blocks. Raises `SourceNotFound` or `PortAudioMissing`."""
        if self._backend is None:
            self._backend = await asyncio.to_thread(devices.portaudio)
        try:
            capture = await asyncio.to_thread(self._open, asyncio.get_running_loop())
            async with aclosing(self._follow(capture)) as blocks:
                yield blocks
        finally:
            await asyncio.to_thread(self._close)

    def _open(self, loop: asyncio.AbstractEventLoop) -> Capture:
        """Open the device at 16 kHz if it can, else at its own rate."""
        device = devices.find(self._backend, self._target)
        format_ = self._format or AudioFormat(
            rate_hz=devices.rate_of(self._backend, device),
            channels=min(device.channels, MOST_CHANNELS.get(self.channels, 0)) or int(self.channels),
        )

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has closed; an exception here would end the stream unseen
                loop.call_soon_threadsafe(self._woken.set)

        capture = Capture(format=format_, wake=wake)
        stream = devices.open_stream(self._backend, device, format_, capture, frames=round(BLOCK_S * format_.rate_hz))
        self._format, self._stream = format_, stream
        return capture

    async def _follow(self, capture: Capture) -> AsyncGenerator[Block | Interruption]:
        """Blocks of one device after the other, as it comes and goes."""
        frame, origin_s = 0, None  # of the whole stream: what was lost counts
        while True:
            pace = Pace()
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
            await asyncio.to_thread(self._close)
            again = await self._reopen()
            if again is None:
                return
            capture = again
            yield Interruption(self.id, "resumed", "the device is back")

    async def _read(self, capture: Capture, frame: int, origin_s: float | None) -> AsyncGenerator[Block]:
        """Blocks from `frame` on until stopped; after a loss, from where we are by now if frame 0 was at `origin_s`.

        Raises `DeviceLost`.
        """
        ring, rate_hz = capture.ring, self.format.rate_hz
        if origin_s is not None:
            frame = max(frame, await self._settled(capture, origin_s))
        taken = skipped = overflows = 0
        heard_s = sounded_s = began_s = self._clock()
        while True:
            await self._wait(lambda: ring.committed > taken)  # noqa: B023 - called before `taken` changes
            now_s = self._clock()
            if ring.committed > taken:
                _slept(now_s - heard_s - (ring.committed - taken) / rate_hz if taken else 0.0)
                # later than taken only if the loop stood still for `RING_S`; a second on, to keep off the callback
                start = max(taken, ring.oldest + rate_hz) if ring.oldest else taken
                samples = ring.read(start, ring.committed - start)
                if not taken:
                    began_s = now_s - len(samples) / rate_hz
                taken = start + len(samples)
                if overflows != capture.overflows:  # nobody says how much; the clock does, and one frame makes a gap
                    overflows = capture.overflows
                    log.warning("%s: the system lost sound before we could take it (%d times)", self.id, overflows)
                    missing = round((now_s - began_s) * rate_hz) - taken - skipped
                    skipped += max(1, missing)
                    frame += max(1, missing)
                self._heard_s = heard_s = now_s
                sounded_s = now_s if samples.any() else sounded_s
                yield Block(self.id, frame + start, samples)
            if self._stopped and ring.committed == taken:
                return
            if capture.finished:
                raise DeviceLost("the device was taken away")
            _silent(now_s - heard_s, patience_s=SILENT_S if taken else STARTING_S, zeros_s=now_s - sounded_s)

    async def _settled(self, capture: Capture, origin_s: float) -> int:
        """The stream's frame at which a device that was opened anew begins; 0 if it gives nothing."""
        ring, rate_hz, pace = capture.ring, self.format.rate_hz, Pace()
        seen, opened_s = 0, self._clock()
        first_s = opened_s
        while not (self._stopped or capture.finished):
            await self._wait(lambda: ring.committed > seen)  # noqa: B023 - called before `seen` changes
            now_s = self._clock()
            if ring.committed > seen:
                first_s = first_s if seen else now_s
                seen = ring.committed
                pace.mark(now_s, seen / rate_hz)
                if now_s - first_s >= SETTLE_S:
                    break
            elif seen or now_s - opened_s > STARTING_S:
                break
        return 0 if pace.origin_s is None else round((pace.origin_s - origin_s) * rate_hz)

    async def _wait(self, ready: Callable[[], bool]) -> None:
        """For something to be heard, a stop, or the watchdog's next look."""
        if ready() or self._stopped:
            return
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENT_S / 4):
                await self._woken.wait()

    async def _reopen(self) -> Capture | None:
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
                await asyncio.to_thread(devices.refresh, self._backend)
                return await asyncio.to_thread(self._open, asyncio.get_running_loop())
            except SourceError as error:
                log.info("%s is not back yet: %s", self.id, error)
        return None

    def _close(self) -> None:
        """Close the device that is open, if one is."""
        stream, self._stream = self._stream, None
        if stream is not None:
            devices.close_stream(stream)


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
