"""Evaluation of a speaker net during training, on features of held-out speakers; `score` measures bundled models."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scripts.training import corpus, measure
from stream.models.compact.nets import FrontEnd, SpeakerNet

_FRAMES_PER_S = 100
_DIGITS_JOINED = 5


@dataclass(frozen=True, slots=True)
class File:
    """Features of one file, or of several digits joined; `features` are (frames, INPUTS)."""

    set: str
    speaker: str
    name: str
    features: Tensor


@dataclass(frozen=True, slots=True)
class Rate:
    """Equal error rate, its threshold, and the number of same-speaker pairs."""

    error: float
    threshold: float
    pairs: int


def held_out_files() -> list[File]:
    """Return all files of held-out speakers; FSDD's digits are joined five at a time."""
    rows = corpus.manifest(corpus.data_folder())
    held_out = corpus.held_out_speakers(rows)
    front = FrontEnd()
    found: list[File] = []
    digits: dict[str, list[Tensor]] = defaultdict(list)
    for row in rows:
        if row.speaker not in held_out:
            continue
        features = corpus.raw_features(corpus.read(row.path), front)
        if row.set == "fsdd":
            digits[row.speaker].append(features)
        else:
            kind = f"{row.set}-{row.emotion}" if row.emotion else row.set
            found.append(File(row.set, row.speaker, row.path.name, features))
            if row.emotion == "neutral":
                found.append(File(kind, row.speaker, row.path.name, features))
    for speaker, files in digits.items():
        starts = range(0, len(files) - _DIGITS_JOINED + 1, _DIGITS_JOINED)
        found += [File("fsdd", speaker, f"{at}", torch.cat(files[at : at + _DIGITS_JOINED])) for at in starts]
    return found


def crops(features: Tensor, frames: int | None) -> list[Tensor]:
    """Return adjacent crops of that many frames, or a single one up to a quarter shorter; all frames for None."""
    if frames is None:
        return [features]
    if frames * 3 // 4 <= len(features) < frames:
        return [features]
    return [features[at : at + frames] for at in range(0, len(features) - frames + 1, frames)]


def speaker_rates(net: SpeakerNet, files: list[File], *, seconds: float | None) -> dict[str, Rate]:
    """Return the equal error of each set over all pairs of crops of that duration (None: whole files)."""
    return {
        kind: Rate(*measure.equal_error(same, different), len(same))
        for kind, (same, different) in scores(net, files, seconds=seconds).items()
    }


def scores(
    net: SpeakerNet, files: list[File], *, seconds: float | None
) -> dict[str, tuple[measure.Floats, measure.Floats]]:
    """Return the cosines of same-speaker and different-speaker pairs, by set."""
    frames = None if seconds is None else round(seconds * _FRAMES_PER_S)
    found: dict[str, tuple[measure.Floats, measure.Floats]] = {}
    for kind in dict.fromkeys(file.set for file in files):
        vectors, speakers, names = [], [], []
        for file in files:
            if file.set != kind:
                continue
            for crop in crops(file.features, frames):
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
