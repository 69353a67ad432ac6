"""Mix a conversation of real voices with its exact reference, for evaluation: recordings of held-out speakers.

`TONEWATCH_DATA` names the folder of labelled recordings. They are not part of the project, so the conversation is
written to a folder outside it. Rules:

* No randomness but room tone with a fixed seed; equal recordings give equal samples.
* Only speakers held out of training (`scripts/training/corpus.py`): no bundled model learned from their voices.
* The phrases of an enrolment are of other files than the phrases of the conversation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from scripts.conversation import LEAD_S, TAIL_S, room_tone
from scripts.demo_speech import Signal
from scripts.training import corpus
from stream.types import SAMPLE_RATE_HZ

PROJECT = Path(__file__).resolve().parent.parent
NAME = "conversation"
FRAME = SAMPLE_RATE_HZ // 100
ACTIVE_DB = 32.0
"""A frame is speech if its level is less than this below the loudest frame of the file."""
NOISE_DB = 6.0
"""And more than this above the quietest frames."""
PAUSE_FRAMES = 9
PHRASE_LIMITS_S = (1.6, 5.0)
MARGIN_FRAMES = 4
SPEECH_DBFS = -24.0
PEAK_LIMIT = 0.95
ENROLMENT_S = 8.0


@dataclass(frozen=True, slots=True)
class Line:
    """A planned turn, `gap_s` after the end of the previous one; a negative gap is an overlap."""

    gap_s: float
    speaker: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn with its times in the conversation."""

    start_s: float
    end_s: float
    speaker: str


@dataclass(frozen=True, slots=True)
class Mix:
    """The conversation, its reference and the recordings to enrol from."""

    samples: Signal
    turns: tuple[Turn, ...]
    enrolments: dict[str, Signal]


PLAN = (
    Line(0.0, "Alice"),
    Line(0.5, "Bob"),
    Line(0.6, "Stranger 1"),
    Line(0.4, "Alice"),
    Line(0.0, "Bob"),
    Line(0.7, "Stranger 2"),
    Line(0.5, "Alice"),
    Line(-1.2, "Bob"),
    Line(0.6, "Stranger 1"),
    Line(0.8, "Bob"),
    Line(0.4, "Stranger 2"),
    Line(0.5, "Alice"),
    Line(0.5, "Bob"),
)
"""One change of speaker without a pause and one overlap of 1.2 s."""

CASTS: dict[str, dict[str, str]] = {
    "readers": {"Alice": "ls_1998", "Bob": "ls_2033", "Stranger 1": "ls_2414", "Stranger 2": "ls_7511"},
    "readers-2": {"Alice": "ls_1998", "Bob": "ls_2414", "Stranger 1": "ls_8630", "Stranger 2": "ls_8312"},
    "spellers": {"Alice": "an4_ftmj", "Bob": "an4_msct", "Stranger 1": "an4_fbbh", "Stranger 2": "an4_mnjl"},
}
"""LibriSpeech (two casts) and AN4."""


def phrases(samples: Signal) -> Iterator[Signal]:
    """Yield phrases from pause to pause, each within `PHRASE_LIMITS_S`, with a short margin and equal level.

    Speech at the very start or end of a file is left out: a crop may cut a word.
    """
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    level_db = 10 * np.log10((frames**2).mean(axis=1) + 1e-10)
    floor_db = max(level_db.max() - ACTIVE_DB, np.percentile(level_db, 5) + NOISE_DB)
    spoken = np.flatnonzero(level_db > floor_db)
    islands = np.split(spoken, np.flatnonzero(np.diff(spoken) > PAUSE_FRAMES) + 1)
    start: int | None = None
    for island in islands:
        first, end = int(island[0]), int(island[-1]) + 1
        whole = first > MARGIN_FRAMES and end < len(frames) - MARGIN_FRAMES
        if start is None or (end - start) * FRAME > PHRASE_LIMITS_S[1] * SAMPLE_RATE_HZ:
            start = first
        length_s = (end - start) * FRAME / SAMPLE_RATE_HZ
        if not whole or length_s > PHRASE_LIMITS_S[1]:
            start = None
        elif length_s >= PHRASE_LIMITS_S[0]:
            yield levelled(samples[(start - MARGIN_FRAMES) * FRAME : (end + MARGIN_FRAMES) * FRAME])
            start = None


def levelled(phrase: Signal) -> Signal:
    """Return the phrase with its offset removed, at `SPEECH_DBFS`, with faded ends."""
    centred = phrase - phrase.mean()
    ramp = np.minimum(np.arange(len(phrase)) / (2 * FRAME), 1.0)
    gain = 10 ** (SPEECH_DBFS / 20) / np.sqrt((centred**2).mean())
    return np.asarray(centred * ramp * ramp[::-1] * gain, np.float64)


