"""Mix the bundled conversation of real voices and write its exact reference and the enrolled people's files.

`TONEWATCH_DATA` names the folder of labelled recordings (AN4, LibriSpeech and EmoDB). Rules:

* No randomness but room tone with a fixed seed; equal recordings give equal samples.
* Only speakers held out of training (`scripts/training/corpus.py`): the small nets did not learn from their voices, nor
  the emotion head from the actor who becomes angry and calms down.
* The phrases of an enrolment are of other files than the phrases of the conversation.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from scripts.training import corpus
from scripts.training.emotion import DEMO_ACTOR
from stream.app.assembly import load_models
from stream.demo.conversation import AUDIO, ENROLMENTS, PROFILES
from stream.events import ModelRef
from stream.profiles import transfer
from stream.profiles.known_voices import read_enrolment
from stream.profiles.profile import EnrolledRecording, Profile
from stream.settings import load
from stream.types import SAMPLE_RATE_HZ, Task

Signal = NDArray[np.float64]

FRAME = SAMPLE_RATE_HZ // 100
ACTIVE_DB = 32.0
"""A frame is speech if its level is less than this below the loudest frame of the file."""
NOISE_DB = 6.0
"""And more than this above the quietest frames."""
PAUSE_FRAMES = 9
MAX_PAUSE_FRAMES = 50
"""Longer pauses end a phrase: the reference counts a phrase as one turn."""
PHRASE_LIMITS_S = (1.6, 5.0)
MARGIN_FRAMES = 4
SPEECH_DBFS = -24.0
PEAK_LIMIT = 0.95
ENROLMENT_S = 8.0

LEAD_S = 0.6
TAIL_S = 1.2
ROOM_LOW_HZ = 40
ROOM_DBFS = -60.0
ROOM_SEED = 20_240_229

PRESETS = ("compact", "tiny")
"""Presets whose speaker models the profiles are for."""

ENROLLED = datetime(2026, 1, 1, tzinfo=UTC)
"""Date of the profiles: a fixed one, so that equal vectors give equal files."""


@dataclass(frozen=True, slots=True)
class Line:
    """A planned turn, `gap_s` after the end of the previous one; a negative gap is an overlap."""

    gap_s: float
    speaker: str
    emotion: str = ""
    """Of an actor's sentence; empty for a read one."""


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
    Line(0.7, "Stranger 2", "neutral"),
    Line(0.5, "Alice"),
    Line(-1.2, "Bob"),
    Line(0.6, "Stranger 1"),
    Line(0.6, "Stranger 2", "angry"),
    Line(0.4, "Stranger 2", "angry"),
    Line(0.6, "Bob"),
    Line(0.5, "Stranger 2", "neutral"),
    Line(0.5, "Alice"),
    Line(0.5, "Bob"),
)
"""One change of speaker without a pause, one overlap of 1.2 s, and an actor who becomes angry and calms down."""

CAST = {"Alice": "ls_1998", "Bob": "ls_2609", "Stranger 1": "an4_fmjd", "Stranger 2": DEMO_ACTOR}
"""A woman and a man of LibriSpeech, and a woman of AN4 and an actor of EmoDB who are not enrolled."""


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
    end = 0
    for island in islands:
        first, pause = int(island[0]), int(island[0]) - end
        end = int(island[-1]) + 1
        whole = first > MARGIN_FRAMES and end < len(frames) - MARGIN_FRAMES
        too_long = start is not None and (end - start) * FRAME > PHRASE_LIMITS_S[1] * SAMPLE_RATE_HZ
        if start is None or too_long or pause > MAX_PAUSE_FRAMES:
            start = first
        length_s = (end - start) * FRAME / SAMPLE_RATE_HZ
        if not whole or length_s > PHRASE_LIMITS_S[1]:
            start = None
        elif length_s >= PHRASE_LIMITS_S[0]:
            yield levelled(samples[(start - MARGIN_FRAMES) * FRAME : (end + MARGIN_FRAMES) * FRAME])
            start = None


