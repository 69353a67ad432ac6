"""The log: decisions with their time spans and explanations."""

from __future__ import annotations

from typing import get_args

import pytest

from stream.events import Candidate, Event, Identity, Reason, SpeakerResolvedBody
from stream.events.labels import REASON_LABELS
from stream.sinks.terminal.panel_state import PanelView
from stream.tools.replay.decisions import build_log, speaker_spans
from stream.tools.replay.explain import format_time
from stream.tools.replay.plot import ReplayedStream, render_strip
from tests.dashboard.scenes import Scene


def example_events() -> list[Event]:
    scene = Scene("room")
    return [
        scene.stream(),
        scene.speaker(None, 1.0, state="tentative", reason="too_short", score=None, runner_up=None, margin=None,
                      evidence_s=0.4),
        scene.speaker("S1", 2.0, probability=0.91, margin=0.05, runner_up="Bob"),
        scene.emotion("sad", 2.0, confidence=0.6),
        scene.speaker("S1", 3.0, probability=0.97, score=0.9),
        scene.emotion("sad", 3.0, confidence=0.8),
        *scene.turn(1, "S1", 0.6, 3.4, label="sad"),
        scene.speaker(None, 4.0, state="unknown", reason="below_threshold", runner_up=None, margin=None, score=0.2,
                      evidence_s=0.9),
        scene.event(
            SpeakerResolvedBody(start_s=0.6, end_s=5.0, previous="S1", speaker="Alice", enrolled=True, probability=0.93)
        ),
        scene.speaker("Alice", 5.0, enrolled=True),
        scene.speaker(None, 6.0),
        scene.stream("ended", 8.0),
    ]  # fmt: skip


NO_CLOSE_VOICE = (
    "00:04.0–00:05.0 ? unknown: no known voice is close enough; nearest voice at cosine 0.20 (threshold 0.45); "
    "0.9 s of speech"
)


def log_lines(**options: bool) -> list[str]:
    return [f"{line.when} {line.mark} {line.subject}: {line.text}" for line in build_log(example_events(), **options)]


def test_a_decision_spans_from_its_window_to_the_next_decision() -> None:
    spans = [(one.start_s, one.end_s, one.events[0].speaker) for one in speaker_spans(example_events(), 8.0)]
    assert spans == [(1, 2, None), (2, 4, "S1"), (4, 5, None), (5, 6, "Alice"), (6, 8, None)]


def test_everyone_who_speaks_is_named() -> None:
    scene = Scene("room")
    events = [
        scene.speaker("Alice", 1.0, others=("Bob",)),
        scene.speaker("Alice", 1.5, others=("Bob",)),
        scene.speaker("Alice", 2.0, others=(None,)),
        scene.speaker("Alice", 3.0),
        scene.stream("ended", 4.0),
    ]
    subjects = [line.subject for line in build_log(events)][:-1]
    assert subjects == ["Alice + Bob", "Alice + unknown", "Alice"]


def test_the_timeline_has_a_row_of_everyone_who_speaks() -> None:
    scene = Scene("room")
    events = (
        scene.speaker("Alice", 0.0),
        scene.speaker("Alice", 4.0, others=("Bob", None)),
        scene.speaker(None, 6.0, others=(None,)),
        scene.speaker(None, 8.0),
    )
    rows = [str(row) for row in render_strip(ReplayedStream("room", events, ()), PanelView(0.0, 8.0, 8))]
    assert [row[:17] for row in rows[:3]] == ["Alice    ████▚▚  ", "Bob          ▚▚  ", "overlap        ▚▚"]


def test_equal_decisions_are_one_line_with_the_range_of_their_figures() -> None:
    (line,) = [line for line in log_lines() if "● S1" in line]
    assert line == (
        "00:02.0–00:04.0 ● S1 (Alice): matches a known voice; probability 91 to 97 %; nearest voice at cosine "
        "0.78 to 0.90 (threshold 0.45); Bob 0.05 behind; 3.2 s of speech"
    )
    assert len([line for line in log_lines(fold=False) if "● S1" in line]) == 2


@pytest.mark.parametrize(
    "line",
    [
        "00:00.0 ▸ stream: stream started",
        "00:01.0–00:02.0 ◌ tentative: too little speech in the window; 0.4 s of speech",
        "00:02.0–00:08.0 ♪ S1: sounds sad, 60 to 80 %",
        "00:01.1 ▸ S1: turn t1 starts, backdated to 00:00.6",
        "00:03.4 ▸ S1: turn t1 ends, 2.8 s long, sad 75 %, neutral 25 %",
        NO_CLOSE_VOICE,
        "00:05.0 ↺ S1: is Alice, since 00:00.6: probability 93 %",
        "00:06.0–00:08.0 – silence: no speech",
        "00:08.0 ▸ stream: stream ended",
    ],
)  # fmt: skip
def test_every_event_has_a_line(line: str) -> None:
    assert line in log_lines()


def test_closed_set_candidates_are_marked_as_a_demonstration() -> None:
    scene = Scene("room")
    named = Identity(label="id1", probability=0.4, candidates=(Candidate(label="id1", probability=0.4),))
    (line,) = build_log([scene.speaker("S1", 1.0, identity=named), scene.stream("ended", 2.0)])[:1]
    assert line.text.endswith("; closed set (demonstration): id1 40 %")


def test_undecided_windows_name_the_nearest_voices() -> None:
    scene = Scene("room")
    unknown = scene.speaker(None, 1.0, state="unknown", reason="below_threshold", best="Alice")
    alike = scene.speaker(None, 2.0, state="tentative", reason="too_alike", best="Alice", runner_up="Alice2")
    texts = [line.text for line in build_log([unknown, alike, scene.stream("ended", 3.0)])]
    assert "nearest voice Alice at cosine" in texts[0]
    assert texts[1].startswith("two enrolled voices are too alike: 'Alice' or 'Alice2'; use `tonewatch profiles merge`")


def test_lines_are_in_order_of_media_time() -> None:
    starts = [line.start_s for line in build_log(example_events())]
    assert starts == sorted(starts)


def test_a_call_includes_both_parties() -> None:
    scene = Scene("desk", call=True)
    lines = build_log([
        scene.speaker("customer", 1.0, party="customer"),
        scene.speaker("agent", 1.5, party="agent"),
        scene.alert("a1", "dead_air", 9.0),
    ])  # fmt: skip
    assert [(line.subject, line.end_s, line.text) for line in lines] == [
        ("customer", 9.0, "the channel identifies the speaker"),
        ("agent", 9.0, "the channel identifies the speaker"),
        ("customer", 9.0, "alert raised: dead air"),
    ]


def test_every_reason_has_a_label() -> None:
    assert set(get_args(Reason)) <= set(REASON_LABELS)


@pytest.mark.parametrize(("at_s", "text"), [(0.04, "00:00.0"), (59.96, "01:00.0"), (3_723.4, "1:02:03.4")])
def test_time_format(at_s: float, text: str) -> None:
    assert format_time(at_s) == text
