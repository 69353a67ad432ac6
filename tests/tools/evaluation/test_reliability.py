"""Reliability of match probabilities: bins, even odds, profiles, and calibrations that are and are not honest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.tools.evaluation.reliability import (
    EDGES,
    EmbeddedCrops,
    Profiles,
    calibrated_scorer,
    match_probabilities,
    missing_reason,
    reliability_figures,
    reliability_table,
    reliability_tables,
)
from stream.tracking.calibration import Calibration, ScoreTrial, fit
from stream.tracking.scoring import Scorer
from stream.tracking.voice import unit
from stream.types import ModelInfo, Task

DIMENSIONS = 24


def voices(people: int, *, seed: int, recordings: int = 8, per_recording: int = 3) -> EmbeddedCrops:
    """Return crops of 2 s of people whose x-vectors scatter around a mean of their own."""
    draw = np.random.default_rng(seed)
    means = draw.normal(size=(people, 1, 1, DIMENSIONS)) * 0.8
    noisy = means + draw.normal(size=(people, recordings, per_recording, DIMENSIONS))
    count = people * recordings * per_recording
    return EmbeddedCrops(
        np.stack([unit(one) for one in noisy.reshape(count, DIMENSIONS).astype(np.float32)]),
        tuple(f"p{at // (recordings * per_recording)}" for at in range(count)),
        np.arange(count) // per_recording,
        np.full(count, 2.0),
    )


def fitted(crops: EmbeddedCrops) -> Calibration:
    """Fit a calibration on the trials of these crops, as a model's is fitted."""
    scorer = Scorer(calibration=Calibration(1.0, 0.0))
    trials, profiles = [], Profiles(crops)
    for vector, speaker, recording in zip(crops.vectors, crops.speakers, crops.recordings.tolist(), strict=True):
        for voice in profiles.against(speaker, recording):
            score = float(scorer.scores(vector, [voice])[0])
            trials.append(ScoreTrial(score, 2.0, voice.evidence_s, speaker == voice.name))
    return fit(trials).calibration


def calibration_error(calibration: Calibration, crops: EmbeddedCrops) -> float:
    table = match_probabilities(Scorer(calibration=calibration), crops, Profiles(crops))
    assert table is not None
    return table.calibration_error


@pytest.mark.long
def test_a_fitted_calibration_is_reliable_for_other_people_and_an_over_confident_one_is_not() -> None:
    calibration, others = fitted(voices(40, seed=1)), voices(40, seed=2)
    assert calibration_error(calibration, others) < 0.03
    assert calibration_error(replace(calibration, slope=4 * calibration.slope), others) > 0.06
    assert calibration_error(replace(calibration, slope=calibration.slope / 4), others) > 0.1


@pytest.mark.parametrize("different_for_one", [1, 20])
def test_even_odds_do_not_depend_on_the_number_of_trials(different_for_one: int) -> None:
    """Log-odds of both classes with means of half their variance are those of same against different, by definition."""
    draw = np.random.default_rng(3)
    same = np.arange(40_000) % (1 + different_for_one) == 0
    odds = np.where(same, 1.0, -1.0) * 2.0 + draw.normal(size=len(same)) * 2.0
    honest = reliability_table(1 / (1 + np.exp(-odds)), same)
    assert honest.calibration_error < 0.02
    assert all(one.same_share is not None and one.low - 0.02 <= one.same_share <= one.high for one in honest.bins)
    assert reliability_table(1 / (1 + np.exp(-3 * odds)), same).calibration_error > 0.05


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=2, max_size=60))
def test_every_trial_is_in_one_bin(rows: list[tuple[float, bool]]) -> None:
    same: NDArray[np.bool_] = np.array([one for _, one in rows])
    same[0], same[1] = True, False
    table = reliability_table(np.array([probability for probability, _ in rows]), same)
    assert sum(one.trials for one in table.bins) == len(rows) == table.trials_same + table.trials_different
    assert sum(one.weight for one in table.bins) == pytest.approx(1.0)
    assert 0.0 <= table.calibration_error <= 1.0
    for one in table.bins:
        assert (one.same_share is None) == (one.mean_probability is None) == (one.trials == 0)
        assert one.mean_probability is None or one.low - 1e-9 <= one.mean_probability <= one.high + 1e-9


def test_bins_contain_their_lower_edge() -> None:
    table = reliability_table(np.array(EDGES), np.array([False] * 4 + [True] * 4))
    assert [one.trials for one in table.bins] == [1, 1, 1, 1, 1, 1, 2]
    assert [one.same_share for one in table.bins] == [0.0] * 4 + [1.0] * 3


def test_profiles_end_at_ten_seconds_and_leave_out_the_recording_of_the_window() -> None:
    crops = voices(2, seed=4)
    ann, bob = Profiles(crops).against("p0", 1)
    assert (ann.name, ann.evidence_s, bob.name, bob.evidence_s) == ("p0", 12.0, "p1", 12.0), "6 s a recording"
    left = np.flatnonzero(np.isin(crops.recordings, (0, 2)))
    assert np.allclose(ann.centroid, unit(crops.vectors[left].mean(axis=0)), atol=1e-6)
    assert np.allclose(bob.centroid, unit(crops.vectors[np.isin(crops.recordings, (8, 9))].mean(axis=0)), atol=1e-6)
    lone = Profiles(voices(3, seed=6, recordings=1))
    assert [voice.name for voice in lone.against("p1", 1)] == ["p0", "p2"]


def test_each_window_is_scored_against_each_person() -> None:
    crops = voices(3, seed=7)
    table = match_probabilities(Scorer(calibration=Calibration(8.0, 0.3)), crops, Profiles(crops))
    assert table is not None
    assert (table.trials_same, table.trials_different) == (3 * 24, 3 * 2 * 24)


def test_no_table_without_trials_of_both_classes() -> None:
    scorer = Scorer(calibration=Calibration(8.0, 0.3))
    one = voices(1, seed=8)
    assert reliability_tables(scorer, {2.0: one}, one) == {}
    lone = voices(3, seed=9, recordings=1)
    assert reliability_tables(scorer, {2.0: lone}, lone) == {}
    assert reliability_tables(scorer, {2.0: one}, None) == {}
    assert reliability_figures({}) is None
    both = voices(2, seed=10)
    assert list(reliability_tables(scorer, {None: both, 1.5: both, 3.0: both, 2.0: both}, both)) == ["2", "3"]


def test_a_model_without_calibration_has_no_table() -> None:
    plain = ModelInfo("m", "1", Task.SPEAKER, threshold=0.5)
    assert calibrated_scorer(plain, None) is None
    assert missing_reason(plain, None) == "m has no calibration, so there is no reliability table."
    calibrated = replace(plain, calibration=(8.0, 0.3, 0.5))
    scorer = calibrated_scorer(calibrated, None)
    assert scorer is not None
    assert scorer.calibration == Calibration(8.0, 0.3, 0.5)
    assert calibrated_scorer(calibrated, 0.4) is None
    assert "unset it" in missing_reason(calibrated, 0.4)
    assert "two recordings of 1.5 s" in missing_reason(calibrated, None)
