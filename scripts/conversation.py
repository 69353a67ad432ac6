"""Synthesise the bundled demo conversation and write its exact reference: speakers, times, emotions and texts.

Rules:

* Equal versions of flite give equal samples: the only randomness is a bit stream with a fixed seed, and all arithmetic
  is in float64.
* Turn boundaries come from the audio, not from the plan: a turn starts and ends where its level crosses a floor, on a
  whole millisecond, so the reference is exact.
* A turn that violates a requirement of the demo (too long, clipped, no overlap) stops the build.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scripts.demo_speech import (
    FADE_MS,
    MILLISECOND_SAMPLES,
    RATE_HZ,
    VOICES,
    Signal,
    SynthesisError,
    perform,
)

HOME = Path(__file__).resolve().parent.parent / "stream" / "demo"
NAME = "conversation"

LEAD_S = 0.6
ROOM_LOW_HZ = 40
TAIL_S = 1.2
ROOM_DBFS = -60.0
ROOM_SEED = 20_240_229
PEAK_LIMIT = 0.9
TURN_LIMITS_S = (1.5, 6.0)
OVERLAP_LIMITS_S = (1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Line:
    """A planned turn, `gap_s` after the end of the previous one; a negative gap is an overlap."""

    gap_s: float
    speaker: str
    emotion: str
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A synthesised turn with its times in the conversation."""

    start_ms: int
    end_ms: int
    line: Line


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


def room_tone(length: int) -> Signal:
    """Return faint low-frequency noise, as of a quiet room, from raw bits, which are equal in all releases of NumPy."""
    bits = np.random.PCG64(ROOM_SEED).random_raw(length)
    noise = (bits >> np.uint64(11)).astype(np.float64) / 2.0**53 - 0.5
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    tone = np.fft.irfft(spectrum * (hertz > ROOM_LOW_HZ) / np.sqrt(1 + (hertz / 400) ** 2), length)
    return np.asarray(tone * 10 ** (ROOM_DBFS / 20) / np.sqrt(np.mean(tone**2)), dtype=np.float64)


def stage(story: tuple[Line, ...]) -> tuple[NDArray[np.int16], tuple[Turn, ...]]:
    """Return all lines mixed with room tone as 16-bit samples, and the times of each turn."""
    turns: list[Turn] = []
    parts: list[Signal] = []
    end_ms = round(LEAD_S * 1000)
    for line in story:
        part = perform(line.text, speaker=line.speaker, emotion=line.emotion)
        start_ms = end_ms + round(line.gap_s * 1000)
        end_ms = start_ms + len(part) // MILLISECOND_SAMPLES - 2 * FADE_MS
        turns.append(Turn(start_ms, end_ms, line))
        parts.append(part)
    last_ms = max(turn.end_ms for turn in turns)
    mix = room_tone((last_ms + round(TAIL_S * 1000)) * MILLISECOND_SAMPLES)
    for turn, part in zip(turns, parts, strict=True):
        first = (turn.start_ms - FADE_MS) * MILLISECOND_SAMPLES
        mix[first : first + len(part)] += part
    check_requirements(mix, turns)
    return np.round(mix * 32767).astype(np.int16), tuple(turns)


def check_requirements(mix: Signal, turns: list[Turn]) -> None:
    """Raise `SynthesisError` if a turn, the overlap or the peak level is out of its limits."""
    for turn in turns:
        length_s = (turn.end_ms - turn.start_ms) / 1000
        if not TURN_LIMITS_S[0] <= length_s <= TURN_LIMITS_S[1]:
            msg = f"a turn of {length_s:.2f} s: {turn.line.text!r}"
            raise SynthesisError(msg)
    shared = [before.end_ms - after.start_ms for before, after in pairwise(turns)]
    overlaps_s = [each / 1000 for each in shared if each > 0]
    if len(overlaps_s) != 1 or not OVERLAP_LIMITS_S[0] <= overlaps_s[0] <= OVERLAP_LIMITS_S[1]:
        msg = f"one overlap of 1 to 2 s needed, not {overlaps_s}"
        raise SynthesisError(msg)
    peak = float(np.abs(mix).max())
    if peak > PEAK_LIMIT:
        msg = f"peak level {peak:.3f}, above {PEAK_LIMIT}"
        raise SynthesisError(msg)


def write(folder: Path, samples: NDArray[np.int16], turns: tuple[Turn, ...]) -> None:
    """Write audio and reference."""
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
    """Return a table with the figures of the conversation."""
    size_kb = (folder / f"{NAME}.flac").stat().st_size / 1000
    peak = np.abs(samples).max() / 32768
    title = f"{len(samples) / RATE_HZ:.2f} s, {len(turns)} turns, {size_kb:.0f} kB, peak {peak:.2f}"
    table = Table("speaker", "turns", "speech (s)", "share", "manners", title=title)
    total_ms = sum(turn.end_ms - turn.start_ms for turn in turns)
    for name in VOICES:
        own = [turn for turn in turns if turn.line.speaker == name]
        own_ms = sum(turn.end_ms - turn.start_ms for turn in own)
        manners = ", ".join(dict.fromkeys(turn.line.emotion for turn in own))
        table.add_row(name, str(len(own)), f"{own_ms / 1000:.2f}", f"{own_ms / total_ms:.0%}", manners)
    return table


def main() -> None:
    """Build the conversation in the package, or in another folder."""
    parser = argparse.ArgumentParser(description="Synthesise the bundled demo conversation.")
    parser.add_argument(
        "--into", type=Path, default=HOME, metavar="FOLDER", help="where to write (default: stream/demo)"
    )
    folder = parser.parse_args().into
    try:
        samples, turns = stage(STORY)
    except SynthesisError as error:
        sys.exit(f"the conversation violates a requirement: {error}; change the plan or the voices")
    write(folder, samples, turns)
    Console().print(report(folder, samples, turns))


if __name__ == "__main__":
    main()
