"""What the emotion head on CAM++ learns from: recordings in several variants, and the head's inputs for each.

Variants: as recorded; through a low-pass of 5.5 kHz, as CREMA-D is limited to that band; as a telephone call; augmented
by room, line, noise, tempo, and crops of 1 to 3 s, by a draw of its own for each; and one second of it. Computing them
takes an hour of one core, so they are kept in a folder, a file for each corpus and variant.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from rich.progress import track

from scripts.training import corpus, soundfield
from stream.models.bundled import read_bundle
from stream.models.campplus.emotion import LABELS, PitchQuantiles, inputs
from stream.models.campplus.model import WEIGHTS
from stream.models.campplus.trunk import load_trunk
from stream.settings import ModelSettings
from stream.tools.evaluation import telephone
from stream.types import SAMPLE_RATE_HZ

Samples = corpus.Samples
Rows = NDArray[np.float32]

ACTED: Mapping[str, tuple[str, ...]] = {
    "emodb": ("whole", "low", "tel", "short", "aug-1", "aug-2", "aug-3", "aug-4"),
    "crema-d": ("whole", "tel", "short", "aug-1", "aug-2"),
}
"""Corpora with labels, and the variants of each that the head learns from."""
READ: Mapping[str, tuple[str, ...]] = {"librispeech": ("whole", "aug-1"), "an4": ("whole", "aug-1")}
"""Read speech, without labels."""
OUTSIDE: Mapping[str, tuple[str, ...]] = {"emogator": ("whole", "aug-1"), "esc10": ("whole", "aug-1")}
"""Sounds outside the labels: bursts without words, and sounds of an environment."""
MEASURED: Mapping[str, tuple[str, ...]] = {"ravdess": ("whole", "tel"), "nemo": ("whole", "tel")}
"""Corpora that are never learned from."""

MIN_SAMPLES = 8_000
MAX_SAMPLES = 10 * SAMPLE_RATE_HZ
_LOW_HZ = 5_500
_TEMPO = (0.92, 1.09)
_CROP_S = (1.0, 3.0)
_WHOLE_CROPS = 0.5  # share of the longest crops
_LOW_PASSED = 0.35


@dataclass(frozen=True, slots=True)
class Examples:
    """The inputs of a head (n, INPUTS), and for each its corpus, variant, person, label (-1: none) and file."""

    x: Rows
    sets: NDArray[np.str_]
    variants: NDArray[np.str_]
    speakers: NDArray[np.str_]
    labels: NDArray[np.int64]
    paths: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.x)

    def where(self, chosen: NDArray[np.bool_]) -> Examples:
        """Return the chosen examples."""
        return Examples(
            self.x[chosen],
            self.sets[chosen],
            self.variants[chosen],
            self.speakers[chosen],
            self.labels[chosen],
            self.paths[chosen],
        )


def joined(parts: Sequence[Examples]) -> Examples:
    """Return several examples as one."""
    return Examples(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.sets for part in parts]),
        np.concatenate([part.variants for part in parts]),
        np.concatenate([part.speakers for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.paths for part in parts]),
    )


class InputReader:
    """Computes the head's inputs of a recording with the trunk that ships."""

    def __init__(self) -> None:
        settings = ModelSettings(name="speaker-campplus", window_s=2.0, hop_s=0.5)
        bundle = read_bundle(WEIGHTS, settings)
        bundle.tensors.pop("cohort")
        self._trunk, self._pitch = load_trunk(bundle, settings), PitchQuantiles()

    def __call__(self, samples: Samples) -> Rows:
        """Return the inputs of up to MAX_SAMPLES samples, (INPUTS,)."""
        audio = torch.zeros(max(MIN_SAMPLES, min(len(samples), MAX_SAMPLES)))
        audio[: len(samples)] = torch.from_numpy(np.ascontiguousarray(samples[:MAX_SAMPLES]))
        with torch.inference_mode():
            values: Rows = inputs(self._trunk(audio), self._pitch).numpy()
        return values


def low_passed(samples: Samples, limit_hz: int = _LOW_HZ) -> Samples:
    """Remove what lies above `limit_hz`, as a recording at twice that rate."""
    narrow = soxr.resample(samples, SAMPLE_RATE_HZ, 2 * limit_hz)
    return np.asarray(soxr.resample(narrow, 2 * limit_hz, SAMPLE_RATE_HZ), np.float32)


