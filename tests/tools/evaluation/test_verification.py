"""Pairs, crops, trials and AS-norm on tones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import SettingsError
from stream.tools.evaluation.corpora import Utterance, VerificationTrial
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tools.evaluation.verification import (
    EmbeddedUtterance,
    all_pairs,
    crops,
    extract_speech,
    figures,
    gated_speech,
    mean_vectors,
    trial_pairs,
    x_vector,
)
from stream.tracking.scoring import Cohort
from stream.types import SAMPLE_RATE_HZ, Task
from tests.support.tones import ToneModel, tone, wav

Maker = Callable[..., EvaluationRunner]
PITCHES = {"ann": 300.0, "bob": 1_300.0, "cat": 2_300.0}


def utterances(*, takes: int = 2, seconds: float = 4.0, corpus: str = "x") -> list[EmbeddedUtterance]:
    return [
        EmbeddedUtterance(f"{who}{take}", who, corpus, tone(hz, seconds, seed=take))
        for who, hz in PITCHES.items()
        for take in range(takes)
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 160_000), st.sampled_from([1.0, 1.5, 2.0, 3.0, 5.0]))
def test_crops_are_adjacent_and_at_most_a_quarter_too_short(length: int, duration_s: float) -> None:
    audio = np.arange(length, dtype=np.float32)
    found = crops(audio, duration_s)
    expected = round(duration_s * SAMPLE_RATE_HZ)
    assert all(len(crop) == expected for crop in found) or (len(found) == 1 and expected * 3 // 4 <= length < expected)
    if found:
        assert np.array_equal(np.concatenate(found), audio[: sum(map(len, found))])
    assert bool(found) == (length >= expected * 3 // 4)


def test_all_speech_needs_a_minimum() -> None:
    assert crops(np.zeros(23_999, np.float32), None) == []
    assert len(crops(np.zeros(24_000, np.float32), None)[0]) == 24_000


def test_long_speech_is_averaged_over_equal_parts() -> None:
    model = ToneModel(Task.SPEAKER)
    audio = tone(300, 25.0)
    whole = x_vector(model, audio)
    assert np.linalg.norm(whole) == pytest.approx(1.0, abs=1e-6)
    parts = [x_vector(model, part) for part in np.array_split(audio, 3)]
    assert np.allclose(whole, mean_vectors([parts])[0], atol=1e-6)


def test_silence_does_not_pass_the_gate(make_runner: Maker) -> None:
    runner = make_runner("speaker")
    silence = np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    both = np.concatenate((silence, tone(300, 3.0), silence))
    speech = gated_speech(both, runner)
    assert abs(len(speech) / SAMPLE_RATE_HZ - 3.0) < 0.1
    assert len(gated_speech(silence, runner)) == 0
    assert len(gated_speech(silence[:0], runner)) == 0


def test_separable_voices_have_no_error_and_pairs_are_counted(make_runner: Maker) -> None:
    result = all_pairs(make_runner("speaker"), utterances(), cohort=None)
    found = figures(result)["corpora"]["x"]
    assert list(found) == ["1", "1.5", "2", "3", "5", "all"], "four seconds count as five, a quarter too short"
    for row in found.values():
        assert row["eer"] == 0.0
        assert "as_norm" not in row
    # three people with two recordings: one pair each; of 15 pairs in all
    assert (found["all"]["pairs_same"], found["all"]["pairs_different"]) == (3, 12)
    # crops of one recording are not paired: four by four for each person, and 3 * 8 * 8 across
    assert (found["1"]["pairs_same"], found["1"]["pairs_different"]) == (3 * 16, 3 * 64)


def test_people_of_two_corpora_are_not_paired(make_runner: Maker) -> None:
    both = [*utterances(corpus="x"), *utterances(corpus="y")]
    result = all_pairs(make_runner("speaker"), both, cohort=None, durations_s=(None,))
    assert {corpus: len(rows["all"].different) for corpus, rows in result.pairs.items()} == {"x": 12, "y": 12}
    assert result.recordings == 12


def test_as_norm_by_hand(make_runner: Maker) -> None:
    draw = np.random.default_rng(1)
    others = mean_vectors([[row] for row in np.abs(draw.normal(size=(60, 64)))])
    cohort, voices = Cohort(others, nearest=40), utterances()
    runner = make_runner("speaker")
    result = all_pairs(runner, voices, cohort=cohort, durations_s=(None,))
    pairs = result.pairs["x"]["all"]
    assert pairs.same_normalised is not None
    left, right = (x_vector(runner.model(Task.SPEAKER), one.samples) for one in voices[:2])
    expected = 0.0
    for one in (left, right):
        nearest = np.sort(others @ one)[-40:]
        expected += (left @ right - nearest.mean()) / (nearest.std() + 1e-3) / 2
    assert pairs.same_normalised[0] == pytest.approx(expected, rel=1e-4)
    assert "as_norm" in figures(result)["corpora"]["x"]["all"]


@pytest.mark.parametrize("voices", [[], utterances(takes=1), utterances()[:2], utterances(seconds=0.5)])
def test_missing_pairs_are_rejected(make_runner: Maker, voices: list[EmbeddedUtterance]) -> None:
    with pytest.raises(SettingsError, match="no pair to score"):
        all_pairs(make_runner("speaker"), voices, cohort=None)


def recordings(folder: Path) -> dict[str, Path]:
    found = {
        f"{who}{take}": wav(folder / f"{who}{take}.wav", tone(hz, 3.0, seed=take))
        for who, hz in PITCHES.items()
        for take in range(2)
    }
    found["silence"] = wav(folder / "silence.wav", np.zeros(3 * SAMPLE_RATE_HZ, np.float32))
    return found


def test_speech_of_recordings_passes_the_gate(make_runner: Maker, tmp_path: Path) -> None:
    paths = recordings(tmp_path)
    steps: list[int] = []
    one = Utterance((paths["ann0"], paths["silence"], paths["ann1"]), "ann", "", "x")
    found = extract_speech(
        make_runner("speaker"), [one, Utterance((paths["silence"],), "bob")], progress=lambda: steps.append(1)
    )
    assert abs(len(found[0].samples) / SAMPLE_RATE_HZ - 6.0) < 0.1
    assert len(found[1].samples) == 0
    assert len(steps) == 2


@pytest.mark.slow
def test_trials(make_runner: Maker, tmp_path: Path) -> None:
    paths = recordings(tmp_path)
    listed = [
        VerificationTrial(same=True, enrolment=paths["ann0"], test=paths["ann1"]),
        VerificationTrial(same=False, enrolment=paths["ann0"], test=paths["bob0"]),
        VerificationTrial(same=False, enrolment=paths["cat0"], test=paths["bob1"]),
        VerificationTrial(same=True, enrolment=paths["bob0"], test=paths["silence"]),
    ]
    result = trial_pairs(make_runner("speaker"), listed, cohort=None)
    row = figures(result)["corpora"]["trials"]["all"]
    assert (row["pairs_same"], row["pairs_different"], row["eer"]) == (1, 2, 0.0)
    assert (result.recordings, result.without_speech) == (6, 1)
    cohort = Cohort(mean_vectors([[x] for x in np.abs(np.random.default_rng(2).normal(size=(50, 64)))]))
    assert "as_norm" in figures(trial_pairs(make_runner("speaker"), listed, cohort=cohort))["corpora"]["trials"]["all"]


def test_trials_of_one_kind_or_without_speech_are_rejected(make_runner: Maker, tmp_path: Path) -> None:
    paths = recordings(tmp_path)
    same = VerificationTrial(same=True, enrolment=paths["ann0"], test=paths["ann1"])
    silent = VerificationTrial(same=False, enrolment=paths["ann0"], test=paths["silence"])
    with pytest.raises(SettingsError, match="1 of 2 trials have a recording without enough speech"):
        trial_pairs(make_runner("speaker"), [same, silent], cohort=None)
    with pytest.raises(SettingsError, match="add trials of the same and of different speakers"):
        trial_pairs(make_runner("speaker"), [silent], cohort=None)


def test_a_cohort_has_one_unit_vector_per_person() -> None:
    people = [[np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)], [np.array([3.0, 4.0], np.float32)]]
    assert np.allclose(mean_vectors(people), [[0.70710677, 0.70710677], [0.6, 0.8]])
