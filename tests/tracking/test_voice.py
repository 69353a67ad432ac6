"""Voices: session voices follow their x-vectors, enrolled ones never change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.tracking.voice import MAX_EVIDENCE_S, Voice, unit
from tests.tracking.speech import voice

vectors = st.lists(st.tuples(st.integers(0, 6), st.floats(0.1, 30.0)), max_size=20)


def test_unit_keeps_the_direction_and_leaves_zeros_alone() -> None:
    assert np.allclose(unit(np.array([3.0, 4.0], np.float32)), [0.6, 0.8])
    assert np.array_equal(unit(np.zeros(4, np.float32)), np.zeros(4, np.float32))


@pytest.mark.slow
@given(vectors)
def test_a_centroid_stays_a_unit_vector_with_bounded_weight(updates: list[tuple[int, float]]) -> None:
    session_voice = Voice(name="S1", exemplars=[voice(0) * 7], enrolled=False, evidence_s=1.5)
    for number, speech_s in updates:
        session_voice.update(voice(number), speech_s)
        assert session_voice.evidence_s <= MAX_EVIDENCE_S + 1e-6
        assert np.linalg.norm(session_voice.centroid) == pytest.approx(1.0, abs=1e-5)
        assert -1.0001 <= session_voice.similarity(voice(number)) <= 1.0001


@pytest.mark.slow
@given(vectors)
def test_an_enrolled_voice_is_never_updated(updates: list[tuple[int, float]]) -> None:
    alice = Voice(name="Alice", exemplars=[voice(0), voice(0, lean=0.5)], enrolled=True)
    before = alice.centroid.copy()
    for number, speech_s in updates:
        alice.update(voice(number), speech_s)
    assert np.array_equal(alice.centroid, before)
    assert alice.evidence_s == 0.0


def test_the_similarity_of_an_enrolled_voice_is_that_of_its_best_exemplar() -> None:
    alice = Voice(name="Alice", exemplars=[voice(0), voice(4)], enrolled=True)
    session_voice = Voice(name="S1", exemplars=[voice(0), voice(4)], enrolled=False)
    assert alice.similarity(voice(4)) == pytest.approx(1.0)
    assert session_voice.similarity(voice(4)) == pytest.approx(0.5**0.5)


def test_updates_are_weighted_by_speech() -> None:
    session_voice = Voice(name="S1", exemplars=[voice(0)], enrolled=False, evidence_s=9.0)
    session_voice.update(voice(2), 1.0)
    assert session_voice.similarity(voice(0)) > 0.98
    assert 0.0 < session_voice.similarity(voice(2)) < 0.2
