"""Real voices: the speakers of the bundled conversation."""

from __future__ import annotations

import csv

import numpy as np
import soundfile

from stream.demo.conversation import AUDIO
from stream.types import Samples


def demo_speech(person: str) -> Samples:
    """Return all speech of one person of the demo, without pauses; (n,)."""
    samples, rate_hz = soundfile.read(AUDIO, dtype="float32")
    rows = csv.DictReader(AUDIO.with_suffix(".csv").read_text(encoding="utf-8").splitlines())
    spans = [(float(row["start_s"]), float(row["end_s"])) for row in rows if row["speaker"] == person]
    return np.concatenate([samples[round(start * rate_hz) : round(end * rate_hz)] for start, end in spans])
