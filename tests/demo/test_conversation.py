"""The bundled conversation: its properties, its files generated again, and what the bundled models make of it."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from scripts import conversation
from scripts.conversation import CAST, PLAN, Mix
from stream.cli.options import demo_people
from stream.demo.conversation import AUDIO, ENROLMENTS, PROFILES, REFERENCE_RTTM, ReferenceTurn, turns
from stream.profiles import transfer
from stream.profiles.store import read_profiles
from stream.settings import load
from stream.tools.evaluation.segments import read_rttm
from tests.support.command import run_command
from tests.support.demo import DemoRun
from tests.support.requirements import labelled_audio
from tests.support.small_models import TINY

pytestmark = pytest.mark.slow

MAX_AUDIO_BYTES = 1_500_000
MODELS = ("speaker-campplus", "compact-speaker")


@pytest.fixture(scope="module")
def made() -> Mix:
    labelled_audio()
    return conversation.mix(CAST)


def test_length_format_and_speakers() -> None:
    about = soundfile.info(AUDIO)
    assert (about.samplerate, about.channels) == (16_000, 1)
    assert 35 <= about.duration <= 60
    assert sum(path.stat().st_size for path in AUDIO.parent.glob("*.flac")) <= MAX_AUDIO_BYTES
    assert {turn.speaker for turn in turns()} == {"Alice", "Bob", "Stranger_1", "Stranger_2"}


def test_one_overlap_and_one_change_without_a_pause() -> None:
    gaps = [round(after.start_s - before.end_s, 3) for before, after in pairwise(turns())]
    assert [gap for gap in gaps if gap < 0] == [-1.2]
    assert gaps.count(0.0) == 1
    assert sum(gap >= 0.4 for gap in gaps) == len(gaps) - 2


def test_the_rttm_is_read_alike() -> None:
    read = read_rttm(REFERENCE_RTTM)[AUDIO.stem]
    for segment, turn in zip(read, turns(), strict=True):
        assert (segment.speaker, segment.start_s) == (turn.speaker, turn.start_s)
        assert segment.end_s == pytest.approx(turn.end_s)


def test_speech_matches_the_reference() -> None:
    audio, rate = soundfile.read(AUDIO)
    spoken = np.zeros(len(audio), bool)
    for turn in turns():
        spoken[int(turn.start_s * rate) : int(turn.end_s * rate)] = True
    assert np.abs(audio).max() < 0.999
    assert np.sqrt((audio[spoken] ** 2).mean()) > 20 * np.sqrt((audio[~spoken] ** 2).mean())


@pytest.mark.long
def test_the_conversation_can_be_generated_again(made: Mix, tmp_path: Path) -> None:
    conversation.write(tmp_path, made)
    for path in (AUDIO, *ENROLMENTS.values()):
        assert np.array_equal(soundfile.read(tmp_path / path.name)[0], soundfile.read(path)[0]), path.name
    assert (tmp_path / REFERENCE_RTTM.name).read_text() == REFERENCE_RTTM.read_text()
    for again, kept in zip(transfer.read(tmp_path / PROFILES.name), transfer.read(PROFILES), strict=True):
        assert (again.name, again.models) == (kept.name, kept.models)
        for ours, theirs in zip(again.recordings, kept.recordings, strict=True):
            assert ours.speech_s == theirs.speech_s
            for one, other in zip(ours.exemplars, theirs.exemplars, strict=True):
                np.testing.assert_allclose(one.vector, other.vector, atol=1e-3)  # processors round differently


def test_profiles_are_for_the_bundled_models() -> None:
    profiles = transfer.read(PROFILES)
    assert [profile.name for profile in profiles] == list(ENROLMENTS)
    for profile in profiles:
        assert [model.name for model in profile.models] == list(MODELS)


@pytest.mark.long
def test_equal_recordings_give_equal_samples(made: Mix) -> None:
    again = conversation.mix(CAST)
    assert np.array_equal(again.samples, made.samples)
    assert [turn.speaker for turn in again.turns] == [line.speaker for line in PLAN]


def test_speakers_used_in_training_are_rejected() -> None:
    labelled_audio()
    with pytest.raises(SystemExit, match="takes part in training"):
        conversation.mix(CAST | {"Bob": "an4_mblw"})


@pytest.mark.long
def test_the_demo_names_the_people(demo_process: DemoRun) -> None:
    assert demo_process.code == 0
    assert demo_process.errors.split(maxsplit=1)[0] == "demo", "the profiles fit the speaker model: only the summary"
    assert_people_named(demo_process.lines, wrong=1)


@pytest.mark.long
def test_the_demo_names_the_people_with_the_small_nets(tmp_path: Path) -> None:
    done = run_command("demo", "--quiet", "--sink", tmp_path / "events.ndjson", *TINY)
    assert (done.code, done.errors) == (0, ""), "the profiles fit the speaker model"
    assert_people_named((tmp_path / "events.ndjson").read_text().splitlines(), wrong=2)


def assert_people_named(lines: list[str], *, wrong: int) -> None:
    """Fail if more than `wrong` turns of the reference have another label than their speaker."""
    events = [json.loads(line) for line in lines]
    named = [(turn.speaker, longest_label(turn, events)) for turn in turns()]
    right = sum(label == name if name in ENROLMENTS else label.startswith("S") for name, label in named)
    assert right >= len(named) - wrong, named
    strangers = [{label for who, label in named if who == name} for name in ("Stranger_1", "Stranger_2")]
    assert not set.intersection(*strangers), "the strangers count as one person"


def test_another_speaker_model_enrols_from_the_recordings() -> None:
    settings = load(flags={"models": {"speaker": {"name": "speaker-wavlm"}}})
    with demo_people(settings) as used:
        assert used.speakers.enrolled == {name: str(path) for name, path in ENROLMENTS.items()}
        assert used.speakers.profiles == ""


@pytest.mark.parametrize(
    "flags",
    [
        {"speakers": {"profiles": ""}},
        {"speakers": {"enrolled": {"Carol": "carol.wav"}}},
        {"models": {"speaker": {"name": ""}}},
    ],
    ids=["profiles", "enrolled", "model"],
)
def test_the_settings_may_name_other_people_or_none(flags: dict[str, Any]) -> None:
    settings = load(flags=flags)
    with demo_people(settings) as used:
        assert used is settings


def test_the_profiles_are_in_a_file_that_goes_with_the_run() -> None:
    with demo_people(load()) as used:
        path = Path(used.speakers.profiles)
        assert [profile.name for profile in read_profiles(path)] == list(ENROLMENTS)
    assert not path.parent.exists()


def longest_label(turn: ReferenceTurn, events: list[dict[str, Any]]) -> str:
    """Return the label that covers most of a turn of the reference, by the events' turns."""
    covered: defaultdict[str, float] = defaultdict(float)
    for event in events:
        if event["type"] == "turn" and event["phase"] == "end":
            shared_s = min(turn.end_s, event["end_s"]) - max(turn.start_s, event["start_s"])
            covered[str(event["speaker"])] += max(0.0, shared_s)
    return max(covered, key=covered.__getitem__)
