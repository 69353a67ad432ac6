"""Pairs, crops, trials and AS-norm with voices that are tones."""

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
    mean_vectors,
    crops,
    figures,
    extract_speech,
    gated_speech,
    trial_pairs,
    x_vector,
)
from stream.tracking.scoring import Cohort
from stream.types import SAMPLE_RATE_HZ, Task
from tests.support.tones import ToneModel, tone, wav

Maker = Callable[..., EvaluationRunner]
PITCHES = {"ann": 300.0, "bob": 1_300.0, "cat": 2_300.0}


def voiced(*, takes: int = 2, seconds: float = 4.0, corpus: str = "x") -> list[EmbeddedUtterance]:
    return [
        EmbeddedUtterance(f"{who}{take}", who, corpus, tone(hz, seconds, seed=take))
        for who, hz in PITCHES.items()
        for take in range(takes)
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 160_000), st.sampled_from([1.0, 1.5, 2.0, 3.0, 5.0]))
def test_crops_lie_side_by_side_and_are_never_much_too_short(length: int, duration_s: float) -> None:
    sound = np.arange(length, dtype=np.float32)
    found = crops(sound, duration_s)
    wanted = round(duration_s * SAMPLE_RATE_HZ)
    assert all(len(crop) == wanted for crop in found) or (len(found) == 1 and wanted * 3 // 4 <= length < wanted)
    if found:
        assert np.array_equal(np.concatenate(found), sound[: sum(map(len, found))])
    assert bool(found) == (length >= wanted * 3 // 4)


def test_all_there_is_asks_for_a_second_and_a_half() -> None:
    assert crops(np.zeros(23_999, np.float32), None) == []
    assert len(crops(np.zeros(24_000, np.float32), None)[0]) == 24_000


def test_long_speech_is_averaged_over_equal_parts() -> None:
    model = ToneModel(Task.SPEAKER)
    sound = tone(300, 25.0)
    whole = x_vector(model, sound)
    assert np.linalg.norm(whole) == pytest.approx(1.0, abs=1e-6)
    parts = [x_vector(model, part) for part in np.array_split(sound, 3)]
    assert np.allclose(whole, mean_vectors([parts])[0], atol=1e-6)


def test_silence_is_no_speech(make_runner: Maker) -> None:
    hearing = make_runner("speaker")
    silence = np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    both = np.concatenate((silence, tone(300, 3.0), silence))
    heard = gated_speech(both, hearing)
    assert abs(len(heard) / SAMPLE_RATE_HZ - 3.0) < 0.1
    assert len(gated_speech(silence, hearing)) == 0
    assert len(gated_speech(silence[:0], hearing)) == 0


def test_voices_apart_have_no_error_and_pairs_are_counted(make_runner: Maker) -> None:
    result = all_pairs(make_runner("speaker"), voiced(), cohort=None)
    found = figures(result)["corpora"]["x"]
    assert list(found) == ["1", "1.5", "2", "3", "5", "all"], "four seconds stand for five, a quarter too short"
    for row in found.values():
        assert row["eer"] == 0.0
        assert "as_norm" not in row
    # three people with two recordings: one pair each; of 15 pairs in all
    assert (found["all"]["pairs_same"], found["all"]["pairs_different"]) == (3, 12)
    # crops of one recording never meet: four by four for each person, and 3 * 8 * 8 across
    assert (found["1"]["pairs_same"], found["1"]["pairs_different"]) == (3 * 16, 3 * 64)


def test_people_of_two_corpora_never_meet(make_runner: Maker) -> None:
    both = [*voiced(corpus="x"), *voiced(corpus="y")]
    result = all_pairs(make_runner("speaker"), both, cohort=None, durations_s=(None,))
    assert {corpus: len(rows["all"].different) for corpus, rows in result.pairs.items()} == {"x": 12, "y": 12}
    assert result.recordings == 12


def test_as_norm_by_hand(make_runner: Maker) -> None:
    draw = np.random.default_rng(1)
    strangers = mean_vectors([[row] for row in np.abs(draw.normal(size=(60, 64)))])
    cohort, sounds = Cohort(strangers, nearest=40), voiced()
    hearing = make_runner("speaker")
    result = all_pairs(hearing, sounds, cohort=cohort, durations_s=(None,))
    pairs = result.pairs["x"]["all"]
    assert pairs.same_normalised is not None
    left, right = (x_vector(hearing.model(Task.SPEAKER), one.samples) for one in sounds[:2])
    wanted = 0.0
    for one in (left, right):
        nearest = np.sort(strangers @ one)[-40:]
        wanted += (left @ right - nearest.mean()) / (nearest.std() + 1e-3) / 2
    assert pairs.same_normalised[0] == pytest.approx(wanted, rel=1e-4)
    assert "as_norm" in figures(result)["corpora"]["x"]["all"]


@pytest.mark.parametrize("sounds", [[], voiced(takes=1), voiced()[:2], voiced(seconds=0.5)])
def test_without_a_pair_of_either_kind_there_is_nothing_to_score(make_runner: Maker, sounds: list[EmbeddedUtterance]) -> None:
    with pytest.raises(SettingsError, match="there is no pair to score"):
        all_pairs(make_runner("speaker"), sounds, cohort=None)


def recordings(folder: Path) -> dict[str, Path]:
    found = {
        f"{who}{take}": wav(folder / f"{who}{take}.wav", tone(hz, 3.0, seed=take))
        for who, hz in PITCHES.items()
        for take in range(2)
    }
    found["silence"] = wav(folder / "silence.wav", np.zeros(3 * SAMPLE_RATE_HZ, np.float32))
    return found


def test_recordings_are_heard_through_the_gate(make_runner: Maker, tmp_path: Path) -> None:
    paths = recordings(tmp_path)
    steps: list[int] = []
    one = Utterance((paths["ann0"], paths["silence"], paths["ann1"]), "ann", "", "x")
    found = extract_speech(make_runner("speaker"), [one, Utterance((paths["silence"],), "bob")], progress=lambda: steps.append(1))
    assert abs(len(found[0].samples) / SAMPLE_RATE_HZ - 6.0) < 0.1
    assert len(found[1].samples) == 0
    assert len(steps) == 2


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


def test_trials_of_one_kind_or_without_speech_are_refused(make_runner: Maker, tmp_path: Path) -> None:
    paths = recordings(tmp_path)
    same = VerificationTrial(same=True, enrolment=paths["ann0"], test=paths["ann1"])
    silent = VerificationTrial(same=False, enrolment=paths["ann0"], test=paths["silence"])
    with pytest.raises(SettingsError, match="1 of 2 trials had a recording without enough"):
        trial_pairs(make_runner("speaker"), [same, silent], cohort=None)
    with pytest.raises(SettingsError, match="needs trials of one person and of two"):
        trial_pairs(make_runner("speaker"), [silent], cohort=None)


def test_a_cohort_holds_one_vector_of_length_one_a_person() -> None:
    people = [[np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)], [np.array([3.0, 4.0], np.float32)]]
    assert np.allclose(mean_vectors(people), [[0.70710677, 0.70710677], [0.6, 0.8]])
