"""Write a manifest of the recordings of held-out speakers: `scripts/train split OUT.csv`.

`tonewatch evaluate speaker OUT.csv` and `tonewatch evaluate mix OUT.csv FOLDER` then measure on speakers outside the
training. Single-speaker segments of meetings (`ami`) are written to a folder beside it. `--augment` adds two copies of
the recordings of AN4 and LibriSpeech: with noise, rooms and lines, each by its own draw (`an4, augmented` …), and all
through the same telephone line (`an4, telephone` …).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import soundfile
import torch

from scripts.training import corpus, meetings, soundfield
from stream.tools.evaluation import telephone
from stream.types import SAMPLE_RATE_HZ

_MIN_SEGMENT_S = 1.5
_AUGMENTED_SETS = ("an4", "librispeech")
_SEED = 21

Recording = tuple[str, str, str]  # path, set, speaker


def write(out: Path, *, augment: bool) -> None:
    """Write the manifest, and the extracted segments and augmented copies to a folder of its name."""
    folder = corpus.data_folder()
    rows = corpus.manifest(folder)
    held_out = corpus.held_out_speakers(rows)
    recordings = [
        (str(row.path.resolve()), f"{row.set}, neutral" if row.emotion == "neutral" else row.set, row.speaker)
        for row in rows
        if row.speaker in held_out
    ]
    segments = out.with_suffix("")
    segments.mkdir(parents=True, exist_ok=True)
    for turn in meetings.turns(folder):
        if len(turn.samples) >= _MIN_SEGMENT_S * SAMPLE_RATE_HZ:
            path = segments / f"{turn.name}-{turn.speaker}.flac"
            soundfile.write(path, turn.samples, SAMPLE_RATE_HZ)
            recordings.append((str(path.resolve()), "ami", turn.speaker))
    if augment:
        own = [row for row in rows if row.speaker in held_out and row.set in _AUGMENTED_SETS]
        recordings += augmented(own, segments) + telephoned(own, segments)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "set", "speaker"))
        writer.writerows(recordings)
    print(f"{out}: {len(recordings)} recordings of {len({row[2] for row in recordings})} people")


def augmented(rows: list[corpus.Row], folder: Path) -> list[Recording]:
    """Write a copy of each recording through a random room and line, with noise; return the copies."""
    noises, draw, copies = soundfield.noises(), torch.Generator().manual_seed(_SEED), []
    for row in rows:
        audio = corpus.read(row.path)
        noise = np.resize(noises[int(torch.randint(len(noises), (1,), generator=draw))], len(audio))
        changed = soundfield.augment(torch.from_numpy(audio)[None], torch.from_numpy(noise)[None], draw)[0].numpy()
        path = folder / f"{row.set}-{row.speaker}-{row.path.stem}.flac"
        soundfile.write(path, changed * min(1.0, 0.9 / float(np.abs(changed).max())), SAMPLE_RATE_HZ)
        copies.append((str(path.resolve()), f"{row.set}, augmented", row.speaker))
    return copies


def telephoned(rows: list[corpus.Row], folder: Path) -> list[Recording]:
    """Write a copy of each recording as a telephone call: 300 to 3,400 Hz, 8 kHz, µ-law; return the copies."""
    copies = []
    for row in rows:
        path = folder / f"{row.set}-{row.speaker}-{row.path.stem}-telephone.wav"
        telephone.write_call(path, corpus.read(row.path))
        copies.append((str(path.resolve()), f"{row.set}, telephone", row.speaker))
    return copies


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(prog="scripts/train split", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--augment", action="store_true", help="add copies with noise and rooms, and by telephone")
    arguments = parser.parse_args()
    write(arguments.out, augment=arguments.augment)


if __name__ == "__main__":
    main()
