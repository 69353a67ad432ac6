"""Training corpora, and the speakers held out of training.

`TONEWATCH_DATA` names a folder with `manifest.csv` (path, set, speaker, gender, emotion, duration_s, use). Only rows
with use `train` are used in training. Held out by name, so that every run holds out the same ones: every fifth AN4
speaker, the LibriSpeech speakers with more than one file and every tenth of the others, all of FSDD, and one woman and
one man of EmoDB.
"""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream.models.compact.features import (
    FRAME_SAMPLES,
    HOP_SAMPLES,
    MELS,
    PITCH_HOP_SAMPLES,
    log_power,
    mean_normalised,
)
from stream.models.compact.nets import FrontEnd
from stream.types import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]

HELD_OUT_ACTORS = frozenset({"emodb_11", "emodb_13"})
"""A man and a woman with many recordings of all four emotions."""

RUNS = Path("training-runs")
_MIN_POWER = 1e-12


@dataclass(frozen=True, slots=True)
class Row:
    """One file of one speaker."""

    path: Path
    set: str
    speaker: str
    gender: str
    emotion: str
    use: str


def data_folder() -> Path:
    """Return the data folder. Exits with a message if TONEWATCH_DATA does not name one."""
    name = os.environ.get("TONEWATCH_DATA", "")
    if not name or not (folder := Path(name)).joinpath("manifest.csv").is_file():
        raise SystemExit("TONEWATCH_DATA names no data folder; set it to the folder with manifest.csv and its audio")
    return folder


def manifest(folder: Path) -> list[Row]:
    """Return all rows, in file order."""
    with folder.joinpath("manifest.csv").open(encoding="utf-8", newline="") as file:
        return [
            Row(folder / row["path"], row["set"], row["speaker"], row["gender"], row["emotion"], row["use"])
            for row in csv.DictReader(file)
        ]


def held_out_speakers(rows: Iterable[Row]) -> frozenset[str]:
    """Return the speakers excluded from training the speaker net."""
    files = Counter((row.set, row.speaker) for row in rows if row.speaker)
    an4 = sorted(speaker for kind, speaker in files if kind == "an4")
    libri = sorted(speaker for (kind, speaker), count in files.items() if kind == "librispeech" and count == 1)
    several = {speaker for (kind, speaker), count in files.items() if kind == "librispeech" and count > 1}
    digits = {speaker for kind, speaker in files if kind == "fsdd"}
    return frozenset({*an4[::5], *libri[::10], *several, *digits, *HELD_OUT_ACTORS})


def read(path: Path) -> Samples:
    """Read mono audio at 16 kHz; shape (samples,)."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono: Samples = samples.mean(axis=1)
    return mono if rate_hz == SAMPLE_RATE_HZ else resampled(mono, rate_hz / SAMPLE_RATE_HZ)


def resampled(samples: Samples, speed: float) -> Samples:
    """Resample to `speed` times the rate: pitch, formants and tempo change together."""
    return np.asarray(soxr.resample(samples, round(SAMPLE_RATE_HZ * speed), SAMPLE_RATE_HZ, quality="HQ"), np.float32)


def raw_features(samples: Samples, front: FrontEnd, *, trim: bool = True) -> Tensor:
    """Return log-mel power and correlogram, trimmed of silence; (frames, INPUTS), float16 to save memory."""
    with torch.inference_mode():
        audio = torch.from_numpy(np.ascontiguousarray(samples))
        pitch = front.pitch(audio).repeat_interleave(PITCH_HOP_SAMPLES // HOP_SAMPLES, dim=0)
        power = front.power(audio)[: len(pitch)]
    both = torch.cat((torch.log(power + _MIN_POWER), pitch), dim=1).half()
    return both[_active_frames(power)] if trim else both


def _active_frames(power: Tensor) -> slice:
    """Return the frames between the first and last within 35 dB of the loudest, with 50 ms on each side."""
    level = power.sum(dim=1)
    active = (level > level.max() * 10**-3.5).nonzero().flatten()
    return slice(max(int(active[0]) - 5, 0), int(active[-1]) + 6)


def features(both: Tensor) -> Tensor:
    """Normalise `raw_features` to the input of a net: (frames, INPUTS), equal to the output of `FrontEnd`."""
    both = both.float()
    return torch.cat((mean_normalised(log_power(both[:, :MELS].exp())), 2.0 * both[:, MELS:]), dim=1)


def crop(file: Tensor, frames: int, draw: torch.Generator) -> Tensor:
    """Return a random crop of that many frames; a shorter file is repeated. (frames, INPUTS)."""
    if len(file) < frames:
        file = file.repeat(math.ceil(frames / len(file)), 1)
    start = int(torch.randint(len(file) - frames + 1, (1,), generator=draw))
    return file[start : start + frames].float()


def trimmed(samples: Samples) -> Samples:
    """Trim the samples like `raw_features`."""
    with torch.inference_mode():
        active = _active_frames(FrontEnd().power(torch.from_numpy(np.ascontiguousarray(samples))))
    return samples[active.start * HOP_SAMPLES : active.stop * HOP_SAMPLES + FRAME_SAMPLES - HOP_SAMPLES]
