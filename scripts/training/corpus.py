"""What is learned from and what is kept apart.

`TONEWATCH_DATA` names a folder with `manifest.csv` (path, set, speaker, gender, emotion, duration_s, use). Only rows
whose use is `train` are ever handed to training. Kept apart by name, so that every run keeps the same ones apart:
every fifth AN4 speaker, the LibriSpeech speakers with more than one file and every tenth of the others, all of FSDD,
and one woman and one man of EmoDB.
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

from stream.models.compact.features import FRAME_SAMPLES, HOP_SAMPLES, MELS, PITCH_HOP_SAMPLES, centred, level
from stream.models.compact.nets import Front
from stream.types import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]

HELD_OUT_ACTORS = frozenset({"emodb_11", "emodb_13"})
"""A man and a woman whose four emotions are all well filled."""

RUNS = Path("training-runs")
_QUIETEST = 1e-12


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
    """Where the audio is, or an end with a word on how to say it."""
    name = os.environ.get("TONEWATCH_DATA", "")
    if not name or not (folder := Path(name)).joinpath("manifest.csv").is_file():
        raise SystemExit("set TONEWATCH_DATA to the folder that holds manifest.csv and the audio it lists")
    return folder


def manifest(folder: Path) -> list[Row]:
    """All rows, in the file's order."""
    with folder.joinpath("manifest.csv").open(encoding="utf-8", newline="") as file:
        return [
            Row(folder / row["path"], row["set"], row["speaker"], row["gender"], row["emotion"], row["use"])
            for row in csv.DictReader(file)
        ]


def held_out_speakers(rows: Iterable[Row]) -> frozenset[str]:
    """Speakers the speaker net never learns from."""
    files = Counter((row.set, row.speaker) for row in rows if row.speaker)
    an4 = sorted(speaker for kind, speaker in files if kind == "an4")
    libri = sorted(speaker for (kind, speaker), count in files.items() if kind == "librispeech" and count == 1)
    several = {speaker for (kind, speaker), count in files.items() if kind == "librispeech" and count > 1}
    digits = {speaker for kind, speaker in files if kind == "fsdd"}
    return frozenset({*an4[::5], *libri[::10], *several, *digits, *HELD_OUT_ACTORS})


def read(path: Path) -> Samples:
    """Mono sound at 16 kHz; shape (samples,)."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono: Samples = samples.mean(axis=1)
    return mono if rate_hz == SAMPLE_RATE_HZ else resampled(mono, rate_hz / SAMPLE_RATE_HZ)


def resampled(samples: Samples, speed: float) -> Samples:
    """Played `speed` times as fast: pitch, formants and tempo move together."""
    return np.asarray(soxr.resample(samples, round(SAMPLE_RATE_HZ * speed), SAMPLE_RATE_HZ, quality="HQ"), np.float32)


def heard(samples: Samples, front: Front, *, trim: bool = True) -> Tensor:
    """Log-mel power and correlogram of a file without silence at both ends; (frames, INPUTS), float16 to save room."""
    with torch.inference_mode():
        sound = torch.from_numpy(np.ascontiguousarray(samples))
        pitch = front.pitch(sound).repeat_interleave(PITCH_HOP_SAMPLES // HOP_SAMPLES, dim=0)
        power = front.power(sound)[: len(pitch)]
    both = torch.cat((torch.log(power + _QUIETEST), pitch), dim=1).half()
    return both[_lasting(power)] if trim else both


def _lasting(power: Tensor) -> slice:
    """Without what lies more than 35 dB below the loudest frame at both ends, but for 50 ms."""
    loud = power.sum(dim=1)
    sounding = (loud > loud.max() * 10**-3.5).nonzero().flatten()
    return slice(max(int(sounding[0]) - 5, 0), int(sounding[-1]) + 6)


def features(both: Tensor) -> Tensor:
    """What a net hears of a stretch of `heard`: (frames, INPUTS), as `Front` gives it."""
    both = both.float()
    return torch.cat((centred(level(both[:, :MELS].exp())), 2.0 * both[:, MELS:]), dim=1)


def crop(file: Tensor, frames: int, draw: torch.Generator) -> Tensor:
    """A stretch of that many frames from anywhere; a shorter file is said again. (frames, INPUTS)."""
    if len(file) < frames:
        file = file.repeat(math.ceil(frames / len(file)), 1)
    start = int(torch.randint(len(file) - frames + 1, (1,), generator=draw))
    return file[start : start + frames].float()


def without_ends(samples: Samples) -> Samples:
    """Samples without the silence `heard` cuts off."""
    with torch.inference_mode():
        lasting = _lasting(Front().power(torch.from_numpy(np.ascontiguousarray(samples))))
    return samples[lasting.start * HOP_SAMPLES : lasting.stop * HOP_SAMPLES + FRAME_SAMPLES - HOP_SAMPLES]
