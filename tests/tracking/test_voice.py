"""Voices: known again whatever their length, taught by speech, and enrolled ones not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.tracking.voice import CAP_S, Voice, unit
from tests.tracking.speech import voice

lessons = st.lists(st.tuples(st.integers(0, 6), st.floats(0.1, 30.0)), max_size=20)


def test_unit_keeps_the_direction_and_leaves_nothing_alone() -> None:
    assert np.allclose(unit(np.array([3.0, 4.0], np.float32)), [0.6, 0.8])
    assert np.array_equal(unit(np.zeros(4, np.float32)), np.zeros(4, np.float32))


@given(lessons)
def test_a_voice_stays_a_direction_with_bounded_weight(taught: list[tuple[int, float]]) -> None:
    learner = Voice(name="S1", exemplars=[voice(0) * 7], enrolled=False, evidence_s=1.5)
    for number, speech_s in taught:
        learner.update(voice(number), speech_s)
        assert learner.evidence_s <= CAP_S + 1e-6
        assert np.linalg.norm(learner.centroid) == pytest.approx(1.0, abs=1e-5)
        assert -1.0001 <= learner.similarity(voice(number)) <= 1.0001


@given(lessons)
def test_an_enrolled_voice_learns_nothing(taught: list[tuple[int, float]]) -> None:
    alice = Voice(name="Alice", exemplars=[voice(0), voice(0, lean=0.5)], enrolled=True)
    before = alice.centroid.copy()
    for number, speech_s in taught:
        alice.update(voice(number), speech_s)
    assert np.array_equal(alice.centroid, before)
    assert alice.evidence_s == 0.0


def test_an_enrolled_voice_is_as_near_as_its_best_exemplar() -> None:
    alice = Voice(name="Alice", exemplars=[voice(0), voice(4)], enrolled=True)
    met = Voice(name="S1", exemplars=[voice(0), voice(4)], enrolled=False)
    assert alice.similarity(voice(4)) == pytest.approx(1.0)
    assert met.similarity(voice(4)) == pytest.approx(0.5**0.5)


def test_speech_weighs() -> None:
    learner = Voice(name="S1", exemplars=[voice(0)], enrolled=False, evidence_s=9.0)
    learner.update(voice(2), 1.0)
    assert learner.similarity(voice(0)) > 0.98
    assert 0.0 < learner.similarity(voice(2)) < 0.2
