"""Synthesises the bundled demo conversation, and writes down exactly who speaks when, and how.

flite says the words in three freely licensed voices. The manner of each turn (pitch, pitch range, pace, loudness,
spectral tilt) is put on afterwards, because flite's own pitch settings work for one of the three voices and are
ignored by another.

Rules:

* The same flite gives the same samples: nothing is random but a fixed-seed bit stream, and all arithmetic is in
  float64.
* Boundaries come from the sound, not from the plan: a turn starts and ends where its energy crosses a floor, and
  turns lie on whole milliseconds, so the written reference is exact.
* A turn of the plan that breaks a promise of the demo (too long, clipped, no overlap) stops the build.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

Signal = NDArray[np.float64]

RATE_HZ = 16_000
MILLISECOND_SAMPLES = RATE_HZ // 1000
HOME = Path(__file__).resolve().parent.parent / "stream" / "demo"
NAME = "conversation"

LEAD_S = 0.6
VOICED = 0.55  # normalised autocorrelation from which a frame has a pitch
ROOM_LOW_HZ = 40
TAIL_S = 1.2
ROOM_DBFS = -60.0
ROOM_SEED = 20_240_229
DISPERSION_S = 0.006
FADE_MS = 15  # sound kept outside a boundary, faded, so that trimming does not click
FLOOR_DB = -28.0  # a turn's boundary, below its own level ...
FLOOR_DBFS = -49.0  # ... but never so low that the room would hide it
PEAK_LIMIT = 0.9
TURN_LIMITS_S = (1.5, 6.0)
OVERLAP_LIMITS_S = (1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker: which flite voice, how far its formants are moved, its usual pitch and loudness."""

    flite: str
    formants: float  # 1.05: a vocal tract five per cent shorter
    pitch_hz: float
    level_dbfs: float
    pace: float = 1.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How an emotion changes a voice, relative to neutral."""

    pitch: float
    pitch_range: float  # exponent of the pitch contour about its median: 0 is flat, 1 as spoken
    duration: float
    level_db: float
    tilt_db: float  # gain reached at 4 kHz, relative to low frequencies


@dataclass(frozen=True, slots=True)
class Line:
    """A turn as planned: `gap_s` after the end of the turn before it; a negative gap is an overlap."""

    gap_s: float
    speaker: str
    emotion: str
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as spoken, on the conversation's clock."""

    start_ms: int
    end_ms: int
    line: Line


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

STORY = (
    Line(0.0, "Alice", "neutral", "Good morning, both of you. Has the piano come in yet?"),
    Line(0.5, "Bob", "neutral", "Not yet. The van was meant to be here at half past eight."),
    Line(0.6, "Callum", "happy", "Good morning, everybody! The sun is out, and I have brought fresh scones!"),
    Line(0.4, "Bob", "angry", "It is ten o'clock, and the stage is still empty! They promised us half past eight!"),
    Line(0.7, "Alice", "neutral", "I will ring the depot, and ask them where it is."),
    Line(3.0, "Alice", "sad", "They say the van broke down last night. It may not come at all."),
    Line(0.9, "Callum", "sad", "Oh no. The children have practised since March."),
    Line(0.6, "Bob", "angry", "This is the third time this year! I want to speak to their manager, right now!"),
    Line(-1.4, "Alice", "angry", "Bob, please stop it! There is somebody at the back gate!"),
    Line(0.8, "Callum", "neutral", "It is a green lorry. I can see two people, and a very large crate."),
    Line(0.5, "Alice", "happy", "It is the piano! They found another van, and drove all night!"),
    Line(0.4, "Bob", "happy", "Well, I take it all back! Somebody give those drivers a scone!"),
    Line(0.3, "Callum", "happy", "There are plenty left, even the ones with cherries!"),
    Line(1.2, "Bob", "sad", "I am sorry that I shouted. I was worried about the children."),
    Line(0.8, "Alice", "neutral", "No harm done. The tuner comes at noon, and the doors open at six."),
    Line(0.5, "Callum", "angry", "Hey! Who put that wet crate on top of my cherry scones?"),
    Line(0.6, "Alice", "happy", "Then tonight, we shall all have cherry jam!"),
)


