"""Steadiness and the time to see a change, from events written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.events import Event
from stream.tools.evaluation import emotion_changes
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.emotion_changes import Passage
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tracking.emotion import UNCERTAIN
from tests.support.tones import MakeRunner, tone, wav
from tests.tools.evaluation.event_builders import emotion_event


def events(*labels: str) -> list[Event]:
    """Return an emotion event a second."""
    return [
        emotion_event(float(at), float(at + 1), label, {"neutral": 0.5, "angry": 0.5})
        for at, label in enumerate(labels)
    ]


def test_changes_of_the_label_count_from_the_first_one_on() -> None:
    assert emotion_changes._label_changes(events(UNCERTAIN, "neutral", "neutral", "angry", UNCERTAIN)) == 2
    assert emotion_changes._label_changes(events(UNCERTAIN, UNCERTAIN)) == 0


@pytest.mark.parametrize(
    ("labels", "seen_s"),
    [
        (("neutral", "neutral", "neutral", "angry"), 2.0),
        (("neutral", "neutral", UNCERTAIN, UNCERTAIN), float("inf")),
        (("neutral", "sad", "angry", "angry"), None),  # wrong before the change
    ],
)
def test_the_time_from_a_change_to_its_label(labels: tuple[str, ...], seen_s: float | None) -> None:
    passage = Passage(Path("x.wav"), "neutral", "angry", change_s=2.0)
    assert emotion_changes._seen_after_s(passage, events(*labels)) == seen_s


@pytest.mark.slow
def test_recordings_of_a_person_are_joined(tmp_path: Path, make_runner: MakeRunner) -> None:
    runner: EvaluationRunner = make_runner("emotion")
    levels = {"neutral": 0.2, "angry": 0.6}
    utterances = [
        Utterance((wav(tmp_path / f"{label}{take}.wav", tone(300, 3.0, level=level, seed=take)),), "ann", label)
        for label, level in levels.items()
        for take in range(3)
    ]
    found = emotion_changes.evaluate(runner, utterances)
    assert found["label_changes_per_minute"] == 0.0
    assert (found["changes"], found["right_before"], found["seen"]) == (2, 2, 1.0)
    assert 0.0 < found["median_s"] < 4.0
