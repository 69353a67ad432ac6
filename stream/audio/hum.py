"""Mains hum: found in the spectrum of the last seconds, and subtracted from audio (pure).

Hum is a set of lines at multiples of 50 or 60 Hz whose frequency and amplitude hardly change. `HumTracker` follows one
stream and looks for lines every second. A line must stand out from its neighbourhood and be coherent between the two
halves of the audio; speech is not, so clean audio is left alone. `subtract_hum` follows the amplitude and phase of each
line through a piece of audio and subtracts it: a notch about 1 Hz wide, without delay.

Lines are looked for in the past only, but subtracted from whole windows, so that audio from before the discovery is
cleaned as well.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.types import SAMPLE_RATE_HZ, Samples

MAINS_HZ = (50.0, 60.0)
MAX_DEVIATION = 0.006
"""Relative deviation of the frequency from the mains' nominal one; the sound card's clock adds to it."""

MAX_LINE_HZ = 950.0
"""Highest frequency of a line."""

MIN_PROMINENCE = 40.0
"""Power of a line over the median of its neighbourhood: 16 dB. In clean recordings, one window in a hundred has one."""

MIN_COHERENCE = 0.9
"""Power of the sum of a line's two halves, over that of two halves that are equal."""

MIN_LINE_AMPLITUDE = 10 ** (-70 / 20)

DECIMATION = 8
"""Factor by which audio is decimated before the search."""

CHECK_S = 0.25
MIN_BLOCKS, HISTORY_BLOCKS, LATE_BLOCKS = 2, 8, 4
"""A line is looked for in 0.5 to 2 s of audio: every 0.25 s at first, then every second."""

HOLD_S = 5.0
"""Time for which a line counts as present after it was last found: speech hides it."""

MIN_BLOCKS_WITHOUT_BASE = 4
"""Audio needed to find hum by its harmonics alone, as a rectifier makes it: a vowel may look like them for a moment."""

MAX_AMPLITUDE_RATIO = 1.4
"""More than this part of a line's amplitude as found is not subtracted: it is a voice whose pitch passes the line."""

STEP_SAMPLES = 160
"""Grid on which a line is followed; its block sums have zeros at distances of 100 Hz."""

SMOOTHING = np.hanning(101 + 2)[1:-1]
"""Smoothing over the grid: 1 s."""

RATE_HZ = SAMPLE_RATE_HZ / DECIMATION
_CHECK_SAMPLES = round(CHECK_S * SAMPLE_RATE_HZ)
_FFT = 8_192
_BIN_HZ = RATE_HZ / _FFT

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """One spectral line: the multiple of the mains' frequency, its own frequency, and its amplitude."""

    multiple: int
    hz: float
    amplitude: float


@dataclass(frozen=True, slots=True)
class Hum:
    """Hum: the mains' frequency as measured, and the multiples of it that are lines, with their amplitudes."""

    base_hz: float
    multiples: tuple[int, ...]
    amplitudes: tuple[float, ...]

    @property
    def level_dbfs(self) -> float:
        """Level of all lines together."""
        return 10 * math.log10(sum(amplitude**2 for amplitude in self.amplitudes) / 2)

    @property
    def nominal_hz(self) -> int:
        """The mains' nominal frequency."""
        return round(self.base_hz / 10) * 10


class Spectrum:
    """Lines in samples (n,) at `RATE_HZ`."""

    def __init__(self, samples: Values) -> None:
        window = np.hanning(len(samples))
        self._samples = samples
        self._scale = 2 / window.sum()
        self._power = np.square(np.abs(np.fft.rfft(samples * window, _FFT)))
        length_s = len(samples) / RATE_HZ
        self._inner = round(3 / length_s / _BIN_HZ)  # outside the main lobe
        self._outer = max(self._inner + 4, round(min(max(8 / length_s, 8.0), 22.0) / _BIN_HZ))

    def lines(self, mains_hz: float, multiples: Sequence[int]) -> list[Line]:
        """Return the lines at these multiples of `mains_hz`."""
        return [line for multiple in multiples if (line := self._line(mains_hz, multiple)) is not None]

    def _line(self, mains_hz: float, multiple: int) -> Line | None:
        centre_hz = multiple * mains_hz
        reach_hz = max(MAX_DEVIATION * centre_hz, _BIN_HZ)
        first, end = round((centre_hz - reach_hz) / _BIN_HZ), round((centre_hz + reach_hz) / _BIN_HZ) + 1
        peak = first + int(self._power[first:end].argmax())
        amplitude = self._scale * math.sqrt(self._power[peak])
        if amplitude < MIN_LINE_AMPLITUDE:
            return None
        inner, outer = self._inner, self._outer
        beside = (self._power[max(1, peak - outer) : peak - inner], self._power[peak + inner : peak + outer])
        if self._power[peak] < MIN_PROMINENCE * np.median(np.concatenate(beside)):
            return None
        coherence, hz = _compare_halves(self._samples, peak * _BIN_HZ)
        is_line = coherence >= MIN_COHERENCE and abs(hz - centre_hz) <= reach_hz + _BIN_HZ
        return Line(multiple, hz, amplitude) if is_line else None


def _compare_halves(samples: Values, hz: float) -> tuple[float, float]:
    """Return the coherence of a line's two halves, and its frequency refined by their difference of phase."""
    half = len(samples) // 2
    carrier = np.exp(-2j * np.pi * hz / RATE_HZ * np.arange(2 * half)) * np.tile(np.hanning(half), 2)
    first, second = (samples[: 2 * half] * carrier).reshape(2, half).sum(axis=1)
    total = abs(first) ** 2 + abs(second) ** 2
    coherence = abs(first + second) ** 2 / (2 * total) if total else 0.0
    turn = np.angle(second * np.conj(first))
    return float(coherence), float(hz + turn / (2 * np.pi * half) * RATE_HZ)


