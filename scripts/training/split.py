"""Write a manifest of the recordings of speakers kept apart from training: `scripts/train split OUT.csv`.

`tonewatch evaluate speaker OUT.csv` and `tonewatch evaluate mix OUT.csv FOLDER` then measure on people the compact pair
never heard. Stretches of meetings in which one person speaks (`ami`) are cut out beside it.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import soundfile

from scripts.training import corpus, meetings
from stream.types import SAMPLE_RATE_HZ

_SHORTEST_S = 1.5


def write(out: Path) -> None:
    """The manifest, and the cut stretches in a folder of its name."""
    folder = corpus.data_folder()
    rows = corpus.manifest(folder)
    apart = corpus.held_out_speakers(rows)
    kept = [
        (str(row.path.resolve()), f"{row.set}, neutral" if row.emotion == "neutral" else row.set, row.speaker)
        for row in rows
        if row.speaker in apart
    ]
    stretches = out.with_suffix("")
    stretches.mkdir(parents=True, exist_ok=True)
    for turn in meetings.turns(folder):
        if len(turn.samples) >= _SHORTEST_S * SAMPLE_RATE_HZ:
            path = stretches / f"{turn.name}-{turn.speaker}.flac"
            soundfile.write(path, turn.samples, SAMPLE_RATE_HZ)
            kept.append((str(path.resolve()), "ami", turn.speaker))
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "set", "speaker"))
        writer.writerows(kept)
    print(f"{out}: {len(kept)} recordings of {len({row[2] for row in kept})} people")


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(prog="scripts/train split", description=__doc__)
    parser.add_argument("out", type=Path)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
