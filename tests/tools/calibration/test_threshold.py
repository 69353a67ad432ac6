"""Scores of enrolled people, the threshold fitted to them, and the cases without a threshold."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest

from stream.events import ModelRef
from stream.profiles.profile import EnrolledRecording, Exemplar, FittedCalibration, Profile
from stream.tools.calibration.scores import COHORT_SPEAKER, LabelledTrial, TrialScorer, score_profiles
from stream.tools.calibration.threshold import MIN_SCORES, find_threshold, trade_off
from stream.tracking.calibration import ScoreTrial
from stream.types import ModelInfo, Task

REF = ModelRef(name="m", revision="1")
GENERATOR = np.random.default_rng(5)


def info(cohort: np.ndarray | None = None) -> ModelInfo:
    return ModelInfo("m", "1", Task.SPEAKER, threshold=0.7, cohort=cohort)


def recording(person: int, windows: int = 12, *, noise: float = 0.15, model: ModelRef = REF) -> EnrolledRecording:
    """Return windows of one voice: a direction of its own and noise."""
    vectors = np.eye(16, dtype=np.float32)[person] + GENERATOR.normal(0, noise, (windows, 16)).astype(np.float32)
    exemplars = tuple(Exemplar(vector, 1.5) for vector in vectors)
    return EnrolledRecording(model, "file", "a.wav", 0.8 * windows, exemplars)


def profile(name: str, *recordings: EnrolledRecording) -> Profile:
    return Profile(name, recordings, datetime.now(UTC), datetime.now(UTC))


def ann_and_ben(noise: float = 0.15) -> list[Profile]:
    return [
        profile(name, recording(at, noise=noise), recording(at, noise=noise)) for at, name in enumerate(("Ann", "Ben"))
    ]


def trials(genuine: np.ndarray, impostor: np.ndarray) -> list[LabelledTrial]:
    return [LabelledTrial(ScoreTrial(float(one), 1.5, 20.0, same=True), "Ann", "Ann") for one in genuine] + [
        LabelledTrial(ScoreTrial(float(one), 1.5, 20.0, same=False), "Ann", "Ben") for one in impostor
    ]


def test_every_person_is_scored_against_every_profile() -> None:
    found = score_profiles(ann_and_ben(), info())
    assert all(one.trial.same == (one.profile == one.speaker) for one in found)
    assert Counter((one.profile, one.speaker) for one in found) == {
        ("Ann", "Ann"): 24,
        ("Ben", "Ben"): 24,
        ("Ann", "Ben"): 24,
        ("Ben", "Ann"): 24,
    }


def test_a_window_is_never_scored_against_itself() -> None:
    """On pure noise only a window scored against itself would score high."""
    only_noise = [profile("Ann", recording(0, noise=50), recording(0, noise=50)), profile("Ben", recording(1, 3))]
    once = [profile("Ann", recording(0, noise=50))]
    for people in (only_noise, once):
        own = [one.trial.score for one in score_profiles(people, info()) if one.speaker == one.profile == "Ann"]
        assert len(own) in (12, 24)
        assert max(own) < 0.95


def test_one_recording_is_scored_against_its_windows_without_overlap() -> None:
    found = [one for one in score_profiles([profile("Ann", recording(0))], info()) if one.trial.same]
    assert [one.trial.profile_s for one in found] == pytest.approx([8.0] + [7.2] * 10 + [8.0])
    assert all(one.one_recording for one in found)
    assert "Ann: one recording only" in find_threshold(found, reliability_s=0.0).remarks[0]


def test_recordings_of_other_models_are_ignored() -> None:
    other = recording(0, model=ModelRef(name="m", revision="2"))
    assert score_profiles([profile("Ann", other)], info()) == []


def test_the_cohort_supplies_impostors_for_few_profiles() -> None:
    cohort = GENERATOR.normal(size=(50, 16)).astype(np.float32)
    cohort /= np.linalg.norm(cohort, axis=1, keepdims=True)
    found = score_profiles(ann_and_ben(), info(cohort))
    cohort_trials = [one for one in found if one.speaker == COHORT_SPEAKER]
    assert len(cohort_trials) == 100
    assert not any(one.trial.same for one in cohort_trials)
    many = [profile(f"P{at}", recording(at, 3)) for at in range(3)]
    assert not any(one.speaker == COHORT_SPEAKER for one in score_profiles(many, info(cohort)))


def test_a_cohort_speaker_is_scored_without_its_own_vector() -> None:
    """A cohort that contains the scored vector would lower its score."""
    cohort = np.eye(16, dtype=np.float32)
    voice = profile("Ann", recording(0)).voice(REF)
    assert voice is not None
    (apart,) = [
        one.trial.score
        for at, one in enumerate(TrialScorer(info(cohort)).cohort_trials([voice], speech_s=1.5))
        if at == 5
    ]
    within = TrialScorer(info(cohort)).score(Exemplar(cohort[5], 1.5), voice, speaker=COHORT_SPEAKER)
    assert apart != pytest.approx(within.trial.score, abs=1e-3)


def test_a_test_recording_adds_trials_of_its_speaker() -> None:
    found = score_profiles(ann_and_ben(), info(), tests=[("Ann", recording(0, 5))])
    assert len(found) == 4 * 24 + 10
    assert sum(one.trial.same for one in found) == 48 + 5


def test_the_trade_off_matches_a_hand_count() -> None:
    curve = trade_off(np.array([0.4, 0.6, 0.8, 0.9]), np.array([0.1, 0.2, 0.3, 0.5]))
    assert curve.at(0.5) == (0.25, 0.25)
    assert curve.eer == 0.25
    assert curve.at(0.0) == (1.0, 0.0)
    assert curve.at(0.95) == (0.0, 1.0)


def test_the_threshold_of_two_normal_distributions() -> None:
    genuine, impostor = GENERATOR.normal(0.7, 0.1, 4_000), GENERATOR.normal(0.3, 0.1, 4_000)
    result = find_threshold(trials(genuine, impostor), reliability_s=0.0)
    assert result.refusal == ""
    assert result.threshold == pytest.approx(0.5, abs=0.01)
    assert result.calibration is not None
    assert result.calibration.slope == pytest.approx(0.4 / 0.1**2, rel=0.1), "log-odds of two normal distributions"


@pytest.mark.parametrize(
    ("genuine", "impostor", "reason"),
    [
        (MIN_SCORES - 1, 500, f"{MIN_SCORES - 1} genuine scores, at least {MIN_SCORES} needed"),
        (500, 0, "enrol a second person"),
        (0, 0, "0 genuine scores"),
    ],
)
def test_too_few_scores_give_no_threshold(genuine: int, impostor: int, reason: str) -> None:
    result = find_threshold(trials(np.full(genuine, 0.9), np.full(impostor, 0.1)), reliability_s=0.0)
    assert reason in result.refusal
    assert result.calibration is None
    assert result.threshold is None


def test_overlapping_distributions_give_no_threshold_and_name_the_pair() -> None:
    result = find_threshold(
        trials(GENERATOR.normal(0.5, 0.1, 400), GENERATOR.normal(0.45, 0.1, 400)), reliability_s=0.0
    )
    assert "overlap too much (equal error rate " in result.refusal
    assert "Ann and Ben are confused most often" in result.refusal
    assert result.calibration is None
    assert result.threshold is None
    assert result.trade_off is not None, "the trade-off is shown all the same"


@pytest.mark.parametrize("cohort", [None, np.eye(4, dtype=np.float32)])
def test_a_fitted_calibration_is_applied(cohort: np.ndarray | None) -> None:
    applied = FittedCalibration(REF, (20.0, 0.6, 0.0), 0.6, 40, 40).applied(info(cohort))
    assert applied.calibration == (20.0, 0.6, 0.0)
    assert applied.threshold == (0.6 if cohort is None else 0.7), "an AS-norm score is no cosine"
