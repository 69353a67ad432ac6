"""Fit what CAM++ needs in the tracker: cohort, calibration and threshold. `scripts/train campplus`.

The net itself is not trained. The cohort for AS-norm holds one x-vector per speaker of LibriSpeech and speechocean762;
the calibration is fitted on conversations mixed from AN4 speakers, in rooms and with noise. Held-out speakers
(`scripts/train split`) are in neither, so figures measured on them are of strangers.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from scripts.training import calibration, corpus
from stream.models.campplus.model import WEIGHTS, speaker
from stream.settings import ModelSettings
from stream.tools.evaluation.corpora import Utterance
from stream.tracking.scoring import Cohort
from stream.types import SAMPLE_RATE_HZ, Model, Window

SETTINGS = ModelSettings(name="speaker-campplus", window_s=2.0, hop_s=0.5)
COHORT_SETS = ("librispeech", "speechocean762")
PIECE_SAMPLES = 3 * SAMPLE_RATE_HZ
MIN_PIECE_SAMPLES = SAMPLE_RATE_HZ
THRESHOLD = 0.35
"""Cosine between the equal-error thresholds of AN4 and LibriSpeech at 2 s (`scripts/train score`)."""


def cohort(model: Model) -> NDArray[np.float32]:
    """Return the mean x-vector of each training speaker, at unit length; shape (speakers, 192)."""
    rows = corpus.manifest(corpus.data_folder())
    held_out = corpus.held_out_speakers(rows)
    vectors: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for row in rows:
        if row.set in COHORT_SETS and row.use == "train" and row.speaker not in held_out:
            audio = corpus.trimmed(corpus.read(row.path))
            pieces = [audio[at : at + PIECE_SAMPLES] for at in range(0, len(audio), PIECE_SAMPLES)]
            windows = [Window("", 0, 0, piece, 1.0, len(piece)) for piece in pieces if len(piece) >= MIN_PIECE_SAMPLES]
            vectors[row.speaker] += [np.asarray(scores.values) for scores in model.infer(windows)]
    means = np.stack([np.mean(several, axis=0) for several in vectors.values() if several])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def conversation_speakers() -> list[Utterance]:
    """Return the recordings of AN4's speakers that are not held out."""
    rows = corpus.manifest(corpus.data_folder())
    held_out = corpus.held_out_speakers(rows)
    return [
        Utterance((row.path,), row.speaker, "", row.set)
        for row in rows
        if row.set == "an4" and row.speaker not in held_out
    ]


def main() -> None:
    """Fit, and write cohort and header into the file of weights."""
    model = speaker(SETTINGS)
    vectors = torch.from_numpy(cohort(model)).half()
    strangers = Cohort(vectors.float().numpy())
    fitted = calibration.fit(strangers, calibration.embed_conversations(model, conversation_speakers()))
    with safe_open(WEIGHTS, framework="pt") as file:
        header: dict[str, str] = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header |= {
        "threshold": f"{THRESHOLD:.4f}",
        "calibration": f"{fitted.slope:.4f},{fitted.threshold:.4f},{fitted.reliability_s:.4f}",
        "cohort": f"{len(vectors)} speakers of {' and '.join(COHORT_SETS)}",
    }
    save_file({**tensors, "cohort": vectors}, WEIGHTS, metadata=header)
    WEIGHTS.chmod(0o644)
    print(f"{WEIGHTS}: {WEIGHTS.stat().st_size / 1e6:.1f} MB, {header}")


if __name__ == "__main__":
    main()