def telephoned(samples: Samples) -> Samples:
    """Return a recording as a telephone call carries it, µ-law included."""
    call = telephone.telephone_band(samples)
    steps = np.round(np.sign(call) * np.log1p(255 * np.abs(call)) / np.log(256) * 127) / 127
    call = np.sign(steps) * (np.exp(np.abs(steps) * np.log(256)) - 1) / 255
    return np.asarray(soxr.resample(call, telephone.RATE_HZ, SAMPLE_RATE_HZ), np.float32)


def augmented(samples: Samples, noises: Sequence[Samples], draw: np.random.Generator) -> Samples:
    """Return a crop of a recording in another tempo, through a room and a line, with noise."""
    audio = corpus.resampled(corpus.trimmed(samples), draw.uniform(*_TEMPO))
    size = int(SAMPLE_RATE_HZ * (_CROP_S[1] if draw.random() < _WHOLE_CROPS else draw.uniform(*_CROP_S)))
    if len(audio) > size:
        start = draw.integers(len(audio) - size + 1)
        audio = audio[start : start + size]
    if draw.random() < _LOW_PASSED:
        audio = low_passed(audio, int(draw.choice([_LOW_HZ, _LOW_HZ, 4_000])))
    seeded = torch.Generator().manual_seed(int(draw.integers(2**31)))
    noise = np.resize(noises[int(draw.integers(len(noises)))], len(audio)).astype(np.float32)
    speech, other = (torch.from_numpy(np.ascontiguousarray(one))[None] for one in (audio, noise))
    changed: Samples = soundfield.augment(speech, other, seeded)[0].numpy()
    return changed


def examples(
    variants: Mapping[str, Sequence[str]], folder: Path, *, kept: Callable[[corpus.Row], bool] = lambda _: True
) -> Examples:
    """Return the examples of some corpora, computed where `folder` lacks them; only the `kept` rows."""
    rows = corpus.manifest(corpus.data_folder())
    parts = []
    for kind, names in variants.items():
        own = [row for row in rows if row.set == kind]
        chosen = np.array([kept(row) for row in own])
        labels = np.array([LABELS.index(row.emotion) if row.emotion in LABELS else -1 for row in own])
        for name in names:
            x = _computed(kind, name, own, folder)
            paths = np.array([f"{row.speaker}/{row.path.name}" for row in own])
            speakers = np.array([row.speaker for row in own])
            part = Examples(x, np.full(len(x), kind), np.full(len(x), name), speakers, labels, paths)
            parts.append(part.where(chosen))
    return joined(parts)


def _computed(kind: str, name: str, rows: Sequence[corpus.Row], folder: Path) -> Rows:
    """Return the inputs of all rows of a corpus in one variant, (rows, INPUTS); kept in half precision."""
    path = folder / f"{kind}.{name}.npy"
    if path.is_file():
        found: Rows = np.load(path).astype(np.float32)
        if len(found) == len(rows):
            return found
    read = InputReader()
    noises = soundfield.noises()[::2]  # the others are for measurements
    made = []
    for row in track(rows, f"{kind}, {name}"):
        draw = np.random.default_rng(zlib.crc32(f"{name}{row.path.name}{row.speaker}".encode()))
        made.append(read(_variant(name, corpus.read(row.path), noises, draw)))
    folder.mkdir(parents=True, exist_ok=True)
    kept = np.stack(made).astype(np.float16)
    np.save(path, kept)
    return kept.astype(np.float32)


def _variant(name: str, samples: Samples, noises: Sequence[Samples], draw: np.random.Generator) -> Samples:
    if name == "whole":
        return samples
    if name == "low":
        return low_passed(corpus.trimmed(samples))
    if name == "tel":
        return telephoned(corpus.trimmed(samples))
    if name == "short":
        audio = corpus.trimmed(samples)
        start = max(0, (len(audio) - SAMPLE_RATE_HZ) // 2)
        return audio[start : start + SAMPLE_RATE_HZ]
    return augmented(samples, noises, draw)
