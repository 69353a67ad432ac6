"""Closed-set identification: which of a model's own people a recording is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream.clock import samples
from stream.errors import SettingsError
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.runner import EvaluationRunner, samples_of
from stream.tools.evaluation.verification import speech_of
from stream.types import Task, Window


@dataclass(frozen=True, slots=True)
class IdentityResult:
    """Whom the model named, likeliest first, for each recording whose speaker it knows."""

    model: str
    revision: str
    truth: tuple[str, ...]
    named: tuple[tuple[str, ...], ...]
    probabilities: tuple[float, ...]
    strangers: int
    without_speech: int = 0


def evaluate(
    ears: EvaluationRunner,
    utterances: Sequence[Utterance],
    *,
    progress: Callable[[], None] = lambda: None,
    top: int = 5,
) -> IdentityResult:
    """Average windows of each recording's speech. Raises `SettingsError` if the model knows none of the speakers."""
    model = ears.model(Task.IDENTITY)
    labels = model.info.labels
    known = [utterance for utterance in utterances if utterance.speaker in labels]
    if not known:
        raise SettingsError(
            f"{model.info.name} knows none of these speakers; it knows {', '.join(labels[:2])} … ({len(labels)})"
        )
    truth, named, sure = [], [], []
    for utterance in known:
        sound = np.concatenate([speech_of(samples_of(path), ears) for path in utterance.paths])
        progress()
        if len(sound) < model.spec.minimum_samples:
            continue
        parts = np.array_split(sound, max(1, round(len(sound) / samples(8.0))))
        windows = [Window("evaluation", at, 0, part, 1.0, len(part)) for at, part in enumerate(parts)]
        mean = np.mean([model.infer([window])[0].values for window in windows], axis=0)
        order = np.argsort(-mean)[:top]
        truth.append(utterance.speaker)
        named.append(tuple(labels[at] for at in order))
        sure.append(float(mean[order[0]]))
    return IdentityResult(
        model.info.name,
        model.info.revision,
        tuple(truth),
        tuple(named),
        tuple(sure),
        len(utterances) - len(known),
        len(known) - len(truth),
    )


def figures(result: IdentityResult) -> dict[str, Any]:
    """Share named right at once, and among the first five; None where no recording held speech enough."""
    count = len(result.truth)
    at_once = sum(who == named[0] for who, named in zip(result.truth, result.named, strict=True))
    among = sum(who in named for who, named in zip(result.truth, result.named, strict=True))
    return {
        "recordings": len(result.truth),
        "strangers_left_out": result.strangers,
        "without_speech": result.without_speech,
        "accuracy": at_once / count if count else None,
        "top_5_accuracy": among / count if count else None,
    }
