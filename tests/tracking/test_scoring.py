"""Scores relative to a cohort: what voices of a channel share is cancelled, and both bands have one threshold."""

from __future__ import annotations

import numpy as np
import pytest

from stream.tracking.calibration import Calibration
from stream.tracking.scoring import Cohort, Scorer
from stream.tracking.voice import Vector, Voice, unit
from tests.tracking.speech import voice


def blend(vector: np.ndarray) -> Vector:
    return unit(vector.astype(np.float32))


def test_a_cohort_cancels_what_all_voices_of_a_channel_share() -> None:
    channel = np.zeros(8, np.float32)
    channel[7] = 1.0
    draw = np.random.default_rng(1)
    others = np.stack([blend(unit(draw.normal(size=8).astype(np.float32)) + channel) for _ in range(60)])
    scorer = Scorer(calibration=Calibration(1.0, 0.0), cohort=Cohort(others))
    one = Voice(name="one", exemplars=[blend(voice(0) + channel)], enrolled=True, evidence_s=10.0)
    same, other = blend(voice(0) + 1.1 * channel), blend(voice(4) + channel)
    assert one.similarity(other) > 0.45, "over one channel two people have similar x-vectors"
    assert scorer.scores(same, [one])[0] > 0 > scorer.scores(other, [one])[0]


def test_a_cohort_with_telephone_copies_raises_the_scores_of_telephone_voices() -> None:
    draw = np.random.default_rng(1)
    line = np.zeros(16, np.float32)
    line[15] = 1.5
    wide = np.stack([unit(draw.normal(size=16).astype(np.float32)) for _ in range(60)])
    both = np.concatenate((wide, np.stack([blend(one + line) for one in wide])))
    person, other = wide[0], wide[1]
    plain, shifted = (
        Scorer(calibration=Calibration(1.0, 0.0), cohort=Cohort(both, nearest=20, telephone_shift=shift).without(0))
        for shift in (1e-9, 3.0)
    )
    for enrolled_by, spoken_by, raised in ((None, None, 0.0), (line, None, 3.0), (None, line, 3.0), (line, line, 3.0)):
        enrolled_as = person if enrolled_by is None else blend(person + enrolled_by)
        voices = [Voice(name="one", exemplars=[enrolled_as], enrolled=True, evidence_s=10.0)]
        for speaker in (person, other):
            vector = speaker if spoken_by is None else blend(speaker + spoken_by)
            difference = shifted.scores(vector, voices)[0] - plain.scores(vector, voices)[0]
            assert difference == pytest.approx(raised, abs=0.05)


@pytest.mark.parametrize("enrolled_by_telephone", [False, True])
def test_a_voice_of_the_other_band_is_compared_as_it_would_sound_there(*, enrolled_by_telephone: bool) -> None:
    draw = np.random.default_rng(1)
    line, band = 1.5 * np.eye(16, dtype=np.float32)[15], np.diag(np.linspace(1.0, 0.2, 16)).astype(np.float32)
    wide = np.stack([unit(draw.normal(size=16).astype(np.float32)) for _ in range(300)])
    by_telephone = np.stack([blend(one @ band + line) for one in wide])
    both = np.concatenate((wide[10:], by_telephone[10:]))
    scorer = Scorer(calibration=Calibration(1.0, 0.0), cohort=Cohort(both, telephone_shift=3.0))
    enrolments, spoken = (by_telephone, wide) if enrolled_by_telephone else (wide, by_telephone)
    voices = [Voice(name=f"{at}", exemplars=[enrolments[at]], enrolled=True, evidence_s=10.0) for at in range(10)]
    across = np.stack([scorer.scores(spoken[at], voices) for at in range(10)])
    same = [Voice(name="", exemplars=[by_telephone[at]], enrolled=True, evidence_s=10.0) for at in range(10)]
    within = np.stack([scorer.scores(by_telephone[at], same) for at in range(10)])
    assert (across.argmax(axis=1) == np.arange(10)).all()
    cosines = np.stack([[one.similarity(spoken[at]) for one in voices] for at in range(10)])
    assert cosines.diagonal().mean() < 0.6, "across the bands a voice is hardly like itself"
    assert np.abs(across - within).mean() < 0.5, "scores have the scale of one band"


def test_a_person_leaves_a_cohort_with_the_telephone_copy() -> None:
    people = np.eye(6, dtype=np.float32)
    cohort = Cohort(people, nearest=2, telephone_shift=2.0)  # three people
    assert len(cohort) == len(cohort.people) == 3
    assert len(cohort.without(1)) == 2
    assert not (cohort.without(1)._vectors @ people[[1, 4]].T).any()
