"""Accuracy of emotion recognition on utterances, each processed as a live stream.

An utterance's probabilities are the mean of its windows' raw probabilities, weighted by the new audio of each window;
its live label is the one with the longest duration. `uncertain` and `silence` are abstentions: figures are given over
all utterances (abstentions take the most likely label) and over those with an answer. Utterances without a label, such
as read speech or noise, show which labels a model gives where there is nothing to find.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, recall_score, roc_auc_score

from stream.events import EmotionEvent, Event
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.metrics import Floats, Labels, calibration_error
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tracking.emotion import SILENCE, UNCERTAIN
from stream.types import Task


@dataclass(frozen=True, slots=True)
class UtteranceResult:
    """One utterance: true label, mean probabilities (labels,), and live label."""

    utterance: Utterance
    truth: int
    probabilities: Floats | None
    label: str
    correct_s: float
    speech_s: float
    label_changes: int
    arousal: float | None = None


@dataclass(frozen=True, slots=True)
class EmotionResult:
    """All utterances of an evaluation, with the model."""

    model: str
    revision: str
    labels: tuple[str, ...]
    utterances: tuple[UtteranceResult, ...]
    left_out: dict[str, int]

    def truth_and_probabilities(self) -> tuple[Labels, Floats]:
        """Return labels (n,) and probabilities (n, labels) of all utterances with enough speech to be scored."""
        scored = [one for one in self.utterances if one.probabilities is not None]
        truth = np.array([one.truth for one in scored], dtype=np.int64)
        return truth, np.array([one.probabilities for one in scored], dtype=np.float64).reshape(-1, len(self.labels))


NEUTRAL, ANGRY = "neutral", "angry"
NO_EMOTION = (NEUTRAL, UNCERTAIN)
EVEN = 0.5
AROUSED = ("happy", ANGRY)
CALM = (NEUTRAL, "sad")
"""Labels of high and of low arousal; others are in neither."""

COVERAGES = (0.5, 0.7, 0.9)
"""Shares of the utterances, the surest first, whose accuracy is given."""


def evaluate(
    runner: EvaluationRunner, utterances: Sequence[Utterance], *, progress: Callable[[], None] = lambda: None
) -> EmotionResult:
    """Process every utterance whose label the model has."""
    info = runner.model(Task.EMOTION).info
    known = [utterance for utterance in utterances if utterance.emotion in info.labels]
    left_out = Counter(u.emotion or "without a label" for u in utterances if u.emotion not in info.labels)
    events, _ = runner.run([utterance.paths[0] for utterance in known], progress=progress)
    results = tuple(_score_utterance(utterance, info.labels, own) for utterance, own in zip(known, events, strict=True))
    return EmotionResult(info.name, info.revision, info.labels, results, dict(left_out))


def _score_utterance(utterance: Utterance, labels: Sequence[str], events: Sequence[Event]) -> UtteranceResult:
    scored = [event for event in events if isinstance(event, EmotionEvent) and event.label != SILENCE]
    weights, rows, duration_ms = [], [], Counter[str]()
    arousal: list[float] = []
    before_s, correct_s, label_changes = 0.0, 0.0, 0
    last: str | None = None
    for event in scored:
        new_s = max(event.end_s - max(before_s, event.start_s), 1e-3)
        before_s = event.end_s
        weights.append(new_s)
        rows.append([event.raw[label] for label in labels])
        arousal += [] if event.arousal is None else [event.arousal]
        duration_ms[event.label] += round(new_s * 1_000)
        if event.label == utterance.emotion:
            correct_s += new_s
        if last is not None and event.label != last:
            label_changes += 1
        last = event.label
    return UtteranceResult(
        utterance=utterance,
        truth=labels.index(utterance.emotion),
        probabilities=np.average(np.array(rows), axis=0, weights=weights) if rows else None,
        label=duration_ms.most_common(1)[0][0] if duration_ms else SILENCE,
        correct_s=correct_s,
        speech_s=sum(weights),
        label_changes=label_changes,
        arousal=float(np.average(arousal, weights=weights)) if arousal else None,
    )


def figures(result: EmotionResult) -> dict[str, Any]:
    """Return accuracy, average recall, macro F1, calibration error, recall by class and speaker, and live figures."""
    truth, probabilities = result.truth_and_probabilities()
    if len(truth) == 0:
        return {"utterances": len(result.utterances), "scored": 0, "left_out": result.left_out}
    guess = probabilities.argmax(axis=1)
    answered = np.array(
        [one.label not in (UNCERTAIN, SILENCE) for one in result.utterances if one.probabilities is not None]
    )
    live = np.array(
        [
            result.labels.index(one.label) if one.label in result.labels else -1
            for one in result.utterances
            if one.probabilities is not None
        ]
    )
    present = sorted(set(truth.tolist()))
    recalls = recall_score(truth, guess, labels=present, average=None, zero_division=0.0)
    speech_s = sum(one.speech_s for one in result.utterances)
    return {
        "utterances": len(result.utterances),
        "scored": len(truth),
        "accuracy": _share(guess == truth),
        "unweighted_average_recall": _average_recall(truth, guess),
        "macro_f1": float(f1_score(truth, guess, labels=present, average="macro", zero_division=0.0)),
        "expected_calibration_error": calibration_error(probabilities, truth),
        "recall": {result.labels[at]: float(value) for at, value in zip(present, recalls, strict=True)},
        "with_uncertain": {
            "answered": _share(answered),
            "accuracy": _share((live == truth)[answered]),
            "unweighted_average_recall": _average_recall(truth[answered], live[answered]) if answered.any() else None,
        },
        "rolling": {
            "right_share_of_speech": sum(one.correct_s for one in result.utterances) / speech_s if speech_s else None,
            "flaps_per_minute": sum(one.label_changes for one in result.utterances) / speech_s * 60
            if speech_s
            else None,
        },
        "coverage": _coverage(truth, probabilities),
        "arousal": _arousal(result),
        "anger": _anger(result.labels, truth, probabilities),
        "by_speaker": _by_speaker(result),
        "left_out": result.left_out,
    }


def label_shares(
    runner: EvaluationRunner, utterances: Sequence[Utterance], *, progress: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Process utterances without a label: the share of each live label, and how many got one at any time."""
    labels = runner.model(Task.EMOTION).info.labels
    events, _ = runner.run([utterance.paths[0] for utterance in utterances], progress=progress)
    scored = [[e.label for e in own if isinstance(e, EmotionEvent) and e.label != SILENCE] for own in events]
    live = Counter(Counter(own).most_common(1)[0][0] for own in scored if own)
    answered = sum(live.values())
    return {
        "utterances": len(utterances),
        "scored": answered,
        "with_an_event": answered / len(utterances) if utterances else None,
        "with_an_emotion": sum(any(label not in NO_EMOTION for label in own) for own in scored) / len(utterances)
        if utterances
        else None,
        "live": {label: live[label] / answered for label in (*labels, UNCERTAIN)} if answered else {},
    }


