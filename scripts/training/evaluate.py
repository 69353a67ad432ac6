"""Measure a speaker net while it trains, on what is heard of the speakers kept apart; `score` measures what ships."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scripts.training import corpus, measure
from stream.models.compact.nets import Front, SpeakerNet

_FRAMES_PER_S = 100
_DIGITS_JOINED = 5


@dataclass(frozen=True, slots=True)
class File:
    """What is heard of one file, or of digits joined; `power` is (frames, INPUTS)."""

    set: str
    speaker: str
    name: str
    power: Tensor


@dataclass(frozen=True, slots=True)
class Rate:
    """Equal error, the cosine where it lies, and how many pairs of one speaker it rests on."""

    error: float
    threshold: float
    pairs: int


def held_out_power() -> list[File]:
    """Every file of the speakers that were kept apart; FSDD's digits five at a time."""
    rows = corpus.manifest(corpus.data_folder())
    apart = corpus.held_out_speakers(rows)
    front = Front()
    found: list[File] = []
    digits: dict[str, list[Tensor]] = defaultdict(list)
    for row in rows:
        if row.speaker not in apart:
            continue
        power = corpus.heard(corpus.read(row.path), front)
        if row.set == "fsdd":
            digits[row.speaker].append(power)
        else:
            kind = f"{row.set}-{row.emotion}" if row.emotion else row.set
            found.append(File(row.set, row.speaker, row.path.name, power))
            if row.emotion == "neutral":
                found.append(File(kind, row.speaker, row.path.name, power))
    for speaker, files in digits.items():
        starts = range(0, len(files) - _DIGITS_JOINED + 1, _DIGITS_JOINED)
        found += [File("fsdd", speaker, f"{at}", torch.cat(files[at : at + _DIGITS_JOINED])) for at in starts]
    return found


def crops(power: Tensor, frames: int | None) -> list[Tensor]:
    """Stretches of that many frames side by side, or all of it; a file a quarter too short still counts."""
    if frames is None:
        return [power]
    if frames * 3 // 4 <= len(power) < frames:
        return [power]
    return [power[at : at + frames] for at in range(0, len(power) - frames + 1, frames)]


def speaker_rates(net: SpeakerNet, files: list[File], *, seconds: float | None) -> dict[str, Rate]:
    """Equal error of each set over all pairs of crops of that length (None: whole files)."""
    return {
        kind: Rate(*measure.equal_error(same, different), len(same))
        for kind, (same, different) in scores(net, files, seconds=seconds).items()
    }


def scores(
    net: SpeakerNet, files: list[File], *, seconds: float | None
) -> dict[str, tuple[measure.Floats, measure.Floats]]:
    """Cosines of one person's pairs and of two people's, of each set."""
    frames = None if seconds is None else round(seconds * _FRAMES_PER_S)
    found: dict[str, tuple[measure.Floats, measure.Floats]] = {}
    for kind in dict.fromkeys(file.set for file in files):
        vectors, speakers, names = [], [], []
        for file in files:
            if file.set != kind:
                continue
            for crop in crops(file.power, frames):
                with torch.inference_mode():
                    vectors.append(net(corpus.features(crop)[None])[0])
                speakers.append(file.speaker)
                names.append(f"{file.speaker}/{file.name}")
        if not vectors:
            continue
        same, different = measure.pairs(np.stack([v.double().numpy() for v in vectors]), speakers, names)
        if len(same) == 0 or len(different) == 0:
            continue
        found[kind] = same, different
    return found
