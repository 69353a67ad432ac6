"""Floor of a call: times add up, and spans may be split in any way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.calls.floor import PARTIES, FloorTracker
from stream.events import Party
from stream.settings import CallsSettings

SECOND = 16_000
SETTINGS = CallsSettings()

spans = st.lists(
    st.tuples(st.integers(1, 3 * SECOND), st.sets(st.sampled_from(PARTIES))),
    max_size=20,
)


def floor(*script: tuple[float, str]) -> FloorTracker:
    """Advance by seconds each: `c` customer speaks, `a` agent, `ca` both, `` neither."""
    made, at = FloorTracker(settings=SETTINGS), 0
    for length_s, speakers in script:
        at += round(length_s * SECOND)
        speaking: list[Party] = [party for party in PARTIES if party[0] in speakers]
        made.advance(at, speaking)
    return made


def state(tested: FloorTracker) -> object:
    return (
        tested.durations,
        tested.figures,
        tested.longest_silence,
        tested.current_silence,
        [tested.monologue(party) for party in PARTIES],
    )


@pytest.mark.slow
@given(script=spans)
def test_every_sample_is_one_party_silence_or_crosstalk(script: list[tuple[int, set[Party]]]) -> None:
    tested = FloorTracker(settings=SETTINGS)
    for length, speaking in script:
        tested.advance(tested.position + length, speaking)
    assert sum(tested.durations.values()) == tested.position == sum(length for length, _ in script)
    for party in PARTIES:
        assert tested.figures[party].speech == tested.durations[party] + tested.durations["crosstalk"]
    interrupted = sum(tested.figures[party].interrupting for party in PARTIES)
    assert interrupted <= tested.durations["crosstalk"]
    assert tested.longest_silence >= tested.current_silence


@pytest.mark.slow
@settings(deadline=None)  # many pieces
@given(script=spans, sizes=st.lists(st.integers(SECOND // 20, SECOND), min_size=1, max_size=8))
def test_spans_may_be_split_in_any_way(script: list[tuple[int, set[Party]]], sizes: list[int]) -> None:
    whole, pieces, turn = FloorTracker(settings=SETTINGS), FloorTracker(settings=SETTINGS), 0
    for length, speaking in script:
        end = whole.position + length
        whole.advance(end, speaking)
        while pieces.position < end:
            pieces.advance(min(end, pieces.position + sizes[turn % len(sizes)]), speaking)
            turn += 1
    assert state(whole) == state(pieces)


def test_a_turn_needs_speech_alone_and_is_dated_back_to_its_utterance() -> None:
    tested = floor((2, "c"), (0.3, "ca"), (2, "a"), (0.3, "ca"), (1, "a"))
    assert [tested.figures[party].turns for party in PARTIES] == [1, 1]
    assert tested.monologue("agent") == round(3.6 * SECOND), (
        "from the start of the utterance, a short backchannel included"
    )
    assert tested.monologue("customer") == 0
    assert tested.figures["customer"].longest_monologue == round(2.3 * SECOND)


def test_a_short_answer_does_not_take_the_floor() -> None:
    tested = floor((3, "a"), (0.2, ""), (0.4, "c"), (0.2, ""), (3, "a"))
    assert [tested.figures[party].turns for party in PARTIES] == [0, 1]
    assert tested.monologue("agent") == round(6.8 * SECOND)


def test_a_long_silence_frees_the_floor() -> None:
    tested = floor((3, "a"), (2.5, ""), (3, "a"))
    assert tested.figures["agent"].turns == 2
    assert tested.figures["agent"].longest_monologue == 3 * SECOND
    assert floor((3, "a"), (1.0, "")).monologue("agent") == 3 * SECOND
    assert floor((3, "a"), (2.5, "")).monologue("agent") == 0


def test_the_party_that_starts_later_interrupts() -> None:
    tested = floor((2, "a"), (0.6, "ca"), (1, "a"), (0.4, "ca"), (1, "a"))
    assert (tested.figures["customer"].interruptions, tested.figures["customer"].interrupting) == (
        1,
        round(0.6 * SECOND),
    )
    assert tested.figures["agent"].interruptions == 0
    together = floor((2, "ca"))
    assert [together.figures[party].interruptions for party in PARTIES] == [0, 0], "both started at once"


def test_response_gaps_start_at_the_end_of_the_other_partys_speech() -> None:
    tested = floor((2, "c"), (0.8, ""), (2, "a"), (0.4, ""), (2, "c"), (0.2, "ca"), (2, "a"))
    customer, agent = (tested.figures[party] for party in PARTIES)
    assert (agent.responses, agent.response_gaps) == (2, round(0.8 * SECOND)), "an overlap has no gap"
    assert (customer.responses, customer.response_gaps) == (1, round(0.4 * SECOND))


def test_silence_starts_at_the_end_of_all_speech() -> None:
    tested = floor((1, ""), (2, "c"), (1.5, ""))
    assert (tested.longest_silence, tested.current_silence) == (round(1.5 * SECOND), round(1.5 * SECOND))
    assert tested.state == "silence"
    assert floor((4, ""), (2, "c")).current_silence == 0
