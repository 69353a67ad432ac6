"""Scores of enrolled people, what follows from them, and when nothing does."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from stream.events import ModelRef
from stream.profiles.profile import EnrolledRecording, Exemplar, FittedCalibration, Profile
from stream.tools.calibration.scores import STRANGER, ScoreCollector, ScoreSet, scores
from stream.tools.calibration.threshold import LEAST, judge, trade_off
from stream.tracking.calibration import ScoreTrial
from stream.types import ModelInfo, Task

REF = ModelRef(name="m", revision="1")
DRAW = np.random.default_rng(5)


def info(cohort: np.ndarray | None = None) -> ModelInfo:
    return ModelInfo("m", "1", Task.SPEAKER, threshold=0.7, cohort=cohort)


def recording(person: int, windows: int = 12, *, noise: float = 0.15, model: ModelRef = REF) -> EnrolledRecording:
    """Windows of one voice: a direction of its own and noise."""
    vectors = np.eye(16, dtype=np.float32)[person] + DRAW.normal(0, noise, (windows, 16)).astype(np.float32)
    exemplars = tuple(Exemplar(vector, 1.5) for vector in vectors)
    return EnrolledRecording(model, "file", "a.wav", 0.8 * windows, exemplars)


def profile(name: str, *recordings: EnrolledRecording) -> Profile:
    return Profile(name, recordings, datetime.now(UTC), datetime.now(UTC))


def ann_and_ben(noise: float = 0.15) -> list[Profile]:
    return [
        profile(name, recording(at, noise=noise), recording(at, noise=noise)) for at, name in enumerate(("Ann", "Ben"))
    ]


def scored(genuine: np.ndarray, impostor: np.ndarray) -> list[ScoreSet]:
    return [ScoreSet(ScoreTrial(float(one), 1.5, 20.0, same=True), "Ann", "Ann") for one in genuine] + [
        ScoreSet(ScoreTrial(float(one), 1.5, 20.0, same=False), "Ann", "Ben") for one in impostor
    ]


def test_everybody_is_tested_against_themselves_and_everybody_else() -> None:
    found = scores(ann_and_ben(), info())
    kinds = {(one.profile, one.speaker): 0 for one in found}
    for one in found:
        kinds[one.profile, one.speaker] += 1
        assert one.trial.same == (one.profile == one.speaker)
    assert kinds == {("Ann", "Ann"): 24, ("Ben", "Ben"): 24, ("Ann", "Ben"): 24, ("Ben", "Ann"): 24}


def test_a_window_never_meets_itself() -> None:
    """Noise alone: whatever scores high against itself would give it away."""
    only_noise = [profile("Ann", recording(0, noise=50), recording(0, noise=50)), profile("Ben", recording(1, 3))]
    once = [profile("Ann", recording(0, noise=50))]
    for people in (only_noise, once):
        own = [one.trial.score for one in scores(people, info()) if one.speaker == one.profile == "Ann"]
        assert len(own) in (12, 24)
        assert max(own) < 0.95


def test_one_recording_is_tested_against_its_windows_that_share_no_sound() -> None:
    found = [one for one in scores([profile("Ann", recording(0))], info()) if one.trial.same]
    assert [one.trial.profile_s for one in found] == pytest.approx([8.0] + [7.2] * 10 + [8.0])
    assert all(one.one_recording for one in found)
    assert "Ann: known by one recording only" in judge(found, reliability_s=0.0).remarks[0]


def test_what_other_models_heard_counts_for_nothing() -> None:
    other = recording(0, model=ModelRef(name="m", revision="2"))
    assert scores([profile("Ann", other)], info()) == []


def test_strangers_stand_in_where_there_are_few_people() -> None:
    cohort = DRAW.normal(size=(50, 16)).astype(np.float32)
    cohort /= np.linalg.norm(cohort, axis=1, keepdims=True)
    found = scores(ann_and_ben(), info(cohort))
    strangers = [one for one in found if one.speaker == STRANGER]
    assert len(strangers) == 100
    assert not any(one.trial.same for one in strangers)
    many = [profile(f"P{at}", recording(at, 3)) for at in range(3)]
    assert not any(one.speaker == STRANGER for one in scores(many, info(cohort)))


def test_who_is_scored_stands_outside_of_the_cohort() -> None:
    """Else every stranger would be nearest to themselves, and look less like anybody else than they are."""
    cohort = np.eye(16, dtype=np.float32)
    voice = profile("Ann", recording(0)).voice(REF)
    assert voice is not None
    (apart,) = [
        one.trial.score
        for at, one in enumerate(ScoreCollector(info(cohort)).strangers([voice], speech_s=1.5))
        if at == 5
    ]
    within = ScoreCollector(info(cohort)).score(Exemplar(cohort[5], 1.5), voice, speaker=STRANGER)
    assert apart != pytest.approx(within.trial.score, abs=1e-3)


def test_a_test_at_the_microphone_counts_for_its_speaker() -> None:
    found = scores(ann_and_ben(), info(), extra=[("Ann", recording(0, 5))])
    assert len(found) == 4 * 24 + 10
    assert sum(one.trial.same for one in found) == 48 + 5


def test_the_trade_off_is_counted_by_hand() -> None:
    curve = trade_off(np.array([0.4, 0.6, 0.8, 0.9]), np.array([0.1, 0.2, 0.3, 0.5]))
    assert curve.at(0.5) == (0.25, 0.25)
    assert curve.eer == 0.25
    assert curve.at(0.0) == (1.0, 0.0)
    assert curve.at(0.95) == (0.0, 1.0)


def test_a_threshold_lies_between_and_probabilities_are_true() -> None:
    genuine, impostor = DRAW.normal(0.7, 0.1, 4_000), DRAW.normal(0.3, 0.1, 4_000)
    verdict = judge(scored(genuine, impostor), reliability_s=0.0)
    assert verdict.refusal == ""
    assert verdict.threshold == pytest.approx(0.5, abs=0.01)
    assert verdict.calibration is not None
    assert verdict.calibration.slope == pytest.approx(0.4 / 0.1**2, rel=0.1), "log-odds of two normal distributions"


@pytest.mark.parametrize(
    ("genuine", "impostor", "reason"),
    [
        (LEAST - 1, 500, f"there are {LEAST - 1} scores of a person against themselves"),
        (500, 0, "enrol a second person"),
        (0, 0, "there are 0 scores of a person"),
    ],
)
def test_too_little_is_refused(genuine: int, impostor: int, reason: str) -> None:
    verdict = judge(scored(np.full(genuine, 0.9), np.full(impostor, 0.1)), reliability_s=0.0)
    assert reason in verdict.refusal
    assert verdict.calibration is None
    assert verdict.threshold is None


def test_too_much_overlap_is_refused_by_name() -> None:
    verdict = judge(scored(DRAW.normal(0.5, 0.1, 400), DRAW.normal(0.45, 0.1, 400)), reliability_s=0.0)
    assert "overlap too much (equal error rate " in verdict.refusal
    assert "Ann and Ben are taken for each other most" in verdict.refusal
    assert verdict.calibration is None
    assert verdict.threshold is None
    assert verdict.trade_off is not None, "what was measured is shown all the same"


@pytest.mark.parametrize("cohort", [None, np.eye(4, dtype=np.float32)])
def test_a_calibration_is_taken_up(cohort: np.ndarray | None) -> None:
    applied = FittedCalibration(REF, (20.0, 0.6, 0.0), 0.6, 40, 40).applied(info(cohort))
    assert applied.calibration == (20.0, 0.6, 0.0)
    assert applied.threshold == (0.6 if cohort is None else 0.7), "a normalised score is no cosine"
