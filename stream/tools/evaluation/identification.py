"""Closed-set identification: recordings assigned to one of the speakers a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream.clock import samples
from stream.errors import SettingsError
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.runner import EvaluationRunner, read_samples
from stream.tools.evaluation.verification import gated_speech
from stream.types import Task, Window


@dataclass(frozen=True, slots=True)
class IdentityResult:
    """Predicted names, most likely first, for each recording whose speaker is among the model's labels."""

    model: str
    revision: str
    truth: tuple[str, ...]
    predicted: tuple[tuple[str, ...], ...]
    probabilities: tuple[float, ...]
    strangers: int
    without_speech: int = 0


def evaluate(
    runner: EvaluationRunner,
    utterances: Sequence[Utterance],
    *,
    progress: Callable[[], None] = lambda: None,
    top: int = 5,
) -> IdentityResult:
    """Average the scores over each recording's speech. Raises `SettingsError` if the model has none of the speakers."""
    model = runner.model(Task.IDENTITY)
    labels = model.info.labels
    known = [utterance for utterance in utterances if utterance.speaker in labels]
    if not known:
        raise SettingsError(
            f"{model.info.name} has none of these speakers among its {len(labels)} labels; it has "
            f"{', '.join(labels[:2])} …"
        )
    truth, predicted, probabilities = [], [], []
    for utterance in known:
        audio = np.concatenate([gated_speech(read_samples(path), runner) for path in utterance.paths])
        progress()
        if len(audio) < model.spec.minimum_samples:
            continue
        parts = np.array_split(audio, max(1, round(len(audio) / samples(8.0))))
        windows = [Window("evaluation", at, 0, part, 1.0, len(part)) for at, part in enumerate(parts)]
        mean = np.mean([model.infer([window])[0].values for window in windows], axis=0)
        order = np.argsort(-mean)[:top]
        truth.append(utterance.speaker)
        predicted.append(tuple(labels[at] for at in order))
        probabilities.append(float(mean[order[0]]))
    return IdentityResult(
        model.info.name,
        model.info.revision,
        tuple(truth),
        tuple(predicted),
        tuple(probabilities),
        len(utterances) - len(known),
        len(known) - len(truth),
    )


def figures(result: IdentityResult) -> dict[str, Any]:
    """Return top-1 and top-5 accuracy; None if no recording has enough speech."""
    count = len(result.truth)
    top_1 = sum(name == names[0] for name, names in zip(result.truth, result.predicted, strict=True))
    top_5 = sum(name in names for name, names in zip(result.truth, result.predicted, strict=True))
    return {
        "recordings": len(result.truth),
        "strangers_left_out": result.strangers,
        "without_speech": result.without_speech,
        "accuracy": top_1 / count if count else None,
        "top_5_accuracy": top_5 / count if count else None,
    }
