"""How well a voice's emotion is told: labelled utterances, one by one, the way live sound goes.

An utterance's probabilities are the mean of its windows' own, by the sound that was new in each; its rolling label is
the one that held longest. `uncertain` and `silence` are answers that withhold one: figures are given over all
utterances (withheld ones take the likeliest label) and over those that were answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from stream.events import EmotionEvent, Event
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.metrics import Floats, Labels, calibration_error
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tracking.emotion import SILENCE, UNCERTAIN
from stream.types import Task


@dataclass(frozen=True, slots=True)
class UtteranceResult:
    """One utterance: the truth, the mean probabilities (labels,), and what was told live."""

    utterance: Utterance
    truth: int
    probabilities: Floats | None
    told: str
    right_s: float
    speech_s: float
    flaps: int


@dataclass(frozen=True, slots=True)
class EmotionResult:
    """All utterances of an evaluation, with the model that heard them."""

    model: str
    revision: str
    labels: tuple[str, ...]
    heard: tuple[UtteranceResult, ...]
    left_out: dict[str, int]

    def truth_and_probabilities(self) -> tuple[Labels, Floats]:
        """Of every utterance that had speech enough to be scored; (n,) and (n, labels)."""
        scored = [one for one in self.heard if one.probabilities is not None]
        truth = np.array([one.truth for one in scored], dtype=np.int64)
        return truth, np.array([one.probabilities for one in scored], dtype=np.float64).reshape(-1, len(self.labels))


def evaluate(
    ears: EvaluationRunner, utterances: Sequence[Utterance], *, progress: Callable[[], None] = lambda: None
) -> EmotionResult:
    """Hear every utterance whose label the model knows."""
    info = ears.model(Task.EMOTION).info
    known = [utterance for utterance in utterances if utterance.emotion in info.labels]
    left_out = Counter(u.emotion or "without a label" for u in utterances if u.emotion not in info.labels)
    events, _ = ears.hear([utterance.paths[0] for utterance in known], progress=progress)
    heard = [_heard(utterance, info.labels, found) for utterance, found in zip(known, events, strict=True)]
    return EmotionResult(info.name, info.revision, info.labels, tuple(heard), dict(left_out))


def _heard(utterance: Utterance, labels: Sequence[str], events: Sequence[Event]) -> UtteranceResult:
    told = [event for event in events if isinstance(event, EmotionEvent) and event.label != SILENCE]
    weights, rows, held = [], [], Counter[str]()
    before_s, right_s, flaps = 0.0, 0.0, 0
    last: str | None = None
    for event in told:
        fresh_s = max(event.end_s - max(before_s, event.start_s), 1e-3)
        before_s = event.end_s
        weights.append(fresh_s)
        rows.append([event.raw[label] for label in labels])
        held[event.label] += round(fresh_s * 1_000)
        right_s += fresh_s * (event.label == utterance.emotion)
        flaps += last is not None and event.label != last
        last = event.label
    return UtteranceResult(
        utterance=utterance,
        truth=labels.index(utterance.emotion),
        probabilities=np.average(np.array(rows), axis=0, weights=weights) if rows else None,
        told=held.most_common(1)[0][0] if held else SILENCE,
        right_s=right_s,
        speech_s=sum(weights),
        flaps=flaps,
    )


def figures(result: EmotionResult) -> dict[str, Any]:
    """Accuracy, unweighted average recall, macro F1, calibration error, by class and speaker; the rolling figures."""
    truth, probabilities = result.truth_and_probabilities()
    if len(truth) == 0:
        return {"utterances": len(result.heard), "scored": 0, "left_out": result.left_out}
    guess = probabilities.argmax(axis=1)
    answered = np.array([one.told not in (UNCERTAIN, SILENCE) for one in result.heard if one.probabilities is not None])
    told = np.array(
        [
            result.labels.index(one.told) if one.told in result.labels else -1
            for one in result.heard
            if one.probabilities is not None
        ]
    )
    present = sorted(set(truth.tolist()))
    recalls = recall_score(truth, guess, labels=present, average=None, zero_division=0.0)
    speech_s = sum(one.speech_s for one in result.heard)
    return {
        "utterances": len(result.heard),
        "scored": len(truth),
        "accuracy": _share(guess == truth),
        "unweighted_average_recall": _average_recall(truth, guess),
        "macro_f1": float(f1_score(truth, guess, labels=present, average="macro", zero_division=0.0)),
        "expected_calibration_error": calibration_error(probabilities, truth),
        "recall": {result.labels[at]: float(value) for at, value in zip(present, recalls, strict=True)},
        "with_uncertain": {
            "answered": _share(answered),
            "accuracy": _share((told == truth)[answered]),
            "unweighted_average_recall": _average_recall(truth[answered], told[answered]) if answered.any() else None,
        },
        "rolling": {
            "right_share_of_speech": sum(one.right_s for one in result.heard) / speech_s if speech_s else None,
            "flaps_per_minute": sum(one.flaps for one in result.heard) / speech_s * 60 if speech_s else None,
        },
        "by_speaker": _by_speaker(result),
        "left_out": result.left_out,
    }


def confusion(result: EmotionResult) -> NDArray[np.int64]:
    """Rows the truth, columns the answer; (labels, labels)."""
    truth, probabilities = result.truth_and_probabilities()
    found: NDArray[np.int64] = confusion_matrix(truth, probabilities.argmax(axis=1), labels=range(len(result.labels)))
    return found


def _by_speaker(result: EmotionResult) -> dict[str, dict[str, float]]:
    found = {}
    for speaker in sorted({one.utterance.speaker for one in result.heard if one.utterance.speaker}):
        theirs = [one for one in result.heard if one.utterance.speaker == speaker and one.probabilities is not None]
        if theirs:
            truth = np.array([one.truth for one in theirs])
            guess = np.array([int(one.probabilities.argmax()) for one in theirs if one.probabilities is not None])
            found[speaker] = {
                "utterances": float(len(theirs)),
                "unweighted_average_recall": _average_recall(truth, guess),
            }
    return found


def _average_recall(truth: Labels, guess: Labels) -> float:
    """The mean of the recalls of the labels that occur in the truth."""
    return float(recall_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0.0))


def _share(flags: NDArray[np.bool_]) -> float | None:
    return float(np.mean(flags)) if len(flags) else None