def confusion(result: EmotionResult) -> NDArray[np.int64]:
    """Return counts (labels, labels): rows the truth, columns the prediction."""
    truth, probabilities = result.truth_and_probabilities()
    counts: NDArray[np.int64] = confusion_matrix(truth, probabilities.argmax(axis=1), labels=range(len(result.labels)))
    return counts


def _coverage(truth: Labels, probabilities: Floats) -> dict[str, float]:
    """Return the accuracy of the surest utterances, by their share of all."""
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")
    right = probabilities.argmax(axis=1) == truth
    return {f"{share:.0%}": float(right[surest[: max(1, round(share * len(truth)))]].mean()) for share in COVERAGES}


def _arousal(result: EmotionResult) -> dict[str, float] | None:
    """Return how well arousal tells AROUSED from CALM labels; None without arousal or without both."""
    rows = [
        (one.arousal, one.utterance.emotion in AROUSED)
        for one in result.utterances
        if one.arousal is not None and one.utterance.emotion in (*AROUSED, *CALM)
    ]
    values, truth = np.array([value for value, _ in rows]), np.array([high for _, high in rows], dtype=bool)
    return _two_classes(values, values > EVEN, truth) if rows else None


def _anger(labels: Sequence[str], truth: Labels, probabilities: Floats) -> dict[str, float] | None:
    """Return how well anger is separated from the other labels."""
    if ANGRY not in labels:
        return None
    place = labels.index(ANGRY)
    return _two_classes(probabilities[:, place], probabilities.argmax(axis=1) == place, truth == place)


def _two_classes(values: Floats, guess: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float] | None:
    """Return the mean recall of both classes, and the probability that one of the class has the higher value."""
    if truth.all() or not truth.any():
        return None
    return {
        "unweighted_average_recall": float((guess[truth].mean() + (~guess[~truth]).mean()) / 2),
        "order": float(roc_auc_score(truth, values)),
    }


def _by_speaker(result: EmotionResult) -> dict[str, dict[str, float]]:
    by_speaker = {}
    for speaker in sorted({one.utterance.speaker for one in result.utterances if one.utterance.speaker}):
        theirs = [
            one for one in result.utterances if one.utterance.speaker == speaker and one.probabilities is not None
        ]
        if theirs:
            truth = np.array([one.truth for one in theirs])
            guess = np.array([int(one.probabilities.argmax()) for one in theirs if one.probabilities is not None])
            by_speaker[speaker] = {
                "utterances": float(len(theirs)),
                "unweighted_average_recall": _average_recall(truth, guess),
            }
    return by_speaker


def _average_recall(truth: Labels, guess: Labels) -> float:
    """Return the mean recall of the labels that occur in the truth."""
    return float(recall_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0.0))


def _share(flags: NDArray[np.bool_]) -> float | None:
    return float(np.mean(flags)) if len(flags) else None
