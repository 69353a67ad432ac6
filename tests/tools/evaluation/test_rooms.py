"""Walks through several rooms, and the score of the rooms that are published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stream.cli.main import app
from stream.errors import SettingsError
from stream.tools.evaluation.corpora import read_utterances
from stream.tools.evaluation.mixing import MixturePlan, SpeakerPool
from stream.tools.evaluation.room_accuracy import NODE, score, summary, walks_in
from stream.tools.evaluation.segments import Segment, read_rttm
from stream.tools.evaluation.walks import mix_walks
from stream.tracking.room_arbiter import Placement
from stream.types import SAMPLE_RATE_HZ
from tests.support.tones import tone, wav

pytestmark = pytest.mark.slow

PLAN = MixturePlan(seconds=40.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people with four recordings of six seconds each."""
    people = tmp_path_factory.mktemp("people")
    for who, hz in (("ann", 300.0), ("bob", 1_300.0)):
        for take in range(4):
            wav(people / who / f"{take}.wav", tone(hz, 6.0, seed=take))
    return people


def test_a_walk_is_loudest_where_the_person_is_and_reproducible(folder: Path) -> None:
    pool = SpeakerPool(read_utterances(folder))
    [walk] = mix_walks(pool, [], PLAN, rooms=3, count=1, seed=5)
    [again] = mix_walks(pool, [], PLAN, rooms=3, count=1, seed=5)
    assert walk.segments == again.segments
    assert all(np.array_equal(walk.microphones[room], again.microphones[room]) for room in walk.microphones)
    assert len({one.speaker for one in walk.segments}) > 1, "the person walks"
    assert set(walk.microphones) == {"room1", "room2", "room3"}
    right = 0
    for one in (longer := [one for one in walk.segments if one.end_s - one.start_s > 2.0]):
        span = slice(round(one.start_s * SAMPLE_RATE_HZ), round(one.end_s * SAMPLE_RATE_HZ))
        powers = {room: float(np.mean(np.square(samples[span]))) for room, samples in walk.microphones.items()}
        right += max(powers, key=powers.__getitem__) == one.speaker
    assert right >= len(longer) - 1
    with pytest.raises(SettingsError, match="add recordings"):
        mix_walks(SpeakerPool([]), [], PLAN, rooms=3, count=1, seed=5)


def test_the_command_writes_walks_that_the_evaluation_finds(folder: Path, tmp_path: Path) -> None:
    arguments = [
        "evaluate",
        "mix",
        str(folder),
        str(tmp_path),
        "--rooms",
        "2",
        "--conversations",
        "1",
        "--seconds",
        "20",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    reference = read_rttm(tmp_path / "rooms.rttm")
    assert set(walks_in(tmp_path, reference)["walk000"]) == {"room1", "room2"}
    with pytest.raises(SettingsError, match="walk001-ROOM"):
        walks_in(tmp_path, {"walk001": []})


def placed(room: str, since_s: float, name: str | None = "Ann") -> Placement:
    microphone = (NODE, room)
    return Placement(name, microphone, since_s, certain=True, lead_db=None, levels_dbfs=((microphone, -20.0),))


def test_the_score_counts_the_last_word_and_the_live_one() -> None:
    reference = [Segment(0.0, 4.0, "hall"), Segment(4.0, 8.0, "attic")]
    published = [
        (1.0, (placed("attic", 0.0),)),
        (2.0, (placed("hall", 0.0),)),  # corrects
        (5.0, (placed("attic", 5.0), placed("hall", 5.0, None))),
        (8.0, ()),
    ]
    figures = score("walk000", published, reference, "Ann")
    assert (figures.speech, figures.corrected, figures.missed) == (800, 700, 0)
    assert figures.live == 300 + 400 - 100, "hall from 1 s to 4 s; attic from 4 s on, until the silence a second early"
    assert (figures.moves, figures.changes, figures.waits_s) == (1, 2, (1.0,))
    assert figures.doubled == 300
    row = summary([figures])
    assert (row["right_room"], row["move_median_s"]) == (0.875, 1.0)
    assert summary([])["move_median_s"] is None
