"""Recall, calibration, abstentions and the live label, on tones whose loudness is their emotion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.events import Event
from stream.tools.evaluation import emotion
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.emotion import EmotionResult, UtteranceResult, confusion, evaluate, figures
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tracking.emotion import SILENCE, UNCERTAIN
from tests.support.tones import EMOTIONS, tone, wav
from tests.tools.evaluation.event_builders import emotion_event

LEVELS = {"neutral": 0.2, "happy": 0.4, "angry": 0.6, "sad": 0.9}


def result(rows: Sequence[tuple[str, str, str]], *, sure: float = 0.7, who: str = "ann") -> EmotionResult:
    """Return one utterance per row: true label, most likely label (or none), live label."""
    utterances = []
    for truth, likeliest, live in rows:
        values = np.full(4, (1 - sure) / 3)
        if likeliest:
            values[EMOTIONS.index(likeliest)] = sure
        one = Utterance((Path("x.wav"),), who, truth)
        utterances.append(UtteranceResult(one, EMOTIONS.index(truth), values if likeliest else None, live, 1.0, 2.0, 1))
    return EmotionResult("m", "1", EMOTIONS, tuple(utterances), {"calm": 2})


def test_figures_by_hand() -> None:
    # neutral 3 of 4, angry 1 of 2: accuracy 4/6, recall (3/4 + 1/2) / 2
    rows = [("neutral", "neutral", "neutral")] * 3 + [
        ("neutral", "happy", UNCERTAIN),
        ("angry", "angry", "angry"),
        ("angry", "neutral", "neutral"),
    ]
    found = figures(result(rows))
    assert (found["utterances"], found["scored"]) == (6, 6)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["unweighted_average_recall"] == pytest.approx(0.625)
    assert found["recall"] == {"neutral": 0.75, "angry": 0.5}
    # F1 of neutral: precision 3/4, recall 3/4; of angry: 1, 1/2
    assert found["macro_f1"] == pytest.approx((0.75 + 2 / 3) / 2)
    assert found["expected_calibration_error"] == pytest.approx(abs(0.7 - 4 / 6))
    assert found["with_uncertain"]["answered"] == pytest.approx(5 / 6)
    assert found["with_uncertain"]["accuracy"] == pytest.approx(4 / 5)
    assert found["with_uncertain"]["unweighted_average_recall"] == pytest.approx((1 + 0.5) / 2)
    assert found["rolling"] == {"right_share_of_speech": 0.5, "flaps_per_minute": pytest.approx(30.0)}
    assert found["by_speaker"] == {"ann": {"utterances": 6.0, "unweighted_average_recall": pytest.approx(0.625)}}
    assert found["left_out"] == {"calm": 2}


def test_arousal_anger_and_coverage() -> None:
    rows = [("angry", "angry", 0.9), ("happy", "sad", 0.4), ("sad", "sad", 0.2), ("neutral", "angry", 0.3)]
    utterances = [
        UtteranceResult(
            Utterance((Path("x.wav"),), "ann", truth),
            EMOTIONS.index(truth),
            sure(guess, share),
            guess,
            1,
            1,
            0,
            arousal,
        )
        for (truth, guess, arousal), share in zip(rows, (0.9, 0.5, 0.8, 0.6), strict=True)
    ]
    found = figures(EmotionResult("m", "1", EMOTIONS, tuple(utterances), {}))
    assert found["arousal"] == {"unweighted_average_recall": 0.75, "order": 1.0}
    assert found["anger"]["unweighted_average_recall"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["coverage"] == {"50%": 1.0, "70%": pytest.approx(2 / 3), "90%": 0.5}


def sure(label: str, share: float) -> np.ndarray:
    values = np.full(4, (1 - share) / 3)
    values[EMOTIONS.index(label)] = share
    return values


def test_confusion_has_the_truth_in_rows() -> None:
    counts = confusion(result([("neutral", "happy", "happy"), ("sad", "sad", "sad"), ("sad", "", SILENCE)]))
    assert counts.shape == (4, 4)
    assert counts[0, 1] == 1
    assert counts[3, 3] == 1
    assert counts.sum() == 2


def test_predictions_outside_the_labels_that_occur_count_as_wrong() -> None:
    found = figures(result([("sad", "happy", "happy"), ("sad", "sad", UNCERTAIN)]))  # warnings are errors here
    assert found["unweighted_average_recall"] == 0.5
    assert found["with_uncertain"]["unweighted_average_recall"] == 0.0


def test_nothing_answered_and_nothing_scored() -> None:
    found = figures(result([("sad", "sad", UNCERTAIN)]))
    assert found["with_uncertain"] == {"answered": 0.0, "accuracy": None, "unweighted_average_recall": None}
    assert figures(result([("sad", "", SILENCE)])) == {"utterances": 1, "scored": 0, "left_out": {"calm": 2}}


def scored(events: Sequence[Event], truth: str = "angry") -> UtteranceResult:
    return emotion._score_utterance(Utterance((Path("x.wav"),), "ann", truth), ("neutral", "angry"), events)


def test_windows_are_weighted_by_their_new_audio() -> None:
    events = [
        emotion_event(0.0, 3.0, UNCERTAIN, {"neutral": 1.0, "angry": 0.0}),
        emotion_event(1.0, 4.0, "angry", {"neutral": 0.0, "angry": 1.0}),
        emotion_event(2.0, 5.0, "angry", {"neutral": 0.0, "angry": 1.0}),
        emotion_event(5.0, 5.5, SILENCE, {}),
        emotion_event(9.0, 12.0, "neutral", {"neutral": 1.0, "angry": 0.0}),
    ]
    found = scored(events)
    assert found.probabilities is not None
    assert found.probabilities.tolist() == pytest.approx([6 / 8, 2 / 8])
    assert found.correct_s == pytest.approx(2.0)
    assert found.speech_s == pytest.approx(8.0)
    assert found.label_changes == 2
    assert found.label in (UNCERTAIN, "neutral"), "three seconds each"


def test_an_utterance_without_a_window_is_silence() -> None:
    found = scored([])
    assert (found.probabilities, found.label, found.speech_s) == (None, SILENCE, 0)


@pytest.mark.slow
def test_utterances_through_the_pipeline(make_runner: Callable[..., EvaluationRunner], tmp_path: Path) -> None:
    utterances = [
        Utterance((wav(tmp_path / f"{label}{take}.wav", tone(300, 4.0, level=level, seed=take)),), f"p{take}", label)
        for label, level in LEVELS.items()
        for take in range(2)
    ]
    utterances.append(Utterance((wav(tmp_path / "calm.wav"),), "p0", "calm"))
    utterances.append(Utterance((wav(tmp_path / "unlabelled.wav"),), "p0"))
    utterances.append(Utterance((wav(tmp_path / "silence.wav", np.zeros(32_000, np.float32)),), "p0", "sad"))
    steps: list[int] = []
    found: dict[str, Any] = figures(evaluate(make_runner("emotion"), utterances, progress=lambda: steps.append(1)))
    assert (found["utterances"], found["scored"]) == (9, 8)
    assert found["unweighted_average_recall"] == 1.0
    assert found["with_uncertain"]["accuracy"] == 1.0
    assert found["left_out"] == {"calm": 1, "without a label": 1}
    assert set(found["by_speaker"]) == {"p0", "p1"}
    assert len(steps) == 9


def test_no_utterance_with_a_label_of_the_model(make_runner: Callable[..., EvaluationRunner]) -> None:
    found = figures(evaluate(make_runner("emotion"), [Utterance((Path("x.wav"),), "ann", "bored")]))
    assert found == {"utterances": 0, "scored": 0, "left_out": {"bored": 1}}
