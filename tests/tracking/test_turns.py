"""Turn tracker: start and end events pair up, in order, and turns never overlap."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events import TurnBody
from stream.settings import TurnsSettings
from stream.tracking.turns import LEAD_SAMPLES, TurnTracker
from stream.types import SpeechSegment
from tests.tracking.speech import speech_spans

SECOND = 16_000
LEAD_S = LEAD_SAMPLES / SECOND


def tracker() -> TurnTracker:
    return TurnTracker(settings=TurnsSettings())


def run(
    tested: TurnTracker, start_s: float, end_s: float, speaker: str | None, *, known: bool = True
) -> list[TurnBody]:
    bodies = []
    for span in speech_spans(start_s, end_s):
        assert span.segment is not None
        if span.new_speech_samples:
            bodies += tested.observe(
                span.segment, speaker=speaker, known=known, speech_samples=span.new_speech_samples, changed_at=None
            )
        else:
            bodies += tested.pause(span.end_sample)
    return bodies


def test_a_turn_continues_across_a_short_pause_and_ends_with_its_speech() -> None:
    tested = tracker()
    bodies = run(tested, 0, 2, "A") + run(tested, 2.6, 4, "A") + tested.pause(6 * SECOND)
    assert [(turn.phase, turn.turn) for turn in bodies] == [("start", "t1"), ("end", "t1")]
    assert (bodies[-1].start_s, bodies[-1].end_s) == (0.0, 4.0)
    assert bodies[-1].speech_s == 3.4


def test_a_turn_begins_before_the_detector_is_sure_of_speech_but_not_before_the_turn_before_ended() -> None:
    tested = tracker()
    bodies = run(tested, 1, 2, "A") + tested.pause(3 * SECOND) + run(tested, 3.0, 4, "B") + tested.finish()
    assert [turn.start_s for turn in bodies if turn.phase == "start"] == pytest.approx([1 - LEAD_S, 3 - LEAD_S])
    tested = tracker()
    bodies = run(tested, 0, 2, "A") + tested.finish() + run(tested, 2 + LEAD_S / 2, 4, "B") + tested.finish()
    assert [turn.start_s for turn in bodies if turn.phase == "start"] == [0.0, 2.0]


def test_another_speaker_ends_a_turn() -> None:
    tested = tracker()
    bodies = run(tested, 0, 2, "A") + run(tested, 2.5, 4, "B") + tested.finish()
    assert [(turn.phase, turn.speaker, turn.end_s) for turn in bodies if turn.phase == "end"] == [
        ("end", "A", 2.0),
        ("end", "B", 4.0),
    ]


def test_a_speaker_change_within_a_segment_splits_it() -> None:
    tested, spans = tracker(), speech_spans(0, 6)
    bodies = []
    for place, span in enumerate(spans):
        assert span.segment is not None
        changed = int(2.5 * SECOND) if place == 6 else None
        speaker = "A" if place < 6 else "B"
        bodies += tested.observe(
            span.segment, speaker=speaker, known=True, speech_samples=span.new_speech_samples, changed_at=changed
        )
    bodies += tested.finish()
    ends = {turn.speaker: (turn.start_s, turn.end_s) for turn in bodies if turn.phase == "end"}
    assert ends == {"A": (0.0, 2.5), "B": (2.5, 6.0)}


def test_a_turn_is_dated_back_to_the_start_of_its_speech() -> None:
    tested = tracker()
    run(tested, 0, 1, None, known=False)
    bodies = run(tested, 0, 2, "A")
    assert bodies[0].start_s == 0.0


def test_speech_without_a_decision_joins_the_turn_before_it() -> None:
    tested = tracker()
    bodies = run(tested, 0, 2, "A") + run(tested, 2.5, 2.9, None, known=False) + tested.pause(5 * SECOND)
    assert bodies[-1].end_s == 2.9
    assert run(tested, 10, 10.4, None, known=False) + tested.finish() == []


def test_emotions_are_shares_of_their_own_turn() -> None:
    tested = tracker()
    run(tested, 0, 2, "A")
    tested.add_emotion("sad", 3 * SECOND)
    tested.add_emotion("happy", SECOND)
    run(tested, 2.5, 3.2, None, known=False)
    tested.add_emotion("angry", SECOND)  # of the current speech, whose speaker is not known yet
    bodies = run(tested, 2.5, 4, "B") + tested.finish()
    ends = {turn.speaker: turn for turn in bodies if turn.phase == "end"}
    assert ends["A"].emotions == {"sad": 0.75, "happy": 0.25}
    assert ends["A"].emotion == "sad"
    assert ends["B"].emotions == {"angry": 1.0}


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.floats(0.05, 3), st.floats(0.2, 4), st.sampled_from(["A", "B", None]), st.booleans()), max_size=12
    )
)
def test_turns_pair_up_and_never_overlap(script: list[tuple[float, float, str | None, bool]]) -> None:
    tested, now_s, bodies = tracker(), 0.0, []
    for pause_s, length_s, speaker, known in script:
        start_s = now_s + max(0.3, pause_s)
        now_s = start_s + length_s
        bodies += run(tested, start_s, now_s, speaker, known=known)
    bodies += tested.finish()
    assert [turn.phase for turn in bodies] == ["start", "end"] * (len(bodies) // 2)
    assert all(start.turn == end.turn for start, end in zip(bodies[::2], bodies[1::2], strict=True))
    ends = bodies[1::2]
    assert all(turn.start_s <= turn.end_s for turn in ends)
    assert all(before.end_s <= after.start_s for before, after in pairwise(ends))
    assert len({turn.turn for turn in ends}) == len(ends)


def test_a_pause_within_a_segment_ends_a_turn_and_the_next_starts_after_it() -> None:
    tested = tracker()
    segment = SpeechSegment(0, 2 * SECOND)
    bodies = tested.observe(segment, speaker="A", known=True, speech_samples=2 * SECOND, changed_at=None)
    bodies += tested.pause(4 * SECOND)  # longer than `pause_s`, shorter than a pause between segments
    resumed = SpeechSegment(0, 5 * SECOND)
    bodies += tested.observe(resumed, speaker="A", known=True, speech_samples=SECOND, changed_at=None) + tested.finish()
    spans = [(turn.start_s, turn.end_s) for turn in bodies if turn.phase == "end"]
    assert spans == [(0.0, 2.0), (4.0, 5.0)]


def test_a_change_beyond_the_end_of_the_turn_before_takes_no_more_speech_than_there_is() -> None:
    tested = tracker()
    tested.observe(SpeechSegment(0, 2 * SECOND), speaker="A", known=True, speech_samples=2 * SECOND, changed_at=None)
    longer = SpeechSegment(0, 3 * SECOND)  # 0.5 s of which is speech, and the change is 0.8 s after the turn's end
    bodies = tested.observe(
        longer, speaker="B", known=True, speech_samples=SECOND // 2, changed_at=2 * SECOND + SECOND * 4 // 5
    )
    bodies += tested.observe(
        SpeechSegment(0, 4 * SECOND), speaker="B", known=True, speech_samples=SECOND, changed_at=None
    )
    bodies += tested.finish()
    assert {turn.speaker: turn.speech_s for turn in bodies if turn.phase == "end"} == {"A": 2.5, "B": 1.0}


def test_short_turns_are_not_published() -> None:
    tested = TurnTracker(settings=TurnsSettings(min_s=2.0))
    assert run(tested, 0, 1.5, "A") + run(tested, 4, 5.5, "B") + tested.finish() == []
    assert [turn.phase for turn in run(tested, 10, 13, "A") + tested.finish()] == ["start", "end"]


steps = st.tuples(
    st.sampled_from(["speech", "pause", "new segment", "emotion", "finish"]),
    st.integers(600, 3 * SECOND),
    st.sampled_from(["A", "B", None]),
    st.booleans(),
    st.none() | st.integers(0, 3 * SECOND),
)


@pytest.mark.slow
@given(st.lists(steps, max_size=40))
def test_turns_pair_up_and_never_overlap_in_any_order_of_calls(script: list[Any]) -> None:
    tested, bodies, now, begin = tracker(), [], 0, 0
    for step, length, speaker, known, back in script:
        now += length
        if step == "new segment":
            begin = now
        elif step == "pause":
            bodies += tested.pause(now)
        elif step == "finish":
            bodies += tested.finish()
            begin = now  # the owner calls `finish` at a gap
        elif step == "emotion":
            tested.add_emotion("happy", length)
        else:
            bodies += tested.observe(
                SpeechSegment(begin, now),
                speaker=speaker,
                known=known,
                speech_samples=length,
                changed_at=None if back is None else now - back,
            )
    bodies += tested.finish()
    assert [turn.phase for turn in bodies] == ["start", "end"] * (len(bodies) // 2)
    for start, end in zip(bodies[::2], bodies[1::2], strict=True):
        assert (start.turn, start.start_s) == (end.turn, end.start_s)  # the end may name another speaker
        assert start.start_s <= end.end_s
        assert not start.emotions
    ends = bodies[1::2]
    assert all(before.end_s <= after.start_s for before, after in pairwise(ends))
    assert len({turn.turn for turn in ends}) == len(ends)
