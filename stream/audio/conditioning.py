"""Conditioning of one stream before any model: offset, rumble, mains hum, very soft speech (pure).

All models of all sources get conditioned audio, in live streams, replay and enrolment alike, because it happens in the
`StreamBuffer`. The high-pass filter runs as audio is pushed. Hum is found as audio is pushed and subtracted when a
window or frames are read. Clean audio passes unchanged but for what is below 20 Hz.

Only the speech detector gets very soft speech amplified: at -66 dBFS it misses a fifth of the speech, while the results
of the other models hardly depend on the level. The gain rises only where the level varies as speech does; silence and
steady noise stay as they are. Results do not depend on the block sizes pushed.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from stream.audio.highpass import HighPass
from stream.audio.hum import Hum, HumTracker, subtract_hum
from stream.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples

HUM_CONTEXT_SAMPLES = SAMPLE_RATE_HZ
"""Audio read with a frame from which hum is subtracted: enough to follow its lines."""

SOFT_SPEECH_DBFS = -42.0
"""Level to which softer speech is raised."""

MAX_GAIN_DB = 30.0
MIN_SPREAD_DB = 12.0
"""Difference of loud and quiet frames from which a soft signal may be speech; steady noise has 3 dB."""

LOUD_PERCENTILE, QUIET_PERCENTILE = 90, 10
LEVEL_FRAMES = 312
"""Frames from which levels are taken: 10 s."""

MIN_LEVEL_FRAMES = 16
GAIN_STEP_FRAMES = 8
"""The gain changes every 0.25 s …"""

MAX_GAIN_STEP_DB = 6.0
"""… by at most this upwards. It falls at once."""

FLOOR_DBFS = -100.0


class SoftSpeechGain:
    """Gain of the speech detector's input, by frame."""

    def __init__(self) -> None:
        self._levels_dbfs: deque[float] = deque(maxlen=LEVEL_FRAMES)
        self._frames = 0
        self._gain_db = 0.0

    def push(self, frames: Samples) -> Samples:
        """Return the gain of each of the next frames; (n * 512,) to (n,)."""
        powers = np.square(frames.reshape(-1, FRAME_SAMPLES)).mean(axis=1, dtype=np.float64)
        gains_db = np.empty(len(powers), np.float32)
        for place, level_dbfs in enumerate((10 * np.log10(powers + 1e-10)).tolist()):
            self._levels_dbfs.append(level_dbfs)
            self._frames += 1
            if self._frames % GAIN_STEP_FRAMES == 0 and len(self._levels_dbfs) >= MIN_LEVEL_FRAMES:
                self._gain_db = min(self._wanted_db(), self._gain_db + MAX_GAIN_STEP_DB)
            gains_db[place] = min(self._gain_db, max(0.0, -level_dbfs - 3))  # never beyond full scale
        return np.asarray(10 ** (gains_db / 20), np.float32)

    def _wanted_db(self) -> float:
        """Return the gain that the levels so far ask for."""
        levels = np.fromiter((level for level in self._levels_dbfs if level > FLOOR_DBFS + 1), np.float64)
        if not len(levels) or levels.max() > SOFT_SPEECH_DBFS:
            return 0.0
        quiet_dbfs, loud_dbfs = np.percentile(levels, (QUIET_PERCENTILE, LOUD_PERCENTILE))
        if loud_dbfs - quiet_dbfs < MIN_SPREAD_DB:
            return 0.0
        return float(min(MAX_GAIN_DB, SOFT_SPEECH_DBFS - levels.max()))


class Conditioner:
    """Conditioning of one stream; `memory_samples` is how far back audio is read."""

    def __init__(self, *, memory_samples: int) -> None:
        self._highpass = HighPass()
        self._hum = HumTracker(memory_samples=memory_samples)
        self._gain = SoftSpeechGain()

    @property
    def hum(self) -> Hum | None:
        """The hum found at the end of the audio."""
        return self._hum.newest

    def push(self, samples: Samples) -> Samples:
        """Take the next samples (n,); return them filtered."""
        filtered = self._highpass.push(samples)
        self._hum.push(filtered)
        return filtered

    def restart(self, sample: int) -> None:
        """Start afresh after a gap; contiguous audio starts at `sample`."""
        self._highpass.restart()
        self._hum.restart(sample)

    def clean(self, samples: Samples, end_sample: int) -> Samples:
        """Subtract the hum known at `end_sample` from filtered audio that ends there."""
        hum = self._hum.at(end_sample)
        return samples if hum is None else subtract_hum(samples, hum)

    def has_hum(self, end_sample: int) -> bool:
        """Return whether there is hum to subtract from audio that ends at `end_sample`."""
        return self._hum.at(end_sample) is not None

    def gains(self, frames: Samples) -> Samples:
        """Return the gain of each of the next frames for the speech detector; (n * 512,) to (n,)."""
        return self._gain.push(frames)
