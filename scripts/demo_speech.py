"""Speech of the demo conversation: flite's voices with other formants, pitch contours, levels and spectra.

flite synthesises the words in three freely licensed voices. The manner of each turn (pitch, pitch range, pace,
loudness, spectral tilt) is applied afterwards, because flite's pitch settings affect only one of the three voices.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

Signal = NDArray[np.float64]

RATE_HZ = 16_000
MILLISECOND_SAMPLES = RATE_HZ // 1000
VOICED = 0.55  # normalised autocorrelation from which a frame has a pitch
DISPERSION_S = 0.006
FADE_MS = 15  # audio kept outside a boundary, faded, so that trimming does not click
FLOOR_DB = -28.0  # a turn's boundary, below its own level ...
FLOOR_DBFS = -49.0  # ... but never below the noise floor of the room


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker: flite voice, formant shift, pitch and level."""

    flite: str
    formants: float  # 1.05: a vocal tract shorter by 5 %
    pitch_hz: float
    level_dbfs: float
    pace: float = 1.0


@dataclass(frozen=True, slots=True)
class Manner:
    """Changes of a voice for an emotion, relative to neutral."""

    pitch: float
    pitch_range: float  # exponent of the pitch contour relative to its median: 0 is flat, 1 unchanged
    duration: float
    level_db: float
    tilt_db: float  # gain reached at 4 kHz, relative to low frequencies


VOICES = {
    "Alice": Voice(flite="slt", formants=1.05, pitch_hz=196.0, level_dbfs=-24.0, pace=1.0),
    "Bob": Voice(flite="rms", formants=0.94, pitch_hz=95.0, level_dbfs=-25.5, pace=0.95),
    "Callum": Voice(flite="awb", formants=1.03, pitch_hz=134.0, level_dbfs=-26.0, pace=0.97),
}

MANNERS = {
    "neutral": Manner(pitch=1.0, pitch_range=1.0, duration=1.0, level_db=0.0, tilt_db=0.0),
    "happy": Manner(pitch=1.2, pitch_range=2.0, duration=0.92, level_db=2.0, tilt_db=2.0),
    "angry": Manner(pitch=1.2, pitch_range=1.5, duration=0.86, level_db=5.0, tilt_db=6.0),
    "sad": Manner(pitch=0.9, pitch_range=0.35, duration=1.2, level_db=-4.5, tilt_db=-6.0),
}


class SynthesisError(Exception):
    """The synthesised conversation violates a requirement."""


def synthesise(text: str, *, voice: str, duration: float) -> Signal:
    """Synthesise a text with flite, unmodified."""
    flite = shutil.which("flite")
    if flite is None:
        sys.exit("flite is not installed; run: apt install flite")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "turn.wav"
        command = [flite, "-voice", voice, "--setf", f"duration_stretch={duration:.4f}", "-t", text, "-o", str(wav)]
        subprocess.run(command, check=True, capture_output=True)
        samples, rate_hz = sf.read(wav, dtype="float64")
    if rate_hz != RATE_HZ or samples.ndim != 1:
        msg = f"flite's voice {voice} has {rate_hz} Hz; install flite 2.2 with the built-in voices slt, rms and awb"
        raise SynthesisError(msg)
    return np.asarray(samples, dtype=np.float64)


