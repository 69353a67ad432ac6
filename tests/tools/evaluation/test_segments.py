"""RTTM, UEM, and segments derived from constructed events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import SettingsError
from stream.tools.evaluation.segments import (
    UNKNOWN,
    Segment,
    activity,
    clip,
    count_changes,
    final_segments,
    live_segments,
    map_speakers,
    merge_into_turns,
    read_rttm,
    read_uem,
)
from tests.tools.evaluation.event_builders import speaker_event, turn_event

SEGMENTS = st.lists(
    st.builds(
        lambda start, length, who: Segment(start / 10, (start + length) / 10, who),
        st.integers(0, 200),
        st.integers(1, 60),
        st.sampled_from(["A", "B", "C"]),
    ),
    max_size=12,
)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_rttm(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.rttm",
        "SPKR-INFO talk 1 <NA> <NA> <NA> unknown ann <NA>\n"
        "SPEAKER talk 1 2.5 1.0 <NA> <NA> bob <NA> <NA>\n"
        "SPEAKER talk 1 0 2 <NA> <NA> ann <NA> <NA>\n\n"
        "SPEAKER other 1 0 2 <NA> <NA> ann <NA>\n",
    )
    found = read_rttm(path)
    assert found["talk"] == [Segment(0.0, 2.0, "ann"), Segment(2.5, 3.5, "bob")]
    assert list(found) == ["talk", "other"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("SPEAKER talk 1 zero 2 <NA> <NA> ann\n", "line 1: invalid RTTM"),
        ("\nSPEAKER talk 1 0 2\n", "line 2: invalid RTTM"),
        ("SPEAKER talk 1 0 -2 <NA> <NA> ann\n", "line 1"),
        ("SPEAKER talk 1 nan 2 <NA> <NA> ann\n", "line 1"),
        ("SPEAKER talk 1 0 inf <NA> <NA> ann\n", "line 1"),
        ("path,speaker\n", "has no SPEAKER line"),
    ],
)
def test_invalid_rttm(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read_rttm(written(tmp_path / "x.rttm", text))
    with pytest.raises(SettingsError, match="cannot be read as RTTM"):
        read_rttm(tmp_path / "absent.rttm")


def test_uem(tmp_path: Path) -> None:
    path = written(tmp_path / "x.uem", ";; a comment\ntalk 1 0.5 9.5\n\nother NA 0 3\n")
    assert read_uem(path) == {"talk": (0.5, 9.5), "other": (0.0, 3.0)}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("talk 1 zero 9\n", "line 1: invalid UEM"),
        ("talk 1 0\n", "line 1: invalid UEM"),
        ("talk 1 0 4\ntalk 1 5 9\n", "line 2: talk needs exactly one part"),
        ("talk 1 4 4\n", "line 1: talk needs exactly one part"),
        ("", "is empty"),
    ],
)
def test_invalid_uem(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read_uem(written(tmp_path / "x.uem", text))
    with pytest.raises(SettingsError, match="cannot be read as UEM"):
        read_uem(tmp_path / "absent.uem")


def test_live_labels_last_until_the_next_event() -> None:
    events = [speaker_event(1.0, None), speaker_event(1.5, "S1"), speaker_event(2.0, "S1"), speaker_event(4.0, "")]
    assert live_segments(events, 9.0) == [Segment(1.0, 1.5, UNKNOWN), Segment(1.5, 2.0, "S1"), Segment(2.0, 4.0, "S1")]
    assert live_segments(events[:2], 9.0)[-1] == Segment(1.5, 9.0, "S1"), "the last label lasts to the end"
    assert live_segments([], 9.0) == []
    assert live_segments([turn_event(0.0, 1.0, "S1")], 9.0) == []


def test_final_segments_are_ended_turns() -> None:
    events = [turn_event(0.0, 1.0, "S1", phase="start"), turn_event(0.0, 2.0, "S1"), turn_event(2.0, 3.0, None)]
    assert final_segments(events) == [Segment(0.0, 2.0, "S1"), Segment(2.0, 3.0, UNKNOWN)]


def test_turns_join_over_short_pauses() -> None:
    spoken = [
        Segment(0.0, 2.0, "A"),
        Segment(2.4, 4.0, "A"),  # joined
        Segment(4.5, 6.0, "B"),
        Segment(6.2, 7.0, "A"),  # not joined: B starts between
        Segment(8.5, 9.0, "A"),  # not joined: the pause is too long
        Segment(9.5, 9.7, "B"),  # too short
    ]
    assert merge_into_turns(spoken) == [
        Segment(0.0, 4.0, "A"),
        Segment(4.5, 6.0, "B"),
        Segment(6.2, 7.0, "A"),
        Segment(8.5, 9.0, "A"),
    ]


def test_activity() -> None:
    grid = activity([Segment(0.01, 0.03, "A"), Segment(0.02, 0.09, "B"), Segment(0.0, 0.05, "C")], ["A", "B"], 0.05)
    assert grid.tolist() == [[False, True, True, False, False], [False, False, True, True, True]]


def test_changes_ignore_silence() -> None:
    assert count_changes([Segment(0, 1, "A"), Segment(5, 6, "A"), Segment(6, 7, "B"), Segment(8, 9, "A")]) == 2
    assert count_changes([]) == 0


def test_speakers_without_a_new_name_are_marked() -> None:
    renamed = map_speakers([Segment(0, 1, "S1"), Segment(1, 2, "S2")], {"S1": "ann"})
    assert [one.speaker for one in renamed] == ["ann", "~S2"]


@settings(deadline=None, max_examples=50)
@given(SEGMENTS, st.integers(0, 150), st.integers(1, 100))
def test_clipping_keeps_the_activity_inside(segments: list[Segment], start: int, length: int) -> None:
    start_s, end_s = start / 10, (start + length) / 10
    whole = activity(segments, ["A", "B", "C"], 30.0)
    part = activity(clip(segments, start_s, end_s), ["A", "B", "C"], 30.0)
    first, last = start * 10, (start + length) * 10
    assert np.array_equal(part[:, first:last], whole[:, first:last])
    assert part.sum() == part[:, first:last].sum()


@settings(deadline=None, max_examples=50)
@given(SEGMENTS)
def test_turns_cover_all_speech_and_add_no_onset(segments: list[Segment]) -> None:
    joined = merge_into_turns(segments, min_duration_s=0.0)
    spoken, covered = activity(segments, ["A", "B", "C"], 30.0), activity(joined, ["A", "B", "C"], 30.0)
    assert (covered | ~spoken).all()
    assert all(any(abs(turn.start_s - one.start_s) < 1e-9 for one in segments) for turn in joined)