def cast_phrases(rows: Iterable[corpus.Row], speaker: str) -> list[list[Signal]]:
    """Return the phrases of each of a speaker's files. Exits with a message if the speaker is not held out."""
    rows = list(rows)
    if speaker not in corpus.held_out_speakers(rows):
        sys.exit(f"{speaker!r} takes part in training; choose a held-out speaker (scripts/train split)")
    files = (row.path for row in rows if row.speaker == speaker)
    return [found for path in files if (found := list(phrases(corpus.read(path).astype(np.float64))))]


def mix(cast: dict[str, str]) -> Mix:
    """Return the conversation of a cast. Exits with a message if a speaker has too few phrases."""
    rows = corpus.manifest(corpus.data_folder())
    spoken: dict[str, list[Signal]] = {}
    enrolments: dict[str, Signal] = {}
    for name, speaker in cast.items():
        files = cast_phrases(rows, speaker)
        needed = sum(line.speaker == name for line in PLAN)
        own = [phrase for file in files for phrase in file]
        if len(own) < needed:
            sys.exit(f"{speaker!r} has {len(own)} phrases, {needed} needed; choose another speaker")
        spoken[name] = own[:needed]
        if name.startswith("Stranger"):
            continue
        used = next(count for count in range(len(files) + 1) if sum(map(len, files[:count])) >= needed)
        rest = [phrase for file in files[used:] for phrase in file]
        enrolment = np.concatenate(rest)[: round(ENROLMENT_S * SAMPLE_RATE_HZ)] if rest else np.zeros(0)
        if len(enrolment) < round(ENROLMENT_S * SAMPLE_RATE_HZ / 2):
            sys.exit(f"{speaker!r} has too little speech left for an enrolment; choose another speaker")
        enrolments[name] = enrolment
    return stage(spoken, enrolments)


def stage(spoken: dict[str, list[Signal]], enrolments: dict[str, Signal]) -> Mix:
    """Place the phrases by the plan over room tone."""
    margin = MARGIN_FRAMES * FRAME
    waiting = {name: iter(own) for name, own in spoken.items()}
    placed: list[tuple[int, Signal]] = []
    turns: list[Turn] = []
    end = round(LEAD_S * SAMPLE_RATE_HZ)
    for line in PLAN:
        phrase = next(waiting[line.speaker])
        start = end + round(line.gap_s * SAMPLE_RATE_HZ)
        end = start + len(phrase) - 2 * margin
        placed.append((start - margin, phrase))
        turns.append(Turn(start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ, line.speaker))
    samples = room_tone(max(at + len(phrase) for at, phrase in placed) + round(TAIL_S * SAMPLE_RATE_HZ))
    for at, phrase in placed:
        samples[at : at + len(phrase)] += phrase
    peak = float(np.abs(samples).max())
    return Mix(samples * min(1.0, PEAK_LIMIT / peak), tuple(turns), enrolments)


def write(folder: Path, made: Mix) -> None:
    """Write audio, enrolments (`NAME.flac`) and reference."""
    folder.mkdir(parents=True, exist_ok=True)
    sf.write(folder / f"{NAME}.flac", made.samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    for name, samples in made.enrolments.items():
        peak = float(np.abs(samples).max())
        sf.write(folder / f"{name}.flac", samples * min(1.0, PEAK_LIMIT / peak), SAMPLE_RATE_HZ, subtype="PCM_16")
    rows = "".join(
        f"SPEAKER {NAME} 1 {turn.start_s:.3f} {turn.end_s - turn.start_s:.3f}"
        f" <NA> <NA> {turn.speaker.replace(' ', '_')} <NA> <NA>\n"
        for turn in made.turns
    )
    (folder / f"{NAME}.rttm").write_text(rows, encoding="utf-8")


def main() -> None:
    """Mix a cast's conversation into a folder outside the project."""
    parser = argparse.ArgumentParser(description="Mix a conversation of real voices for evaluation.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="output folder, outside the project")
    parser.add_argument("--cast", choices=CASTS, default="readers", help="speakers (default: readers)")
    given = parser.parse_args()
    if given.folder.resolve().is_relative_to(PROJECT):
        sys.exit(
            f"{str(given.folder)!r} is inside the project, which holds no labelled recordings; name another folder"
        )
    made = mix(CASTS[given.cast])
    write(given.folder, made)
    sys.stdout.write(f"Wrote {len(made.samples) / SAMPLE_RATE_HZ:.1f} s, {len(made.turns)} turns, to {given.folder}\n")


if __name__ == "__main__":
    main()
