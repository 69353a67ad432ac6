"""Stretches of meetings in which one person speaks, cut by their RTTM; only ever measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.training.corpus import Samples, read
from stream.types import SAMPLE_RATE_HZ

_SHORTEST_S = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of one person alone."""

    speaker: str
    name: str
    samples: Samples


def turns(folder: Path) -> Iterator[Turn]:
    """Every stretch of at least a second that the reference gives to one person and to nobody else."""
    found: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for line in (folder / "ami" / "reference.rttm").read_text(encoding="utf-8").splitlines():
        word = line.split()
        start, length = (round(float(word[at]) * SAMPLE_RATE_HZ) for at in (3, 4))
        found[word[1]].append((start, start + length, word[7]))
    for name, segments in found.items():
        samples = read(folder / "ami" / f"{name}.flac")
        owners = {who: at for at, who in enumerate(sorted({segment[2] for segment in segments}))}
        speaking = np.zeros((len(owners), len(samples)), dtype=bool)
        for start, end, who in segments:
            speaking[owners[who], start:end] = True
        alone = speaking & (speaking.sum(axis=0) == 1)
        for who, at in owners.items():
            edges = np.flatnonzero(np.diff(np.concatenate(([0], alone[at].astype(np.int8), [0]))))
            for start, end in edges.reshape(-1, 2).tolist():
                if end - start >= _SHORTEST_S * SAMPLE_RATE_HZ:
                    yield Turn(who, f"{name}-{start}", samples[start:end])
