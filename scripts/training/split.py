"""Write a manifest of the recordings of held-out speakers: `scripts/train split OUT.csv`.

`tonewatch evaluate speaker OUT.csv` and `tonewatch evaluate mix OUT.csv FOLDER` then measure on speakers outside the
training. Single-speaker segments of meetings (`ami`) are written to a folder beside it.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import soundfile

from scripts.training import corpus, meetings
from stream.types import SAMPLE_RATE_HZ

_MIN_SEGMENT_S = 1.5


def write(out: Path) -> None:
    """Write the manifest, and the extracted segments to a folder of its name."""
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
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "set", "speaker"))
        writer.writerows(recordings)
    print(f"{out}: {len(recordings)} recordings of {len({row[2] for row in recordings})} people")


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(prog="scripts/train split", description=__doc__)
    parser.add_argument("out", type=Path)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
