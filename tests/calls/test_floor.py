"""The floor of a call: its time adds up, and is cut in any way."""

from __future__ import annotations

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
    """`c` talks, `a` talks, `ca` both, `` nobody, each for some seconds."""
    made, at = FloorTracker(settings=SETTINGS), 0
    for length_s, who in script:
        at += round(length_s * SECOND)
        talking: list[Party] = [party for party in PARTIES if party[0] in who]
        made.advance(at, talking)
    return made


def figures(tested: FloorTracker) -> object:
    return (
        tested.spent,
        tested.rows,
        tested.longest_silence,
        tested.current_silence,
        [tested.monologue(party) for party in PARTIES],
    )


@given(script=spans)
def test_every_sample_is_somebodys_silence_or_crosstalk(script: list[tuple[int, set[Party]]]) -> None:
    tested = FloorTracker(settings=SETTINGS)
    for length, talking in script:
        tested.advance(tested.position + length, talking)
    assert sum(tested.spent.values()) == tested.position == sum(length for length, _ in script)
    for party in PARTIES:
        assert tested.rows[party].talk == tested.spent[party] + tested.spent["crosstalk"]
    interrupted = sum(tested.rows[party].interrupting for party in PARTIES)
    assert interrupted <= tested.spent["crosstalk"]
    assert tested.longest_silence >= tested.current_silence


@settings(deadline=None)  # many pieces
@given(script=spans, sizes=st.lists(st.integers(SECOND // 20, SECOND), min_size=1, max_size=8))
def test_it_does_not_matter_how_the_time_is_cut(script: list[tuple[int, set[Party]]], sizes: list[int]) -> None:
    whole, pieces, turn = FloorTracker(settings=SETTINGS), FloorTracker(settings=SETTINGS), 0
    for length, talking in script:
        end = whole.position + length
        whole.advance(end, talking)
        while pieces.position < end:
            pieces.advance(min(end, pieces.position + sizes[turn % len(sizes)]), talking)
            turn += 1
    assert figures(whole) == figures(pieces)


def test_a_turn_needs_talk_alone_and_dates_back_to_its_first_word() -> None:
    tested = floor((2, "c"), (0.3, "ca"), (2, "a"), (0.3, "ca"), (1, "a"))
    assert [tested.rows[party].turns for party in PARTIES] == [1, 1]
    assert tested.monologue("agent") == round(3.6 * SECOND), "from where the agent began, a short `mhm` inside"
    assert tested.monologue("customer") == 0
    assert tested.rows["customer"].longest_monologue == round(2.3 * SECOND)


def test_a_short_answer_does_not_take_the_floor() -> None:
    tested = floor((3, "a"), (0.2, ""), (0.4, "c"), (0.2, ""), (3, "a"))
    assert [tested.rows[party].turns for party in PARTIES] == [0, 1]
    assert tested.monologue("agent") == round(6.8 * SECOND)


def test_a_long_silence_frees_the_floor() -> None:
    tested = floor((3, "a"), (2.5, ""), (3, "a"))
    assert tested.rows["agent"].turns == 2
    assert tested.rows["agent"].longest_monologue == 3 * SECOND
    assert floor((3, "a"), (1.0, "")).monologue("agent") == 3 * SECOND
    assert floor((3, "a"), (2.5, "")).monologue("agent") == 0


def test_who_began_later_interrupts() -> None:
    tested = floor((2, "a"), (0.6, "ca"), (1, "a"), (0.4, "ca"), (1, "a"))
    assert (tested.rows["customer"].interruptions, tested.rows["customer"].interrupting) == (1, round(0.6 * SECOND))
    assert tested.rows["agent"].interruptions == 0
    together = floor((2, "ca"))
    assert [together.rows[party].interruptions for party in PARTIES] == [0, 0], "both began at once"


def test_response_gaps_are_from_the_others_last_word() -> None:
    tested = floor((2, "c"), (0.8, ""), (2, "a"), (0.4, ""), (2, "c"), (0.2, "ca"), (2, "a"))
    customer, agent = (tested.rows[party] for party in PARTIES)
    assert (agent.responses, agent.response_gaps) == (2, round(0.8 * SECOND)), "an overlap is no gap"
    assert (customer.responses, customer.response_gaps) == (1, round(0.4 * SECOND))


def test_silence_is_from_the_last_word_of_either() -> None:
    tested = floor((1, ""), (2, "c"), (1.5, ""))
    assert (tested.longest_silence, tested.current_silence) == (round(1.5 * SECOND), round(1.5 * SECOND))
    assert tested.state == "silence"
    assert floor((4, ""), (2, "c")).current_silence == 0
