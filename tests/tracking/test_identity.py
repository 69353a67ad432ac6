"""Closed-set candidates: gathered over a turn, and never over a change of voice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.events import Identity
from stream.tracking.identity import IdentityTracker
from tests.tracking.speech import talk

ANN, BEN = np.array([0.8, 0.15, 0.05], np.float32), np.array([0.1, 0.2, 0.7], np.float32)


def rolling(candidates: int = 3) -> IdentityTracker:
    return IdentityTracker(labels=("ann", "bea", "ben"), candidates=candidates, pause_s=1.0)


def hear(
    tested: IdentityTracker, start_s: float, end_s: float, says: np.ndarray, who: str | None, *, since_s: float = 0.0
) -> Identity | None:
    """Speech of one voice, made out at every window that ends behind `since_s`."""
    for cut in talk(start_s, end_s):
        if cut.open and cut.end_sample > since_s * 16_000:
            tested.hear(cut, says)
            tested.settle(who, cut, changed_at=round(since_s * 16_000) if since_s else None)
    return tested.best()


def figures(told: Identity | None) -> list[tuple[str, float]]:
    assert told is not None
    assert (told.label, told.probability) == (told.candidates[0].label, told.candidates[0].probability)
    return [(one.label, one.probability) for one in told.candidates]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_likeliest_come_first(count: int) -> None:
    told = figures(hear(rolling(count), 0, 3, ANN, "S1"))
    assert told == [("ann", 0.8), ("bea", 0.15), ("ben", 0.05)][:count]


def test_windows_count_by_their_new_speech() -> None:
    tested = rolling()
    cuts = [cut for cut in talk(0, 1.25) if cut.open]
    assert [cut.fresh_samples for cut in cuts] == [8_000, 8_000, 4_000]
    for cut, says in zip(cuts[1:], (ANN, BEN), strict=True):
        tested.hear(cut, says)
    told = tested.best()
    assert told is not None
    assert told.probability == pytest.approx((2 * 0.8 + 0.1) / 3, abs=1e-4)
    assert told.evidence_s == 0.75


def test_a_turn_goes_on_across_a_short_pause() -> None:
    tested = rolling()
    hear(tested, 0, 3, ANN, "S1")
    told = hear(tested, 3.5, 4.5, BEN, "S1")
    assert figures(told)[0][0] == "ann"
    assert told is not None
    assert told.probability == pytest.approx((3 * 0.8 + 0.1) / 4, abs=1e-3)
    assert told.evidence_s == 4.0


@pytest.mark.parametrize(("pause_s", "who"), [(0.5, "S2"), (2.0, "S1"), (0.5, None)])
def test_another_voice_or_turn_begins_anew(pause_s: float, who: str | None) -> None:
    tested = rolling()
    hear(tested, 0, 3, ANN, "S1")
    assert figures(hear(tested, 3 + pause_s, 4.5 + pause_s, BEN, who))[0] == ("ben", 0.7)


def test_nothing_is_carried_over_until_the_voice_is_made_out_again() -> None:
    tested = rolling()
    hear(tested, 0, 3, ANN, "S1")
    cut = next(cut for cut in talk(3.5, 4.5) if cut.open)
    tested.hear(cut, BEN)
    assert figures(tested.best())[0] == ("ben", 0.7)
    tested.settle("S1", cut, changed_at=None)
    assert figures(tested.best())[0][0] == "ann"


def test_windows_may_begin_a_little_before_their_stretch() -> None:
    """They are as long as a model can take, and whole steps long."""
    tested = rolling()
    for cut in (cut for cut in talk(0.1, 3) if cut.open):
        tested.hear(replace(cut, start_sample=max(0, cut.start_sample - 800)), ANN)
        assert tested.best() is not None


def test_windows_that_hold_two_voices_count_for_neither() -> None:
    tested = rolling()
    for cut in (cut for cut in talk(0, 6) if cut.open):
        tested.hear(cut, ANN if cut.end_sample <= 48_000 else BEN)
        tested.settle("S1" if cut.end_sample <= 64_000 else "S2", cut, changed_at=48_000)
        told = tested.best()
        if cut.end_sample == 72_000:
            assert told is None, "two seconds behind the change no window of two seconds is pure"
    assert figures(told) == [("ben", 0.7), ("bea", 0.2), ("ann", 0.1)]


def test_a_voice_that_is_not_known_any_more_is_another_one() -> None:
    tested = rolling()
    cuts = [cut for cut in talk(0, 8) if cut.open]
    for cut in cuts:
        tested.hear(cut, ANN if cut.end_sample <= 48_000 else BEN)
        tested.settle("S1" if cut.end_sample <= 56_000 else None, cut, changed_at=None)
    assert figures(tested.best())[0] == ("ben", 0.7)


def test_a_new_name_for_the_same_voice_keeps_what_was_gathered() -> None:
    tested = rolling()
    hear(tested, 0, 3, ANN, "S1")
    tested.rename("S1", "Alice")
    assert figures(hear(tested, 3.5, 4.5, BEN, "Alice"))[0][0] == "ann"


def test_behind_a_gap_anybody_may_speak() -> None:
    tested = rolling()
    hear(tested, 0, 3, ANN, "S1")
    tested.forget()
    assert tested.best() is None
    assert figures(hear(tested, 3.2, 4.5, BEN, "S1"))[0] == ("ben", 0.7)
