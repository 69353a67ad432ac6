"""A conversation of real voices, mixed from labelled recordings outside the project."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import recorded_conversation as recorded
from scripts.recorded_conversation import CASTS, PLAN, Mix, Turn
from stream.tools.evaluation.segments import read_rttm
from stream.types import SAMPLE_RATE_HZ
from tests.support.command import run_command
from tests.support.requirements import labelled_audio

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made() -> Mix:
    labelled_audio()
    return recorded.mix(CASTS["readers"])


def test_equal_recordings_give_equal_samples(made: Mix) -> None:
    again = recorded.mix(CASTS["readers"])
    assert np.array_equal(again.samples, made.samples)
    assert again.turns == made.turns


@pytest.mark.parametrize("cast", CASTS)
def test_every_cast_fits_the_plan(cast: str) -> None:
    labelled_audio()
    made = recorded.mix(CASTS[cast])
    assert [turn.speaker for turn in made.turns] == [line.speaker for line in PLAN]
    assert 30 <= len(made.samples) / SAMPLE_RATE_HZ <= 60
    assert set(made.enrolments) == {"Alice", "Bob"}
    assert np.abs(made.samples).max() < 0.999
    gaps = [round(after.start_s - before.end_s, 3) for before, after in pairwise(made.turns)]
    assert gaps.count(0.0) == 1
    assert [gap for gap in gaps if gap < 0] == [-1.2]


def test_folders_inside_the_project_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["recorded_conversation", str(recorded.PROJECT / "stream" / "demo")])
    with pytest.raises(SystemExit, match="inside the project"):
        recorded.main()


def test_speakers_used_in_training_are_rejected() -> None:
    labelled_audio()
    with pytest.raises(SystemExit, match="takes part in training"):
        recorded.mix(CASTS["spellers"] | {"Bob": "an4_mblw"})


def test_the_bundled_models_name_the_people(made: Mix, tmp_path: Path) -> None:
    recorded.write(tmp_path, made)
    reference = read_rttm(tmp_path / "conversation.rttm")["conversation"]
    assert len(reference) == len(PLAN)
    people = [word for name in made.enrolments for word in ("--enroll", f"{name}={tmp_path / name}.flac")]
    done = run_command(
        "run", tmp_path / "conversation.flac", *people, "--profiles", "", "--set", "models.overlap.name=",
        "--set", "models.emotion.name=", "--sink", tmp_path / "events.ndjson", "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.errors
    events = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    named = [(turn.speaker, longest_label(turn, events)) for turn in made.turns]
    right = sum(label == name if name in made.enrolments else label.startswith("S") for name, label in named)
    assert right >= len(PLAN) - 1, named
    strangers = {name: {label for who, label in named if who == name} for name in ("Stranger 1", "Stranger 2")}
    assert not set.intersection(*strangers.values()), "the strangers count as one person"


def longest_label(turn: Turn, events: list[dict[str, Any]]) -> str:
    """Return the label that covers most of a turn of the reference, by the events' turns."""
    covered: defaultdict[str, float] = defaultdict(float)
    for event in events:
        if event["type"] == "turn" and event["phase"] == "end":
            shared_s = min(turn.end_s, event["end_s"]) - max(turn.start_s, event["start_s"])
            covered[str(event["speaker"])] += max(0.0, shared_s)
    return max(covered, key=covered.__getitem__)
