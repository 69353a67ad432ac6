"""Calibration, fitted to scores with known labels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from stream.tracking.calibration import Calibration, ScoreTrial, fit


def trials(calibration: Calibration, count: int = 4_000) -> list[ScoreTrial]:
    """Return trials whose labels are drawn from the probabilities of a calibration."""
    draw = np.random.default_rng(3)
    made = []
    for _ in range(count):
        speech_s, profile_s, score = draw.uniform(0.5, 3), draw.choice([5.0, 20.0]), draw.normal(0.3, 0.4)
        odds = calibration.log_odds(np.array([score]), speech_s=speech_s, profile_s=np.array([profile_s]))[0]
        made.append(ScoreTrial(score, speech_s, profile_s, bool(draw.random() < 1 / (1 + np.exp(-odds)))))
    return made


def test_fit_recovers_a_calibration() -> None:
    true = Calibration(6.0, 0.4, 0.3)
    drawn = trials(true)
    found = fit(drawn).calibration
    assert found.slope == pytest.approx(6.0, rel=0.2)
    share = np.mean([one.same for one in drawn])
    odds = np.log(share / (1 - share))  # the fit assumes even prior odds
    assert found.threshold == pytest.approx(0.4 + odds / found.slope, abs=0.05)


def test_fit_equals_the_logistic_regression_of_scikit_learn() -> None:
    drawn = trials(Calibration(6.0, 0.4))
    found = fit(drawn, reliabilities_s=(0.0,)).calibration
    inputs = np.array([[one.score, 1.0] for one in drawn])
    same = np.array([one.same for one in drawn])
    weight = np.where(same, 0.5 / same.mean(), 0.5 / (1 - same.mean()))
    expected = LogisticRegression(C=1e6, fit_intercept=False).fit(inputs, same, sample_weight=weight).coef_[0]
    assert found.slope == pytest.approx(expected[0], rel=0.01)
    assert found.threshold == pytest.approx(-expected[1] / expected[0], abs=0.005)


@pytest.mark.parametrize("count", [5, 50, 500])
def test_separable_scores_do_not_yield_certainty(count: int) -> None:
    separable = [ScoreTrial(0.9, 2.0, 20.0, True), ScoreTrial(0.1, 2.0, 20.0, False)] * count
    found = fit(separable, reliabilities_s=(0.0,)).calibration
    assert found.threshold == pytest.approx(0.5, abs=0.01)
    probability = 1 / (1 + np.exp(-found.log_odds(np.array([0.9]), speech_s=2.0, profile_s=np.array([20.0]))[0]))
    assert probability == pytest.approx((count + 1) / (count + 2), abs=1e-3)


def test_little_speech_has_less_weight() -> None:
    calibration = Calibration(16.0, 0.5, 0.5)
    odds = [float(calibration.log_odds(np.array([0.6]), speech_s=s, profile_s=np.array([10.0]))[0]) for s in (0.5, 2.0)]
    even = calibration.score_at_even_odds(speech_s=0.5, profile_s=10.0)
    assert even < calibration.score_at_even_odds(speech_s=5.0, profile_s=10.0) < 0.5
    assert odds[0] > 0
    assert odds[1] > 0