def sentence(samples: Signal) -> Signal:
    """Return the speech of a recording of one sentence, with a short margin and equal level."""
    margin = MARGIN_FRAMES * FRAME
    padded = np.pad(samples[: len(samples) // FRAME * FRAME], margin)
    frames = padded.reshape(-1, FRAME)
    level_db = 10 * np.log10((frames**2).mean(axis=1) + 1e-10)
    spoken = np.flatnonzero(level_db > level_db.max() - ACTIVE_DB)
    return levelled(padded[int(spoken[0]) * FRAME - margin : (int(spoken[-1]) + 1) * FRAME + margin])


def levelled(phrase: Signal) -> Signal:
    """Return the phrase with its offset removed, at `SPEECH_DBFS`, with faded ends."""
    centred = phrase - phrase.mean()
    ramp = np.minimum(np.arange(len(phrase)) / (2 * FRAME), 1.0)
    gain = 10 ** (SPEECH_DBFS / 20) / np.sqrt((centred**2).mean())
    return np.asarray(centred * ramp * ramp[::-1] * gain, np.float64)


def acted(speaker: str, emotions: Sequence[str]) -> list[Signal]:
    """Return an actor's longest sentences of the given emotions, each once.

    Exits with a message if the emotion head has learned from the actor.
    """
    if speaker != DEMO_ACTOR:
        sys.exit(f"the emotion head has learned from {speaker!r}; choose {DEMO_ACTOR!r} (scripts/training/emotion.py)")
    own = [row for row in corpus.manifest(corpus.data_folder()) if row.speaker == speaker]
    own.sort(key=lambda row: soundfile.info(row.path).frames, reverse=True)
    waiting = {emotion: iter([row for row in own if row.emotion == emotion]) for emotion in emotions}
    return [sentence(corpus.read(next(waiting[emotion]).path).astype(np.float64)) for emotion in emotions]


def read_out(speaker: str, count: int) -> tuple[list[Signal], list[Signal]]:
    """Return a speaker's longest phrases, one a file, and those of the other files.

    Exits with a message if the speaker is not held out of training, or has too few.
    """
    rows = corpus.manifest(corpus.data_folder())
    if speaker not in corpus.held_out_speakers(rows):
        sys.exit(f"{speaker!r} takes part in training; choose a held-out speaker (scripts/train split)")
    own = (corpus.read(row.path).astype(np.float64) for row in rows if row.speaker == speaker)
    files = [found for samples in own if (found := list(phrases(samples)))]
    if len(files) < count:
        sys.exit(f"{speaker!r} has phrases in {len(files)} files, {count} needed; choose another speaker")
    longest = sorted(range(len(files)), key=lambda at: max(map(len, files[at])), reverse=True)[:count]
    rest = [phrase for at, file in enumerate(files) if at not in longest for phrase in file]
    return [max(files[at], key=len) for at in sorted(longest)], rest


def mix(cast: dict[str, str]) -> Mix:
    """Return the conversation of a cast. Exits with a message if a speaker has too few phrases."""
    spoken: dict[str, list[Signal]] = {}
    enrolments: dict[str, Signal] = {}
    for name, speaker in cast.items():
        own = [line for line in PLAN if line.speaker == name]
        if any(line.emotion for line in own):
            spoken[name] = acted(speaker, [line.emotion for line in own])
            continue
        spoken[name], rest = read_out(speaker, len(own))
        if name not in ENROLMENTS:
            continue
        enrolment = np.concatenate(rest)[: round(ENROLMENT_S * SAMPLE_RATE_HZ)] if rest else np.zeros(0)
        if len(enrolment) < round(ENROLMENT_S * SAMPLE_RATE_HZ / 2):
            sys.exit(f"{speaker!r} has too little speech left for an enrolment; choose another speaker")
        enrolments[name] = enrolment
    return stage(spoken, enrolments)


def room_tone(length: int) -> Signal:
    """Return faint low-frequency noise, as of a quiet room, from raw bits, which are equal in all releases of NumPy."""
    bits = np.random.PCG64(ROOM_SEED).random_raw(length)
    noise = (bits >> np.uint64(11)).astype(np.float64) / 2.0**53 - 0.5
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ)
    tone = np.fft.irfft(spectrum * (hertz > ROOM_LOW_HZ) / np.sqrt(1 + (hertz / 400) ** 2), length)
    return np.asarray(tone * 10 ** (ROOM_DBFS / 20) / np.sqrt(np.mean(tone**2)), dtype=np.float64)


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
    """Write audio, enrolments, reference and profiles."""
    folder.mkdir(parents=True, exist_ok=True)
    write_audio(folder / AUDIO.name, made.samples)
    for name, samples in made.enrolments.items():
        peak = float(np.abs(samples).max())
        write_audio(folder / ENROLMENTS[name].name, samples * min(1.0, PEAK_LIMIT / peak))
    rows = "".join(
        f"SPEAKER {AUDIO.stem} 1 {turn.start_s:.3f} {turn.end_s - turn.start_s:.3f}"
        f" <NA> <NA> {turn.speaker.replace(' ', '_')} <NA> <NA>\n"
        for turn in made.turns
    )
    (folder / AUDIO.with_suffix(".rttm").name).write_text(rows, encoding="utf-8")
    people = asyncio.run(enrol({name: folder / path.name for name, path in ENROLMENTS.items()}))
    file = folder / PROFILES.name
    file.unlink(missing_ok=True)
    transfer.write(file, people)
    file.chmod(0o644)  # no secret, unlike the profiles of a user


def write_audio(path: Path, samples: Signal) -> None:
    """Write 16-bit FLAC."""
    soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="PCM_16", compression_level=1.0)


async def enrol(people: dict[str, Path]) -> list[Profile]:
    """Return profiles with x-vectors of the speaker model of every preset in `PRESETS`."""
    recordings: dict[str, list[EnrolledRecording]] = {name: [] for name in people}
    for preset in PRESETS:
        settings = load(preset=preset, flags={"models": {"emotion": {"name": ""}, "overlap": {"name": ""}}})
        models, detector, _ = load_models(settings)
        model = next(model for model in models if model.info.task is Task.SPEAKER)
        for name, path in people.items():
            audio = await read_enrolment(str(path), settings=settings, model=model, detector=detector)
            recordings[name].append(
                EnrolledRecording(
                    model=ModelRef(name=model.info.name, revision=model.info.revision),
                    kind="file",
                    origin=path.name,
                    speech_s=audio.speech_s,
                    exemplars=tuple(audio.exemplars),
                    created=ENROLLED,
                )
            )
    return [Profile(name, tuple(own), ENROLLED, ENROLLED) for name, own in recordings.items()]


def main() -> None:
    """Mix the conversation into the package, or into another folder."""
    parser = argparse.ArgumentParser(description="Mix the bundled conversation of real voices.")
    parser.add_argument(
        "--into", type=Path, default=AUDIO.parent, metavar="FOLDER", help="where to write (default: stream/demo)"
    )
    folder = parser.parse_args().into
    made = mix(CAST)
    write(folder, made)
    size_kb = sum(path.stat().st_size for path in folder.glob("*.flac")) / 1000
    length_s = len(made.samples) / SAMPLE_RATE_HZ
    sys.stdout.write(f"Wrote {length_s:.1f} s, {len(made.turns)} turns, {size_kb:.0f} kB of audio, to {folder}\n")


if __name__ == "__main__":
    main()