class BrokenPromiseError(Exception):
    """The conversation came out other than the demo promises."""


# --- the voice ----------------------------------------------------------------------------------------------


def spoken(text: str, *, voice: str, stretch: float) -> Signal:
    """What flite says, as it says it."""
    flite = shutil.which("flite")
    if flite is None:
        sys.exit("The conversation is spoken by flite, which is not installed: apt install flite")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "turn.wav"
        command = [flite, "-voice", voice, "--setf", f"duration_stretch={stretch:.4f}", "-t", text, "-o", str(wav)]
        subprocess.run(command, check=True, capture_output=True)
        samples, rate_hz = sf.read(wav, dtype="float64")
    if rate_hz != RATE_HZ or samples.ndim != 1:
        msg = f"flite's voice {voice} gave {rate_hz} Hz; flite 2.2 with the built-in voices slt, rms and awb is wanted"
        raise BrokenPromiseError(msg)
    return np.asarray(samples, dtype=np.float64)


def pitch_track(samples: Signal, *, hop: int = 80, length: int = 960) -> Signal:
    """Pitch in Hz every `hop` samples, by the autocorrelation of a 60 ms frame; 0 where nothing is voiced."""
    shortest, longest = RATE_HZ // 400, RATE_HZ // 65
    padded = np.pad(samples, length // 2)
    shape = np.hanning(length)
    bias = np.fft.irfft(np.abs(np.fft.rfft(shape, 2 * length)) ** 2)
    loud = 0.02 * np.sqrt(np.mean(samples**2))
    track = np.zeros(len(samples) // hop + 1)
    for index in range(len(track)):
        frame = padded[index * hop : index * hop + length]
        if np.sqrt(np.mean(frame**2)) < loud:
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
        if best > VOICED and peaks:  # the first of several good peaks: an octave too low is the usual mistake
            track[index] = RATE_HZ / peaks[0]
    around = np.stack([np.roll(track, shift) for shift in range(-2, 3)])
    return np.asarray(np.median(around, axis=0), dtype=np.float64)


def pitch_marks(samples: Signal, track: Signal, *, hop: int = 80) -> tuple[NDArray[np.int64], Signal]:
    """One mark a period (every 5 ms where nothing is voiced), and the pitch at each, 0 for unvoiced."""
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


def intoned(samples: Signal, *, median_hz: float, pitch_range: float) -> Signal:
    """The same words at the same pace and with the same formants, on another pitch contour (TD-PSOLA)."""
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
        wanted = median_hz * (pitch / usual_hz) ** pitch_range if pitch else 0.0
        at += RATE_HZ / float(np.clip(wanted, 0.55 * median_hz, 1.8 * median_hz)) if pitch else float(right)
    return out[RATE_HZ // 2 : RATE_HZ // 2 + len(samples)]


def coloured(samples: Signal, tilt_db: float) -> Signal:
    """Brighter or duller: the gain rises from nothing at 500 Hz to `tilt_db` at 4 kHz, evenly by octave.

    High frequencies also come up to `DISPERSION_S` later than low ones. That is not heard, but a synthesiser has every
    harmonic peak at the same instant: sharper peaks than a throat makes, and ones that would clip.
    """
    length = 2 * len(samples)
    hertz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    octaves = np.log2(np.clip(hertz, 500.0, 4000.0) / 500.0)
    late = np.exp(-2j * np.pi * DISPERSION_S * hertz**2 / RATE_HZ)
    shaped = np.fft.irfft(np.fft.rfft(samples, length) * late * 10 ** (tilt_db * octaves / 3 / 20), length)
    return np.asarray(shaped[: len(samples)], dtype=np.float64)


# --- levels and boundaries ----------------------------------------------------------------------------------


def decibels(power: Signal) -> Signal:
    """Power as dB below full scale."""
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)), dtype=np.float64)


