"""Signs that raw PCM is not what the settings say (pure).

Raw PCM has no header. Samples of another format look like loud noise; two channels read as one differ within each pair
far less than between pairs, or far more. Each sign must hold for `CHECKED_S`.
"""

from __future__ import annotations

import numpy as np

from stream.types import Samples

CHECKED_S = 3
"""Seconds in a row, each of them checked by itself."""

MIN_LEVEL = 0.05
"""Root mean square from which a second of noise is suspicious: quiet noise is a room."""

MAX_NOISE_CORRELATION = 0.2
"""Correlation of neighbouring samples up to which audio is noise; speech at 16 kHz has 0.8 to 0.95."""

MAX_PAIR_RATIO = 0.1
"""Power of the difference within pairs over that between pairs, for two channels that are read as one."""

MIN_PAIR_POWER = 1e-7

BEYOND_FULL_SCALE = 8.0


class PcmCheck:
    """Watches one pipe. `take_notice` says once what seems wrong."""

    def __init__(self, *, rate_hz: int, pcm_format: str, channels: int) -> None:
        self._rate_hz, self._format, self._channels = rate_hz, pcm_format, channels
        self._second: list[Samples] = []
        self._frames = 0
        self._noise = self._pairs = 0
        self._notice = ""
        self._is_done = False

    def push(self, samples: Samples) -> None:
        """Take the next frames (n, channels)."""
        if self._is_done:
            return
        if samples.size and float(np.abs(samples).max()) > BEYOND_FULL_SCALE:
            self._say("has samples far beyond full scale")
            return
        self._second.append(samples[:, 0])
        self._frames += len(samples)
        if self._frames >= self._rate_hz:
            self._check(np.concatenate(self._second).astype(np.float64))
            self._second, self._frames = [], 0

    def take_notice(self) -> str:
        """Return once what seems wrong, else an empty text."""
        notice, self._notice = self._notice, ""
        return notice

    def _check(self, second: np.ndarray) -> None:
        second = second - second.mean()
        power = float(np.square(second).mean())
        correlation = float((second[1:] * second[:-1]).mean()) / power if power else 1.0
        self._noise = self._noise + 1 if power > MIN_LEVEL**2 and abs(correlation) < MAX_NOISE_CORRELATION else 0
        even = second[: len(second) // 2 * 2].reshape(-1, 2)
        within = float(np.square(even[:, 1] - even[:, 0]).mean())
        between = float(np.square(even[1:, 0] - even[:-1, 1]).mean())
        is_pair = self._channels == 1 and max(within, between) > MIN_PAIR_POWER
        self._pairs = self._pairs + 1 if is_pair and min(within, between) < MAX_PAIR_RATIO * max(within, between) else 0
        if self._pairs >= CHECKED_S:
            self._say("looks like two channels", hint="--pcm-channels 2")
        elif self._noise >= CHECKED_S:
            self._say("sounds like noise")

    def _say(self, what: str, *, hint: str = "--format, --rate and --pcm-channels") -> None:
        given = f"{self._format}, {self._rate_hz} Hz, {self._channels} channel(s)"
        self._notice, self._is_done = f"{what} when read as {given}; check {hint}", True