def pitch_track(samples: Signal, *, hop: int = 80, length: int = 960) -> Signal:
    """Return pitch in Hz every `hop` samples by autocorrelation of 60 ms frames; 0 for unvoiced frames."""
    shortest, longest = RATE_HZ // 400, RATE_HZ // 65
    padded = np.pad(samples, length // 2)
    shape = np.hanning(length)
    bias = np.fft.irfft(np.abs(np.fft.rfft(shape, 2 * length)) ** 2)
    min_rms = 0.02 * np.sqrt(np.mean(samples**2))
    track = np.zeros(len(samples) // hop + 1)
    for index in range(len(track)):
        frame = padded[index * hop : index * hop + length]
        if np.sqrt(np.mean(frame**2)) < min_rms:
            continue
        power = np.abs(np.fft.rfft(frame * shape, 2 * length)) ** 2
        ratio = np.fft.irfft(power)[: longest + 2] / bias[: longest + 2]
        ratio /= ratio[0]
        best = ratio[shortest:longest].max()
        peaks = [
            lag
            for lag in range(shortest, longest)
            if ratio[lag] > 0.85 * best and ratio[lag] >= ratio[lag - 1] and ratio[lag] >= ratio[lag + 1]
        ]
        if best > VOICED and peaks:  # the first of several peaks, to avoid octave errors
            track[index] = RATE_HZ / peaks[0]
    around = np.stack([np.roll(track, shift) for shift in range(-2, 3)])
    return np.asarray(np.median(around, axis=0), dtype=np.float64)


def pitch_marks(samples: Signal, track: Signal, *, hop: int = 80) -> tuple[NDArray[np.int64], Signal]:
    """Return one mark per period (every 5 ms in unvoiced parts), and the pitch at each, 0 for unvoiced."""
    marks, pitches = [0], [0.0]
    while True:
        here = marks[-1]
        pitch = float(track[min(here // hop, len(track) - 1)])
        if pitch == 0.0:
            after = here + hop
        else:
            period = RATE_HZ / pitch
            low, high = here + round(0.8 * period), here + round(1.2 * period) + 1
            window = samples[low:high]
            after = low + int(np.argmax(window)) if len(window) else high
        if after >= len(samples):
            return np.array(marks), np.array(pitches)
        marks.append(after)
        pitches.append(pitch)


def change_pitch(samples: Signal, *, median_hz: float, pitch_range: float) -> Signal:
    """Change the pitch contour, keeping duration and formants (TD-PSOLA)."""
    track = pitch_track(samples)
    marks, pitches = pitch_marks(samples, track)
    usual_hz = float(np.median(pitches[pitches > 0]))
    gaps = np.diff(marks, prepend=marks[0], append=len(samples))
    out = np.zeros(len(samples) + RATE_HZ)
    padded = np.pad(samples, RATE_HZ // 2)
    at = 0.0
    while at < len(samples):
        nearest = int(np.argmin(np.abs(marks - at)))
        left, right = max(gaps[nearest], 1), max(gaps[nearest + 1], 1)
        grain = np.concatenate([np.hanning(2 * left + 1)[:left], np.hanning(2 * right + 1)[right : 2 * right]])
        source = int(marks[nearest]) + RATE_HZ // 2
        target = round(at) + RATE_HZ // 2
        out[target - left : target + right] += grain * padded[source - left : source + right]
        pitch = pitches[nearest]
        target_hz = median_hz * (pitch / usual_hz) ** pitch_range if pitch else 0.0
        at += RATE_HZ / float(np.clip(target_hz, 0.55 * median_hz, 1.8 * median_hz)) if pitch else float(right)
    return out[RATE_HZ // 2 : RATE_HZ // 2 + len(samples)]


def tilt_spectrum(samples: Signal, tilt_db: float) -> Signal:
    """Apply a gain that rises from 0 dB at 500 Hz to `tilt_db` at 4 kHz, evenly by octave.

    High frequencies are also delayed by up to `DISPERSION_S`. That is inaudible, but the harmonics of a synthesiser
    peak at the same instant, with sharper peaks than those of a human voice, which would clip.
    """
    length = 2 * len(samples)
    hertz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    octaves = np.log2(np.clip(hertz, 500.0, 4000.0) / 500.0)
    delay = np.exp(-2j * np.pi * DISPERSION_S * hertz**2 / RATE_HZ)
    shaped = np.fft.irfft(np.fft.rfft(samples, length) * delay * 10 ** (tilt_db * octaves / 3 / 20), length)
    return np.asarray(shaped[: len(samples)], dtype=np.float64)


def decibels(power: Signal) -> Signal:
    """Convert power to dB relative to full scale."""
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)), dtype=np.float64)


def envelope_dbfs(samples: Signal) -> Signal:
    """Return the level of each millisecond, averaged over 10 ms."""
    whole = len(samples) // MILLISECOND_SAMPLES * MILLISECOND_SAMPLES
    power = np.mean(samples[:whole].reshape(-1, MILLISECOND_SAMPLES) ** 2, axis=1)
    total = np.concatenate([[0.0], np.cumsum(np.pad(power, (5, 4)))])
    return decibels((total[10:] - total[:-10]) / 10)


def active_dbfs(samples: Signal) -> float:
    """Return the active speech level: that of the parts within 30 dB of the loudest."""
    levels = envelope_dbfs(samples)
    active = levels[levels > levels.max() - 30]
    return float(decibels(np.mean(10 ** (active / 10), keepdims=True))[0])


def perform(text: str, *, speaker: str, emotion: str) -> Signal:
    """Synthesise a text in a speaker's voice and manner, trimmed to the speech with `FADE_MS` of fade on each side."""
    voice, manner = VOICES[speaker], MANNERS[emotion]
    duration = voice.pace * manner.duration * voice.formants  # resampling shifts the formants and shortens the audio
    samples = synthesise(text, voice=voice.flite, duration=duration)
    samples = np.asarray(soxr.resample(samples, RATE_HZ * voice.formants, RATE_HZ, quality="VHQ"), dtype=np.float64)
    samples = change_pitch(samples, median_hz=voice.pitch_hz * manner.pitch, pitch_range=manner.pitch_range)
    samples = tilt_spectrum(samples, manner.tilt_db)
    target_dbfs = voice.level_dbfs + manner.level_db
    samples *= 10 ** ((target_dbfs - active_dbfs(samples)) / 20)

    loud = np.flatnonzero(envelope_dbfs(samples) > max(target_dbfs + FLOOR_DB, FLOOR_DBFS))
    fade = FADE_MS * MILLISECOND_SAMPLES
    start, end = int(loud[0]) * MILLISECOND_SAMPLES, (int(loud[-1]) + 1) * MILLISECOND_SAMPLES
    kept = np.pad(samples, fade)[start : end + 2 * fade].copy()
    slope = 0.5 - 0.5 * np.cos(np.pi * np.arange(fade) / fade)
    kept[:fade] *= slope
    kept[-fade:] *= slope[::-1]
    return kept
