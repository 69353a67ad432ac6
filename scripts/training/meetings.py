"""Single-speaker segments of meetings, extracted by their RTTM; used only for measurement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.training.corpus import Samples, read
from stream.types import SAMPLE_RATE_HZ

_MIN_SEGMENT_S = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A segment with one speaker."""

    speaker: str
    name: str
    samples: Samples


def turns(folder: Path) -> Iterator[Turn]:
    """Yield all segments of at least a second with exactly one speaker in the reference."""
    segments_of: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for line in (folder / "ami" / "reference.rttm").read_text(encoding="utf-8").splitlines():
        word = line.split()
        start, length = (round(float(word[at]) * SAMPLE_RATE_HZ) for at in (3, 4))
        segments_of[word[1]].append((start, start + length, word[7]))
    for name, segments in segments_of.items():
        samples = read(folder / "ami" / f"{name}.flac")
        rows = {speaker: at for at, speaker in enumerate(sorted({segment[2] for segment in segments}))}
        speaking = np.zeros((len(rows), len(samples)), dtype=bool)
        for start, end, speaker in segments:
            speaking[rows[speaker], start:end] = True
        alone = speaking & (speaking.sum(axis=0) == 1)
        for speaker, at in rows.items():
            edges = np.flatnonzero(np.diff(np.concatenate(([0], alone[at].astype(np.int8), [0]))))
            for start, end in edges.reshape(-1, 2).tolist():
                if end - start >= _MIN_SEGMENT_S * SAMPLE_RATE_HZ:
                    yield Turn(speaker, f"{name}-{start}", samples[start:end])
