"""Emotion tracker: smoothed over speech time, with hysteresis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.settings import EmotionSettings
from stream.tracking.emotion import UNCERTAIN, EmotionTracker

LABELS = ("neutral", "happy", "angry")
CALM, JOY, EVEN = (0.9, 0.05, 0.05), (0.05, 0.9, 0.05), (0.34, 0.33, 0.33)


def tracker(**options: float) -> EmotionTracker:
    return EmotionTracker(labels=LABELS, settings=EmotionSettings.model_validate(options))


def test_a_label_starts_lasts_and_ends() -> None:
    emotion = tracker(dwell_s=2.0)
    labels = [emotion.update(CALM, speech_s=1.0, end_sample=1).label]
    labels += [emotion.update(JOY, speech_s=1.0, end_sample=2 + hop).label for hop in range(6)]
    assert labels[0] == "neutral"
    assert labels[-1] == "happy"
    assert labels == sorted(labels, key=("neutral", UNCERTAIN, "happy").index), (
        "the label changes once, by way of uncertain"
    )
    assert labels[1] == "neutral", "a label lasts for its dwell time"


def test_even_probabilities_are_uncertain() -> None:
    emotion = tracker()
    assert emotion.update(EVEN, speech_s=1.0, end_sample=1).label == UNCERTAIN
    for hop in range(8):
        emotion.update(CALM, speech_s=1.0, end_sample=hop)
    states = [emotion.update(EVEN, speech_s=2.0, end_sample=hop).label for hop in range(8)]
    assert states[0] == "neutral"
    assert states[-1] == UNCERTAIN


@given(st.integers(1, 20))
def test_smoothing_counts_speech_not_windows(parts: int) -> None:
    once, pieces = tracker(), tracker()
    for emotion in (once, pieces):
        emotion.update(CALM, speech_s=1.0, end_sample=0)
    whole = once.update(JOY, speech_s=3.0, end_sample=1).probabilities
    for _ in range(parts):
        state = pieces.update(JOY, speech_s=3.0 / parts, end_sample=1)
    assert state.probabilities == pytest.approx(whole)


def test_since_is_the_start_of_the_label() -> None:
    emotion = tracker()
    assert emotion.update(CALM, speech_s=1.0, end_sample=100).since_sample == 100
    assert emotion.update(CALM, speech_s=1.0, end_sample=200).since_sample == 100


@pytest.mark.slow
@given(st.lists(st.tuples(*[st.floats(0.01, 1.0)] * 3), min_size=1, max_size=20))
def test_probabilities_stay_probabilities(scores: list[tuple[float, float, float]]) -> None:
    emotion = tracker()
    for hop, score in enumerate(scores):
        total = sum(score)
        state = emotion.update([part / total for part in score], speech_s=0.5, end_sample=hop)
        assert sum(state.probabilities) == pytest.approx(1.0)
        assert 0.0 <= state.confidence <= 1.0
        assert state.label in (*LABELS, UNCERTAIN)
