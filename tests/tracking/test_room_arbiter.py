"""Room arbitration: one person in several microphones is in one room, the loudest one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.tracking.room_arbiter import (
    ECHO_DB,
    GRACE_S,
    LAG_S,
    ONSET_S,
    SETTLE_S,
    STALE_S,
    Placement,
    RoomArbiter,
    VoiceReport,
)

KITCHEN, HALL, ATTIC = ("a", "kitchen"), ("a", "hall"), ("b", "attic")
HOP_S = 0.5


def report(
    microphone: tuple[str, str], time_s: float, level_dbfs: float, name: str | None = "Alice", **more: object
) -> VoiceReport:
    """Return a report of speech since 0 s, unless `onset_s` says otherwise."""
    fields = {"onset_s": 0.0, "decided": True} | more
    return VoiceReport(microphone=microphone, time_s=time_s, level_dbfs=level_dbfs, name=name, **fields)  # type: ignore[arg-type]


def only(placements: tuple[Placement, ...]) -> Placement:
    """Return the only placement."""
    assert len(placements) == 1, placements
    return placements[0]


def test_a_clear_room_is_certain_at_once() -> None:
    arbiter = RoomArbiter()
    arbiter.observe(report(KITCHEN, 1.0, -25.0))
    arbiter.observe(report(HALL, 1.1, -40.0))
    placed = only(arbiter.placements(1.1))
    assert (placed.name, placed.microphone, placed.since_s) == ("Alice", KITCHEN, 0.0)
    assert placed.certain
    assert placed.lead_db == 15.0
    assert placed.levels_dbfs == ((KITCHEN, -25.0), (HALL, -40.0))
    arbiter.observe(report(HALL, 1.2, -20.0))
    placed = only(arbiter.placements(1.2))
    assert (placed.microphone, placed.certain) == (KITCHEN, True), "a smaller lead makes it no less certain"


def test_the_first_report_decides_and_a_better_one_corrects_from_the_onset_on() -> None:
    arbiter = RoomArbiter()
    arbiter.observe(report(HALL, 0.5, -30.0))
    first = only(arbiter.placements(0.5))
    assert (first.microphone, first.certain) == (HALL, False)
    arbiter.observe(report(KITCHEN, 0.8, -25.0))
    corrected = only(arbiter.placements(0.8))
    assert corrected.microphone == KITCHEN
    assert corrected.since_s == first.since_s


def test_who_walks_has_moved_and_small_differences_move_nobody() -> None:
    arbiter = RoomArbiter()
    for step in range(1, 20):
        now_s = step * HOP_S
        arbiter.observe(report(KITCHEN, now_s, -25.0))
        arbiter.observe(report(HALL, now_s, -24.0 if now_s > SETTLE_S else -40.0))
        assert only(arbiter.placements(now_s)).microphone == KITCHEN, "1 dB is no reason"
    for step in range(20, 26):
        now_s = step * HOP_S
        arbiter.observe(report(KITCHEN, now_s, -40.0))
        arbiter.observe(report(HALL, now_s, -25.0))
        placed = only(arbiter.placements(now_s))
    assert placed.microphone == HALL
    assert placed.since_s == 20 * HOP_S - LAG_S, "levels show a move later than it began"
    assert placed.certain


def test_a_voice_without_a_name_belongs_to_the_speech_with_its_onset() -> None:
    arbiter = RoomArbiter()
    arbiter.observe(report(KITCHEN, 2.0, -25.0))
    arbiter.observe(report(HALL, 2.0, -38.0, None, onset_s=ONSET_S / 2))
    assert only(arbiter.placements(2.0)).name == "Alice"
    arbiter.observe(report(ATTIC, 9.0, -30.0, None, onset_s=7.0))
    arbiter.observe(report(KITCHEN, 9.0, -25.0))
    names = [(one.name, one.microphone) for one in arbiter.placements(9.0)]
    assert names == [("Alice", KITCHEN), (None, ATTIC)], "a stranger of another onset"
    arbiter.observe(report(HALL, 9.0, -25.0 - ECHO_DB, None, onset_s=5.0))
    assert len(arbiter.placements(9.0)) == 2, "an echo of Alice"


def test_an_undecided_voice_waits_unless_it_is_alone() -> None:
    arbiter = RoomArbiter()
    arbiter.observe(report(KITCHEN, 9.0, -25.0))
    arbiter.observe(report(HALL, 9.0, -20.0, None, onset_s=8.0, decided=False))
    assert only(arbiter.placements(9.0)).microphone == KITCHEN
    arbiter.silence(KITCHEN, time_s=9.0)
    now_s = 9.0 + GRACE_S + 0.1
    arbiter.observe(report(HALL, now_s, -20.0, None, onset_s=8.0, decided=False))
    assert only(arbiter.placements(now_s)).microphone == HALL


def test_a_far_microphone_that_reports_for_longer_or_earlier_moves_nobody() -> None:
    arbiter = RoomArbiter()
    for time_s in (1.0, 1.5):
        arbiter.observe(report(KITCHEN, time_s, -25.0))
        arbiter.observe(report(HALL, time_s, -38.0))
        arbiter.placements(time_s)
    arbiter.silence(KITCHEN, time_s=2.0)
    arbiter.observe(report(HALL, 2.0, -40.0))
    assert only(arbiter.placements(2.0)).microphone == KITCHEN, "an echo"
    arbiter.silence(HALL, time_s=2.2)
    assert arbiter.placements(2.2) == ()
    arbiter.observe(report(HALL, 2.7, -38.0))
    placed = only(arbiter.placements(2.7))
    assert (placed.microphone, placed.since_s) == (KITCHEN, 2.2), "not before the silence, whenever the turn began"
    arbiter.observe(report(HALL, 3.2, -38.0))
    placed = only(arbiter.placements(3.2))
    assert (placed.microphone, placed.since_s) == (HALL, 2.2), "the kitchen stays silent: a move"


def test_a_stranger_who_gets_a_name_stays_in_the_room() -> None:
    arbiter = RoomArbiter()
    arbiter.observe(report(KITCHEN, 1.0, -25.0, None))
    assert only(arbiter.placements(1.0)).name is None
    for time_s in (3.5, 4.0):
        arbiter.observe(report(KITCHEN, time_s, -25.0))
        arbiter.observe(report(HALL, time_s, -24.5))
    placed = only(arbiter.placements(4.0))
    assert (placed.name, placed.microphone, placed.since_s) == ("Alice", KITCHEN, 0.0)


def test_a_microphone_that_reports_no_more_counts_for_nothing() -> None:
    arbiter = RoomArbiter()
    arbiter.observe(report(KITCHEN, 1.0, -20.0))
    arbiter.observe(report(HALL, 3.0, -40.0))
    assert only(arbiter.placements(1.0 + STALE_S + 0.1)).microphone == HALL
    assert arbiter.placements(60.0) == ()


def test_known_differences_of_microphones_are_subtracted() -> None:
    arbiter = RoomArbiter(offsets_db={"hall": 10.0})
    arbiter.observe(report(KITCHEN, 1.0, -25.0))
    arbiter.observe(report(HALL, 1.0, -20.0))
    assert only(arbiter.placements(1.0)).microphone == KITCHEN


STEPS = st.lists(
    st.tuples(
        st.sampled_from((KITCHEN, HALL, ATTIC)),
        st.floats(0.0, 1.0),
        st.floats(-90.0, 0.0),
        st.sampled_from((None, "Alice", "Bob")),
        st.floats(0.0, 8.0),
        st.booleans(),
        st.booleans(),
    ),
    max_size=40,
)


@pytest.mark.slow
@given(steps=STEPS)
def test_whatever_is_reported_everyone_is_in_one_room_that_receives_them(steps: list[tuple[object, ...]]) -> None:
    arbiter, now_s = RoomArbiter(), 10.0
    for microphone, wait_s, level_dbfs, name, age_s, decided, silent in steps:
        now_s += wait_s  # type: ignore[operator]
        if silent:
            arbiter.silence(microphone, time_s=now_s)  # type: ignore[arg-type]
        else:
            onset_s = now_s - age_s  # type: ignore[operator]
            arbiter.observe(VoiceReport(microphone, now_s, onset_s, level_dbfs, name, decided))  # type: ignore[arg-type]
        placed = arbiter.placements(now_s)
        names = [one.name for one in placed if one.name is not None]
        assert len(names) == len(set(names)), "one room for each"
        receiving = [heard for one in placed for heard, _ in one.levels_dbfs]
        assert len(receiving) == len(set(receiving)), "a microphone reports one voice"
        for one in placed:
            assert one.microphone in dict(one.levels_dbfs)
            assert one.since_s <= now_s
            assert [level for _, level in one.levels_dbfs] == sorted((lv for _, lv in one.levels_dbfs), reverse=True)


@given(levels=st.lists(st.floats(-80.0, 0.0), min_size=3, max_size=3, unique=True), order=st.permutations(range(3)))
def test_the_loudest_room_wins_in_whatever_order_the_reports_arrive(levels: list[float], order: list[int]) -> None:
    arbiter, microphones = RoomArbiter(), (KITCHEN, HALL, ATTIC)
    for round_ in range(4):
        for place in order:
            arbiter.observe(report(microphones[place], 0.5 * round_ + 0.1, levels[place]))
            placed = only(arbiter.placements(0.5 * round_ + 0.1))
    chosen = levels[microphones.index(placed.microphone)]
    assert chosen > max(levels) - 1.0, "but for what is as good as equal"
