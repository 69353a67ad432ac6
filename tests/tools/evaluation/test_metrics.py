"""Metrics against values computed by hand, and properties that hold for any scores."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.tools.evaluation.metrics import Detection, calibration_error, detection, reliability

SCORES = st.lists(st.integers(-20, 20), min_size=1, max_size=40)


def figures_of(same: Any, different: Any) -> Detection:
    return detection(np.array(same, dtype=float), np.array(different, dtype=float))


def test_separable_scores_have_no_error() -> None:
    found = figures_of([0.8, 0.9], [0.1, 0.2, 0.3])
    assert (found.eer, found.min_dcf) == (0.0, 0.0)
    assert found.eer_threshold == 0.8
    assert set(found.misses_at_far.values()) == {0.0}
    assert (found.pairs_same, found.pairs_different) == (2, 3)


def test_one_error_of_four_on_each_side_is_an_eer_of_a_quarter() -> None:
    found = figures_of([0.9, 0.8, 0.7, 0.2], [0.1, 0.1, 0.1, 0.75])
    assert found.eer == pytest.approx(0.25)
    assert 0.2 < found.eer_threshold <= 0.7


def test_min_dcf_by_hand() -> None:
    # at 0.75: misses 1/4, no alarm: 0.01 * 0.25 / 0.01
    assert figures_of([0.9, 0.8, 0.75, 0.2], [0.1, 0.1, 0.7]).min_dcf == pytest.approx(0.25)
    # one alarm in 1,000 for the last fourth: 0.99 * 0.001 / 0.01 is cheaper than 0.25
    assert figures_of([0.9, 0.8, 0.75, 0.2], [0.5] + [0.1] * 999).min_dcf == pytest.approx(0.099)


def test_swapped_scores_are_all_error() -> None:
    found = figures_of([0.0, 0.1], [0.8, 0.9])
    assert found.eer == 1.0
    assert found.min_dcf == 1.0, "rejecting everyone costs 1"


def test_thresholds_at_false_accept_rates_by_hand() -> None:
    found = figures_of([95.5, 99.5, 100.5, 50.0], np.arange(1, 101))
    assert set(found.thresholds_at_far) == {"0.001", "0.01", "0.05"}
    assert found.thresholds_at_far["0.01"] == 99.5, "the lowest threshold that accepts 1 of 100"
    assert found.misses_at_far["0.01"] == 0.5
    assert found.thresholds_at_far["0.05"] == 95.5 or found.thresholds_at_far["0.05"] == 96.0
    assert found.misses_at_far["0.001"] == 0.75


def test_the_threshold_is_finite_if_an_impostor_scores_highest() -> None:
    found = figures_of([0.1, 0.2], [0.9, 0.0])
    assert found.thresholds_at_far["0.01"] > 0.9
    assert found.misses_at_far["0.01"] == 1.0
    assert "Infinity" not in json.dumps(found.thresholds_at_far)


@settings(deadline=None, max_examples=30)
@given(SCORES, SCORES)
def test_properties_of_any_scores(same: list[int], different: list[int]) -> None:
    found = figures_of(same, different)
    assert 0.0 <= found.eer <= 1.0
    assert 0.0 <= found.min_dcf <= 1.0
    assert isfinite(found.eer_threshold)
    for rate, threshold in found.thresholds_at_far.items():
        assert isfinite(threshold)
        assert np.mean(np.array(different) >= threshold) <= float(rate)
        assert found.misses_at_far[rate] == pytest.approx(np.mean(np.array(same) < threshold))
    rising = [found.thresholds_at_far[rate] for rate in ("0.05", "0.01", "0.001")]
    assert rising == sorted(rising)


@settings(deadline=None, max_examples=30)
@given(SCORES, SCORES, st.integers(1, 9), st.integers(-50, 50))
def test_scale_and_offset_of_scores_do_not_matter(same: list[int], different: list[int], by: int, off: int) -> None:
    plain, moved = figures_of(same, different), figures_of(np.array(same) * by + off, np.array(different) * by + off)
    assert moved.eer == pytest.approx(plain.eer)
    assert moved.min_dcf == pytest.approx(plain.min_dcf)


def test_calibration_error_by_hand() -> None:
    # four answers at 0.9, three of them right; two at 0.6, one right
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    truth = np.array([0, 0, 0, 1, 1, 0])
    bins = reliability(probabilities, truth)
    assert [(round(one.share, 3), one.accuracy) for one in bins] == [(0.333, 0.5), (0.667, 0.75)]
    assert calibration_error(probabilities, truth) == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.1)


def test_certain_and_correct_is_calibrated() -> None:
    assert calibration_error(np.eye(4), np.arange(4)) == 0.0
    assert calibration_error(np.eye(4), (np.arange(4) + 1) % 4) == 1.0
    assert calibration_error(np.zeros((0, 4)), np.zeros(0, dtype=np.int64)) == 0.0


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_the_bins_cover_all_predictions(count: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet(np.ones(4), size=count)
    bins = reliability(probabilities, draw.integers(0, 4, size=count))
    assert sum(one.share for one in bins) == pytest.approx(1.0)
    assert all(0.25 <= one.confidence <= 1.0 and 0.0 <= one.accuracy <= 1.0 for one in bins)