def envelope_dbfs(samples: Signal) -> Signal:
    """Level of each millisecond, over the 10 ms around it."""
    whole = len(samples) // MILLISECOND_SAMPLES * MILLISECOND_SAMPLES
    power = np.mean(samples[:whole].reshape(-1, MILLISECOND_SAMPLES) ** 2, axis=1)
    total = np.concatenate([[0.0], np.cumsum(np.pad(power, (5, 4)))])
    return decibels((total[10:] - total[:-10]) / 10)


def active_dbfs(samples: Signal) -> float:
    """Level of the parts within 30 dB of the loudest: what a listener calls how loud somebody speaks."""
    levels = envelope_dbfs(samples)
    active = levels[levels > levels.max() - 30]
    return float(decibels(np.mean(10 ** (active / 10), keepdims=True))[0])


def performed(line: Line) -> Signal:
    """A line in its speaker's voice and manner, trimmed to the speech with `FADE_MS` of faded sound on either side."""
    voice, manner = VOICES[line.speaker], MANNERS[line.emotion]
    stretch = voice.pace * manner.duration * voice.formants  # reading faster moves the formants, and shortens
    samples = spoken(line.text, voice=voice.flite, stretch=stretch)
    samples = np.asarray(soxr.resample(samples, RATE_HZ * voice.formants, RATE_HZ, quality="VHQ"), dtype=np.float64)
    samples = intoned(samples, median_hz=voice.pitch_hz * manner.pitch, pitch_range=manner.pitch_range)
    samples = coloured(samples, manner.tilt_db)
    wanted_dbfs = voice.level_dbfs + manner.level_db
    samples *= 10 ** ((wanted_dbfs - active_dbfs(samples)) / 20)

    loud = np.flatnonzero(envelope_dbfs(samples) > max(wanted_dbfs + FLOOR_DB, FLOOR_DBFS))
    fade = FADE_MS * MILLISECOND_SAMPLES
    start, end = int(loud[0]) * MILLISECOND_SAMPLES, (int(loud[-1]) + 1) * MILLISECOND_SAMPLES
    kept = np.pad(samples, fade)[start : end + 2 * fade].copy()
    slope = 0.5 - 0.5 * np.cos(np.pi * np.arange(fade) / fade)
    kept[:fade] *= slope
    kept[-fade:] *= slope[::-1]
    return kept


def room_tone(length: int) -> Signal:
    """Faint noise, mostly low, as a quiet room has it. Made of raw bits: their stream never changes between NumPys."""
    bits = np.random.PCG64(ROOM_SEED).random_raw(length)
    noise = (bits >> np.uint64(11)).astype(np.float64) / 2.0**53 - 0.5
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    tone = np.fft.irfft(spectrum * (hertz > ROOM_LOW_HZ) / np.sqrt(1 + (hertz / 400) ** 2), length)
    return np.asarray(tone * 10 ** (ROOM_DBFS / 20) / np.sqrt(np.mean(tone**2)), dtype=np.float64)


# --- the conversation ---------------------------------------------------------------------------------------


def staged(story: tuple[Line, ...]) -> tuple[NDArray[np.int16], tuple[Turn, ...]]:
    """All lines on one clock, in a room, as 16-bit samples; and when each was spoken."""
    turns: list[Turn] = []
    parts: list[Signal] = []
    end_ms = round(LEAD_S * 1000)
    for line in story:
        part = performed(line)
        start_ms = end_ms + round(line.gap_s * 1000)
        end_ms = start_ms + len(part) // MILLISECOND_SAMPLES - 2 * FADE_MS
        turns.append(Turn(start_ms, end_ms, line))
        parts.append(part)
    last_ms = max(turn.end_ms for turn in turns)
    mix = room_tone((last_ms + round(TAIL_S * 1000)) * MILLISECOND_SAMPLES)
    for turn, part in zip(turns, parts, strict=True):
        first = (turn.start_ms - FADE_MS) * MILLISECOND_SAMPLES
        mix[first : first + len(part)] += part
    keep_promises(mix, turns)
    return np.round(mix * 32767).astype(np.int16), tuple(turns)


