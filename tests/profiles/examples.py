"""Recordings of random x-vectors."""

from __future__ import annotations

import numpy as np

from stream.events import ModelRef
from stream.profiles.profile import EnrolledRecording, Exemplar, Kind

MODEL = ModelRef(name="compact-speaker", revision="3")
OTHER = ModelRef(name="compact-speaker", revision="2")


def recording(
    seed: int = 0, *, model: ModelRef = MODEL, kind: Kind = "file", origin: str = "talk.wav", dimensions: int = 64
) -> EnrolledRecording:
    vectors = np.random.default_rng(seed).normal(size=(3, dimensions)).astype(np.float32)
    exemplars = tuple(Exemplar(vector, 2.0) for vector in vectors)
    return EnrolledRecording(model=model, kind=kind, origin=origin, speech_s=4.5, exemplars=exemplars)
