"""Fit what CAM++ needs in the tracker: cohort, calibration and threshold. `scripts/train campplus`.

The net itself is not trained. The cohort for AS-norm holds two x-vectors per speaker of LibriSpeech and
speechocean762, as recorded and by telephone; the calibration is fitted on conversations mixed from AN4 speakers, in
rooms and with noise, and `telephone_shift` on those and on the same by telephone. Held-out speakers
(`scripts/train split`) are in neither, so figures measured on them are of strangers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors import safe_open
from safetensors.torch import save_file

from scripts.training import calibration, corpus
from stream.models.campplus.model import WEIGHTS, speaker
from stream.settings import ModelSettings
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.telephone import through_telephone
from stream.tracking.scoring import Cohort
from stream.types import SAMPLE_RATE_HZ, Model, Samples, Window

SETTINGS = ModelSettings(name="speaker-campplus", window_s=2.0, hop_s=0.5)
COHORT_SETS = ("librispeech", "speechocean762")
PIECE_SAMPLES = 3 * SAMPLE_RATE_HZ
MIN_PIECE_SAMPLES = SAMPLE_RATE_HZ
THRESHOLD = 0.35
"""Cosine between the equal-error thresholds of AN4 and LibriSpeech at 2 s (`scripts/train score`)."""


def cohort(model: Model, *, line: Callable[[Samples], Samples] = lambda samples: samples) -> NDArray[np.float32]:
    """Return the mean x-vector of each training speaker through `line`, at unit length; shape (speakers, 192)."""
    rows = corpus.manifest(corpus.data_folder())
    held_out = corpus.held_out_speakers(rows)
    vectors: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for row in track(rows, description="cohort"):
        if row.set in COHORT_SETS and row.use == "train" and row.speaker not in held_out:
            audio = line(corpus.trimmed(corpus.read(row.path)))
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
    both = np.concatenate((cohort(model), cohort(model, line=through_telephone)))
    vectors = torch.from_numpy(both).half()
    speakers = conversation_speakers()
    wide = calibration.embed_conversations(model, speakers)
    telephone = calibration.embed_conversations(model, speakers, line=through_telephone)
    shift = calibration.fit_telephone_shift(vectors.float().numpy(), wide, telephone)
    fitted = calibration.fit(Cohort(vectors.float().numpy(), telephone_shift=shift), wide)
    with safe_open(WEIGHTS, framework="pt") as file:
        header: dict[str, str] = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header |= {
        "threshold": f"{THRESHOLD:.4f}",
        "calibration": f"{fitted.slope:.4f},{fitted.threshold:.4f},{fitted.reliability_s:.4f}",
        "cohort": f"{len(vectors) // 2} speakers of {' and '.join(COHORT_SETS)}, as recorded and by telephone",
        "telephone_shift": f"{shift:.4f}",
    }
    save_file({**tensors, "cohort": vectors}, WEIGHTS, metadata=header)
    WEIGHTS.chmod(0o644)
    print(f"{WEIGHTS}: {WEIGHTS.stat().st_size / 1e6:.1f} MB, {header}")


if __name__ == "__main__":
    main()