class HumTracker:
    """Follows one stream at `SAMPLE_RATE_HZ` and knows its hum as of any sample of the last `memory_samples`."""

    def __init__(self, *, memory_samples: int) -> None:
        self._memory = memory_samples
        self.restart(0)

    def restart(self, sample: int) -> None:
        """Forget everything: unrelated audio starts at `sample`."""
        self._end = sample
        self._remainder = np.zeros(0, np.float32)
        self._history: Values = np.zeros(0)
        self._seen: dict[float, dict[int, tuple[int, Line]]] = {mains_hz: {} for mains_hz in MAINS_HZ}
        self._known: deque[tuple[int, Hum | None]] = deque([(sample, None)])
        self._blocks = 0

    @property
    def newest(self) -> Hum | None:
        """The hum at the end of the audio."""
        return self._known[-1][1]

    def at(self, sample: int) -> Hum | None:
        """Return the hum as it was known at `sample`."""
        place = bisect_right(self._known, sample, key=lambda entry: entry[0])
        return self._known[max(0, place - 1)][1]

    def push(self, samples: Samples) -> None:
        """Take the next samples (n,)."""
        rest = np.concatenate((self._remainder, samples))
        while len(rest) >= _CHECK_SAMPLES:
            block, rest = rest[:_CHECK_SAMPLES], rest[_CHECK_SAMPLES:]
            decimated = block.reshape(-1, DECIMATION).mean(axis=1, dtype=np.float64)
            self._history = np.concatenate((self._history, decimated))[-HISTORY_BLOCKS * _CHECK_SAMPLES // DECIMATION :]
            self._end += _CHECK_SAMPLES
            self._blocks += 1
            if self._blocks >= MIN_BLOCKS and (self._blocks <= HISTORY_BLOCKS or self._blocks % LATE_BLOCKS == 0):
                self._check()
        self._remainder = rest

    def _check(self) -> None:
        """Look for hum in the history."""
        best: Hum | None = None
        spectrum = Spectrum(self._history)
        for mains_hz, seen in self._seen.items():
            lines = spectrum.lines(mains_hz, (1, 2))
            if lines or seen:
                lines += spectrum.lines(mains_hz, range(3, int(MAX_LINE_HZ // mains_hz) + 1))
            for line in lines:
                seen[line.multiple] = (self._end, line)
            for multiple, (last_seen, _) in list(seen.items()):
                if self._end - last_seen > HOLD_S * SAMPLE_RATE_HZ:
                    del seen[multiple]
            hum = self._hum([line for _, line in seen.values()])
            if hum is not None and (best is None or hum.level_dbfs > best.level_dbfs):
                best = hum
        self._known.append((self._end, best))
        while self._known[0][0] < self._end - self._memory and len(self._known) > 1:
            self._known.popleft()

    def _hum(self, lines: Sequence[Line]) -> Hum | None:
        """Return the hum that lines form: with its base, or with the double and another one above."""
        multiples = {line.multiple for line in lines}
        long_enough = self._blocks >= MIN_BLOCKS_WITHOUT_BASE
        if not (1 in multiples or (long_enough and 2 in multiples and len(multiples) > 2)):  # noqa: PLR2004
            return None
        weights = [(line.multiple * line.amplitude) ** 2 for line in lines]
        base_hz = sum(w * line.hz / line.multiple for w, line in zip(weights, lines, strict=True)) / sum(weights)
        ordered = sorted(lines, key=lambda line: line.multiple)
        return Hum(base_hz, tuple(one.multiple for one in ordered), tuple(one.amplitude for one in ordered))


def subtract_hum(samples: Samples, hum: Hum) -> Samples:
    """Return samples (n,) at `SAMPLE_RATE_HZ` without the lines of `hum`."""
    steps = -(-len(samples) // STEP_SAMPLES)
    if not steps:
        return samples
    padded = np.pad(samples, (0, steps * STEP_SAMPLES - len(samples))).reshape(steps, STEP_SAMPLES)
    radians = 2 * np.pi * hum.base_hz / SAMPLE_RATE_HZ * np.array(hum.multiples)
    within = np.exp(1j * np.outer(radians, np.arange(STEP_SAMPLES)))  # (lines, samples of a step)
    across = np.exp(1j * np.outer(np.arange(steps) * STEP_SAMPLES, radians))  # (steps, lines)
    sums = (padded @ within.conj().T) * across.conj()
    sizes = np.full(steps, float(STEP_SAMPLES))
    sizes[-1] -= padded.size - len(samples)
    amplitudes = np.stack([_smooth(column) for column in sums.T], axis=1) / _smooth(sizes)[:, None]
    limits = MAX_AMPLITUDE_RATIO / 2 * np.array(hum.amplitudes)
    amplitudes *= limits / np.maximum(limits, np.abs(amplitudes))
    return np.asarray(samples - 2 * ((amplitudes * across) @ within).real.ravel()[: len(samples)], np.float32)


def _smooth(values: NDArray[np.complex128] | Values) -> NDArray[np.complex128] | Values:
    """Smooth (n,) over the grid; at the edges over what there is."""
    return np.convolve(values, SMOOTHING)[len(SMOOTHING) // 2 :][: len(values)]
