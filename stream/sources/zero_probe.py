"""A second recording of a device that gives nothing but zeros."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from stream.errors import SourceError
from stream.sources.capture_process import CaptureProcess

PROBE_S = 3.0
"""Length of the second recording of a device that gives zeros."""

MAX_PROBE_PAUSE_S = 60.0

CONFIRM_S = 1.0
"""How long the first recording has to go on with zeros after the second one had sound: speech may just have begun."""


class ZeroProbe:
    """Finds out whether a device that gives nothing but zeros is muted or dead, without a break in its recording.

    After `zeros_timeout_s` of zeros a second process records the device for `PROBE_S`; as long as that is silent, too,
    the next one follows after twice the time. So does the loss of a device that can be opened only once: a muted one of
    that kind is reopened ever more rarely. Sound that the first recording has as well, within `CONFIRM_S`, is no fault.
    """

    def __init__(
        self, open_process: Callable[[Callable[[], None]], Awaitable[CaptureProcess]], zeros_timeout_s: float
    ) -> None:
        self._open_process = open_process
        self._zeros_timeout_s = zeros_timeout_s
        self._zero_since_s: float | None = None
        self._wait_s = zeros_timeout_s
        self._task: asyncio.Task[tuple[str, float]] | None = None
        self._recorded_s = 0.0  # up to here the first recording has arrived
        self._sound_s = -math.inf  # where it had sound last

    @property
    def fault(self) -> str:
        """What is wrong with the first recording, empty if nothing is known."""
        if self._task is None or not self._task.done():
            return ""
        why, found_s = self._task.result()
        is_confirmed = self._sound_s < found_s - CONFIRM_S and self._recorded_s > found_s + CONFIRM_S
        return why if is_confirmed else ""

    def mark(self, recorded_s: float, *, is_zero: bool) -> None:
        """Record whether the audio up to `recorded_s` was zero; starts a probe when it is time for one."""
        self._recorded_s = recorded_s
        if not is_zero:
            self._sound_s = recorded_s
            self._zero_since_s, self._wait_s = None, self._zeros_timeout_s
            return
        if self._zero_since_s is None:
            self._zero_since_s = recorded_s
        if recorded_s - self._zero_since_s > self._wait_s and (self._task is None or self._task.done()):
            self._zero_since_s, self._wait_s = recorded_s, min(2 * self._wait_s, MAX_PROBE_PAUSE_S)
            self._task = asyncio.create_task(self._listen(), name="second recording of a silent device")

    async def close(self) -> None:
        """End the second process, and forget the zeros of the first."""
        self._zero_since_s = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self) -> tuple[str, float]:
        """Record the device for a moment; returns what is wrong, and up to where the first recording was by then.

        What is wrong is empty if the device is silent in this recording, too.
        """
        woken = asyncio.Event()
        try:
            probe = await self._open_process(woken.set)
        except SourceError:
            return "it cannot be opened a second time", self._recorded_s
        try:
            async with asyncio.timeout(PROBE_S):
                while not probe.ended:
                    while probe.has_block:
                        if probe.take_block().samples.any():
                            return "it has sound", self._recorded_s
                    woken.clear()
                    await woken.wait()
        except TimeoutError:
            pass
        finally:
            await probe.close()
        return "", self._recorded_s
