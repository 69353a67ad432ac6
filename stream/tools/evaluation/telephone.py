"""Recordings as a telephone call carries them: 300 to 3,400 Hz, 8,000 samples a second, G.711 µ-law."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr

from stream.types import SAMPLE_RATE_HZ, Samples

RATE_HZ = 8_000
BAND_HZ = (300, 3_400)
PEAK = 0.7


def telephone_band(samples: Samples) -> Samples:
    """Return samples at SAMPLE_RATE_HZ as those of a call at RATE_HZ, with a peak of PEAK; before quantisation."""
    from scipy.signal import butter, sosfilt  # noqa: PLC0415 - takes a second to import

    band = butter(4, BAND_HZ, "bandpass", fs=RATE_HZ, output="sos")
    call = sosfilt(band, soxr.resample(samples, SAMPLE_RATE_HZ, RATE_HZ))
    return np.asarray(PEAK * call / max(1e-9, float(np.abs(call).max(initial=0.0))), np.float32)


def through_telephone(samples: Samples) -> Samples:
    """Return samples at SAMPLE_RATE_HZ as a telephone call carries them, at SAMPLE_RATE_HZ again."""
    call = io.BytesIO()
    soundfile.write(call, telephone_band(samples), RATE_HZ, format="WAV", subtype="ULAW")
    call.seek(0)
    return np.asarray(soxr.resample(soundfile.read(call, dtype="float32")[0], RATE_HZ, SAMPLE_RATE_HZ), np.float32)


def write_call(path: Path, samples: Samples) -> None:
    """Write samples at SAMPLE_RATE_HZ as a WAV file of a telephone call."""
    soundfile.write(path, telephone_band(samples), RATE_HZ, subtype="ULAW")