def keep_promises(mix: Signal, turns: list[Turn]) -> None:
    """Refuse a conversation that is not what the demo's readme says."""
    for turn in turns:
        length_s = (turn.end_ms - turn.start_ms) / 1000
        if not TURN_LIMITS_S[0] <= length_s <= TURN_LIMITS_S[1]:
            msg = f"a turn of {length_s:.2f} s: {turn.line.text!r}"
            raise BrokenPromiseError(msg)
    shared = [before.end_ms - after.start_ms for before, after in pairwise(turns)]
    overlaps_s = [each / 1000 for each in shared if each > 0]
    if len(overlaps_s) != 1 or not OVERLAP_LIMITS_S[0] <= overlaps_s[0] <= OVERLAP_LIMITS_S[1]:
        msg = f"one overlap of 1 to 2 s is wanted, not {overlaps_s}"
        raise BrokenPromiseError(msg)
    peak = float(np.abs(mix).max())
    if peak > PEAK_LIMIT:
        msg = f"the loudest sample is {peak:.3f}, above {PEAK_LIMIT}"
        raise BrokenPromiseError(msg)


def write(folder: Path, samples: NDArray[np.int16], turns: tuple[Turn, ...]) -> None:
    """Sound and reference, side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    sf.write(folder / f"{NAME}.flac", samples, RATE_HZ, subtype="PCM_16", compression_level=1.0)
    rows = "".join(
        f"SPEAKER {NAME} 1 {turn.start_ms / 1000:.3f} {(turn.end_ms - turn.start_ms) / 1000:.3f}"
        f" <NA> <NA> {turn.line.speaker} <NA> <NA>\n"
        for turn in turns
    )
    (folder / f"{NAME}.rttm").write_text(rows, encoding="utf-8")
    with (folder / f"{NAME}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["start_s", "end_s", "speaker", "emotion", "text"])
        for turn in turns:
            times = f"{turn.start_ms / 1000:.3f}", f"{turn.end_ms / 1000:.3f}"
            writer.writerow([*times, turn.line.speaker, turn.line.emotion, turn.line.text])


def report(folder: Path, samples: NDArray[np.int16], turns: tuple[Turn, ...]) -> Table:
    """What was made, in a few rows."""
    size_kb = (folder / f"{NAME}.flac").stat().st_size / 1000
    peak = np.abs(samples).max() / 32768
    title = f"{len(samples) / RATE_HZ:.2f} s, {len(turns)} turns, {size_kb:.0f} kB, peak {peak:.2f}"
    table = Table("speaker", "turns", "speaks (s)", "share", "manners", title=title)
    total_ms = sum(turn.end_ms - turn.start_ms for turn in turns)
    for name in VOICES:
        own = [turn for turn in turns if turn.line.speaker == name]
        own_ms = sum(turn.end_ms - turn.start_ms for turn in own)
        manners = ", ".join(dict.fromkeys(turn.line.emotion for turn in own))
        table.add_row(name, str(len(own)), f"{own_ms / 1000:.2f}", f"{own_ms / total_ms:.0%}", manners)
    return table


def main() -> None:
    """Build the conversation where it is bundled, or into another folder."""
    parser = argparse.ArgumentParser(description="Synthesise the bundled demo conversation.")
    parser.add_argument(
        "--into", type=Path, default=HOME, metavar="FOLDER", help="where to write (default: stream/demo)"
    )
    folder = parser.parse_args().into
    try:
        samples, turns = staged(STORY)
    except BrokenPromiseError as error:
        sys.exit(f"The conversation is not as promised: {error}")
    write(folder, samples, turns)
    Console().print(report(folder, samples, turns))


if __name__ == "__main__":
    main()
