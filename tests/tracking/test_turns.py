"""Turns: paired, in order, never two at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream.events import TurnBody
from stream.settings import TurnsSettings
from stream.tracking.turns import TurnTracker
from stream.types import SpeechSegment
from tests.tracking.speech import talk

SECOND = 16_000


def keeper() -> TurnTracker:
    return TurnTracker(settings=TurnsSettings())


def hear(tested: TurnTracker, start_s: float, end_s: float, who: str | None, *, known: bool = True) -> list[TurnBody]:
    told = []
    for cut in talk(start_s, end_s):
        assert cut.stretch is not None
        if cut.fresh_samples:
            told += tested.hear(
                cut.stretch, speaker=who, known=known, speech_samples=cut.fresh_samples, changed_at=None
            )
        else:
            told += tested.pause(cut.end_sample)
    return told


def test_a_turn_goes_on_across_a_short_pause_and_ends_where_its_speech_did() -> None:
    tested = keeper()
    told = hear(tested, 0, 2, "A") + hear(tested, 2.6, 4, "A") + tested.pause(6 * SECOND)
    assert [(turn.phase, turn.turn) for turn in told] == [("start", "t1"), ("end", "t1")]
    assert (told[-1].start_s, told[-1].end_s) == (0.0, 4.0)
    assert told[-1].speech_s == 3.4


def test_another_speaker_ends_it() -> None:
    tested = keeper()
    told = hear(tested, 0, 2, "A") + hear(tested, 2.5, 4, "B") + tested.finish()
    assert [(turn.phase, turn.speaker, turn.end_s) for turn in told if turn.phase == "end"] == [
        ("end", "A", 2.0),
        ("end", "B", 4.0),
    ]


def test_a_takeover_within_a_stretch_is_cut_where_the_voice_changed() -> None:
    tested, cuts = keeper(), talk(0, 6)
    told = []
    for place, cut in enumerate(cuts):
        assert cut.stretch is not None
        changed = int(2.5 * SECOND) if place == 6 else None
        who = "A" if place < 6 else "B"
        told += tested.hear(cut.stretch, speaker=who, known=True, speech_samples=cut.fresh_samples, changed_at=changed)
    told += tested.finish()
    ends = {turn.speaker: (turn.start_s, turn.end_s) for turn in told if turn.phase == "end"}
    assert ends == {"A": (0.0, 2.5), "B": (2.5, 6.0)}


def test_speech_is_dated_back_to_where_it_began() -> None:
    tested = keeper()
    hear(tested, 0, 1, None, known=False)
    told = hear(tested, 0, 2, "A")
    assert told[0].start_s == 0.0


def test_a_word_that_stays_nobodys_joins_the_turn_before_it() -> None:
    tested = keeper()
    told = hear(tested, 0, 2, "A") + hear(tested, 2.5, 2.9, None, known=False) + tested.pause(5 * SECOND)
    assert told[-1].end_s == 2.9
    assert hear(tested, 10, 10.4, None, known=False) + tested.finish() == []


def test_emotions_are_shares_of_the_turn_and_do_not_bleed() -> None:
    tested = keeper()
    hear(tested, 0, 2, "A")
    tested.feel("sad", 3 * SECOND)
    tested.feel("happy", SECOND)
    hear(tested, 2.5, 3.2, None, known=False)
    tested.feel("angry", SECOND)  # of whoever speaks now, who is not known yet
    told = hear(tested, 2.5, 4, "B") + tested.finish()
    ends = {turn.speaker: turn for turn in told if turn.phase == "end"}
    assert ends["A"].emotions == {"sad": 0.75, "happy": 0.25}
    assert ends["A"].emotion == "sad"
    assert ends["B"].emotions == {"angry": 1.0}


@given(
    st.lists(
        st.tuples(st.floats(0.05, 3), st.floats(0.2, 4), st.sampled_from(["A", "B", None]), st.booleans()), max_size=12
    )
)
def test_turns_pair_up_and_never_overlap(script: list[tuple[float, float, str | None, bool]]) -> None:
    tested, now_s, told = keeper(), 0.0, []
    for pause_s, length_s, who, known in script:
        start_s = now_s + max(0.3, pause_s)
        now_s = start_s + length_s
        told += hear(tested, start_s, now_s, who, known=known)
    told += tested.finish()
    assert [turn.phase for turn in told] == ["start", "end"] * (len(told) // 2)
    assert all(start.turn == end.turn for start, end in zip(told[::2], told[1::2], strict=True))
    ends = told[1::2]
    assert all(turn.start_s <= turn.end_s for turn in ends)
    assert all(before.end_s <= after.start_s for before, after in pairwise(ends))
    assert len({turn.turn for turn in ends}) == len(ends)


def test_a_pause_within_a_stretch_can_end_a_turn_and_the_next_begins_behind_it() -> None:
    tested = keeper()
    stretch = SpeechSegment(0, 2 * SECOND)
    told = tested.hear(stretch, speaker="A", known=True, speech_samples=2 * SECOND, changed_at=None)
    told += tested.pause(4 * SECOND)  # longer than a turn's pause, shorter than what parts stretches
    resumed = SpeechSegment(0, 5 * SECOND)
    told += tested.hear(resumed, speaker="A", known=True, speech_samples=SECOND, changed_at=None) + tested.finish()
    spans = [(turn.start_s, turn.end_s) for turn in told if turn.phase == "end"]
    assert spans == [(0.0, 2.0), (4.0, 5.0)]


def test_short_turns_are_not_told() -> None:
    tested = TurnTracker(settings=TurnsSettings(min_s=2.0))
    assert hear(tested, 0, 1.5, "A") + hear(tested, 4, 5.5, "B") + tested.finish() == []
    assert [turn.phase for turn in hear(tested, 10, 13, "A") + tested.finish()] == ["start", "end"]


steps = st.tuples(
    st.sampled_from(["speech", "pause", "new stretch", "feel", "finish"]),
    st.integers(600, 3 * SECOND),
    st.sampled_from(["A", "B", None]),
    st.booleans(),
    st.none() | st.integers(0, 3 * SECOND),
)


@given(st.lists(steps, max_size=40))
def test_whatever_is_heard_turns_pair_up_and_never_overlap(script: list[Any]) -> None:
    tested, told, now, begin = keeper(), [], 0, 0
    for step, length, who, known, back in script:
        now += length
        if step == "new stretch":
            begin = now
        elif step == "pause":
            told += tested.pause(now)
        elif step == "finish":
            told += tested.finish()
            begin = now  # the owner finishes where sound breaks off
        elif step == "feel":
            tested.feel("happy", length)
        else:
            told += tested.hear(
                SpeechSegment(begin, now),
                speaker=who,
                known=known,
                speech_samples=length,
                changed_at=None if back is None else now - back,
            )
    told += tested.finish()
    assert [turn.phase for turn in told] == ["start", "end"] * (len(told) // 2)
    for start, end in zip(told[::2], told[1::2], strict=True):
        assert (start.turn, start.start_s, start.speaker) == (end.turn, end.start_s, end.speaker)
        assert start.start_s <= end.end_s
        assert not start.emotions
    ends = told[1::2]
    assert all(before.end_s <= after.start_s for before, after in pairwise(ends))
    assert len({turn.turn for turn in ends}) == len(ends)
