"""Mixed conversations: reproducible by seed, and with an exact reference."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stream.cli.main import app
from stream.errors import SettingsError
from stream.tools.evaluation.corpora import read_utterances
from stream.tools.evaluation.mixing import MixturePlan, SpeakerPool, mix, trim_silence, write
from stream.tools.evaluation.segments import read_rttm
from stream.types import SAMPLE_RATE_HZ
from tests.support.tones import tone, wav

pytestmark = pytest.mark.slow

PLAN = MixturePlan(seconds=15.0, people=2, enrolled=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three people, four recordings of six seconds each; a fourth with a single one."""
    for who, hz in (("ann", 300.0), ("bob", 1_300.0), ("cat", 2_300.0)):
        for take in range(4):
            wav(tmp_path / "people" / who / f"{take}.wav", tone(hz, 6.0, seed=take))
    wav(tmp_path / "people" / "dan" / "0.wav", tone(3_300.0, 25.0))
    return tmp_path / "people"


def test_equal_seeds_give_equal_mixtures(folder: Path) -> None:
    pool = SpeakerPool(read_utterances(folder))
    assert set(pool.people) == {"ann", "bob", "cat"}, "one recording is not enough to enrol"
    first, again, other = (mix(pool, [], PLAN, number=0, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.samples, again.samples)
    assert first.segments == again.segments
    assert not np.array_equal(first.samples, other.samples)
    assert len(first.samples) == 15 * SAMPLE_RATE_HZ
    assert np.abs(first.samples).max() <= 1.0
    assert len(first.enrolment) == 1
    assert {one.speaker for one in first.segments} <= set(pool.people)
    assert all(0.0 <= one.start_s < one.end_s <= 15.0 for one in first.segments)
    assert all(before.start_s <= after.start_s for before, after in pairwise(first.segments))


def test_noise_is_audible_in_pauses(folder: Path) -> None:
    pool = SpeakerPool(read_utterances(folder))
    noise = np.random.default_rng(0).normal(size=8_000).astype(np.float32)
    for number in range(3):
        mixed = mix(pool, [noise], PLAN, number=number, seed=1)
        start = round(mixed.segments[0].start_s * SAMPLE_RATE_HZ)
        assert start > 0
        assert np.abs(mixed.samples[:start]).max() > 0.0


def test_one_speaker_is_possible_and_too_few_are_rejected(folder: Path) -> None:
    pool = SpeakerPool(read_utterances(folder))
    alone = mix(pool, [], MixturePlan(seconds=12.0, people=1, enrolled=1), number=0, seed=1)
    assert len({one.speaker for one in alone.segments}) == 1
    with pytest.raises(SettingsError, match="3 people have two recordings and 20 s of audio, 4 needed"):
        mix(pool, [], MixturePlan(people=4), number=0, seed=1)


def test_trimming_keeps_a_little_silence() -> None:
    silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
    found = trim_silence(np.concatenate((silence, tone(300, 1.0), silence)))
    assert 1.0 <= len(found) / SAMPLE_RATE_HZ <= 1.1
    assert len(trim_silence(silence[:100])) == 100


def test_written_files_match_the_mixture(folder: Path, tmp_path: Path) -> None:
    mixture = mix(SpeakerPool(read_utterances(folder)), [], PLAN, number=7, seed=1)
    write([mixture], tmp_path / "out")
    found = read_rttm(tmp_path / "out" / "reference.rttm")
    assert list(found) == ["mix007"]
    assert [one.speaker for one in found["mix007"]] == [one.speaker for one in sorted(mixture.segments)]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.flac")) == sorted(
        ["mix007.flac", *(f"{name}.flac" for name in mixture.enrolment)]
    )
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        write([mixture], tmp_path / "file" / "out")


def test_the_command_and_its_errors(folder: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("ann\nbob\n")
    words = ["evaluate", "mix", str(folder), str(tmp_path / "out"), "--conversations", "1", "--seconds", "12"]
    result = CliRunner().invoke(app, [*words, "--people", "1-2", "--enrolled", "1", "--speakers", str(names)])
    assert result.exit_code == 0, result.stderr
    assert "1 conversations of 12 s" in result.stdout
    for more, sentence in (
        (["--people", "many"], "invalid --people 'many'; use a number or a range such as 2-5"),
        (["--people", "5-2"], "invalid --people '5-2'"),
        (["--people", "9"], "9 needed"),
        (["--speakers", str(tmp_path / "absent.txt")], "absent.txt cannot be read"),
    ):
        rejected = CliRunner().invoke(app, [*words, *more])
        assert rejected.exit_code == 2
        assert sentence in rejected.stderr
        assert rejected.stderr.strip().count("\n") == 0
