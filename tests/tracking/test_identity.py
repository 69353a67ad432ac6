"""Closed-set identification: accumulated over a turn, never across a speaker change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.events import Identity
from stream.tracking.identity import IdentityTracker
from tests.tracking.speech import speech_spans

ANN, BEN = np.array([0.8, 0.15, 0.05], np.float32), np.array([0.1, 0.2, 0.7], np.float32)


def tracker(candidates: int = 3) -> IdentityTracker:
    return IdentityTracker(labels=("ann", "bea", "ben"), candidates=candidates, pause_s=1.0)


def run(
    tested: IdentityTracker,
    start_s: float,
    end_s: float,
    probabilities: np.ndarray,
    speaker: str | None,
    *,
    since_s: float = 0.0,
) -> Identity | None:
    """Add speech of one voice, recognised at every window that ends after `since_s`."""
    for span in speech_spans(start_s, end_s):
        if span.passes_gate and span.end_sample > since_s * 16_000:
            tested.observe(span, probabilities)
            tested.set_speaker(speaker, span, changed_at=round(since_s * 16_000) if since_s else None)
    return tested.identity()


def figures(found: Identity | None) -> list[tuple[str, float]]:
    assert found is not None
    assert (found.label, found.probability) == (found.candidates[0].label, found.candidates[0].probability)
    return [(one.label, one.probability) for one in found.candidates]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_likeliest_come_first(count: int) -> None:
    found = figures(run(tracker(count), 0, 3, ANN, "S1"))
    assert found == [("ann", 0.8), ("bea", 0.15), ("ben", 0.05)][:count]


def test_windows_count_by_their_new_speech() -> None:
    tested = tracker()
    spans = [span for span in speech_spans(0, 1.25) if span.passes_gate]
    assert [span.new_speech_samples for span in spans] == [8_000, 8_000, 4_000]
    for span, probabilities in zip(spans[1:], (ANN, BEN), strict=True):
        tested.observe(span, probabilities)
    found = tested.identity()
    assert found is not None
    assert found.probability == pytest.approx((2 * 0.8 + 0.1) / 3, abs=1e-4)
    assert found.evidence_s == 0.75


def test_a_turn_continues_across_a_short_pause() -> None:
    tested = tracker()
    run(tested, 0, 3, ANN, "S1")
    found = run(tested, 3.5, 4.5, BEN, "S1")
    assert figures(found)[0][0] == "ann"
    assert found is not None
    assert found.probability == pytest.approx((3 * 0.8 + 0.1) / 4, abs=1e-3)
    assert found.evidence_s == 4.0


@pytest.mark.parametrize(("pause_s", "speaker"), [(0.5, "S2"), (2.0, "S1"), (0.5, None)])
def test_another_speaker_or_turn_starts_afresh(pause_s: float, speaker: str | None) -> None:
    tested = tracker()
    run(tested, 0, 3, ANN, "S1")
    assert figures(run(tested, 3 + pause_s, 4.5 + pause_s, BEN, speaker))[0] == ("ben", 0.7)


def test_earlier_evidence_waits_until_the_voice_is_recognised_again() -> None:
    tested = tracker()
    run(tested, 0, 3, ANN, "S1")
    span = next(span for span in speech_spans(3.5, 4.5) if span.passes_gate)
    tested.observe(span, BEN)
    assert figures(tested.identity())[0] == ("ben", 0.7)
    tested.set_speaker("S1", span, changed_at=None)
    assert figures(tested.identity())[0][0] == "ann"


def test_windows_may_start_a_little_before_their_segment() -> None:
    """Onsets are rounded down, so that windows share lengths."""
    tested = tracker()
    for span in (span for span in speech_spans(0.1, 3) if span.passes_gate):
        tested.observe(replace(span, start_sample=max(0, span.start_sample - 800)), ANN)
        assert tested.identity() is not None


def test_windows_with_two_voices_count_for_neither() -> None:
    tested = tracker()
    for span in (span for span in speech_spans(0, 6) if span.passes_gate):
        tested.observe(span, ANN if span.end_sample <= 48_000 else BEN)
        tested.set_speaker("S1" if span.end_sample <= 64_000 else "S2", span, changed_at=48_000)
        found = tested.identity()
        if span.end_sample == 72_000:
            assert found is None, "up to two seconds after the change every window of two seconds holds both voices"
    assert figures(found) == [("ben", 0.7), ("bea", 0.2), ("ann", 0.1)]


def test_an_unknown_speaker_after_a_known_one_starts_afresh() -> None:
    tested = tracker()
    spans = [span for span in speech_spans(0, 8) if span.passes_gate]
    for span in spans:
        tested.observe(span, ANN if span.end_sample <= 48_000 else BEN)
        tested.set_speaker("S1" if span.end_sample <= 56_000 else None, span, changed_at=None)
    assert figures(tested.identity())[0] == ("ben", 0.7)


def test_a_renamed_voice_keeps_its_evidence() -> None:
    tested = tracker()
    run(tested, 0, 3, ANN, "S1")
    tested.rename("S1", "Alice")
    assert figures(run(tested, 3.5, 4.5, BEN, "Alice"))[0][0] == "ann"


def test_a_reset_forgets_all_evidence() -> None:
    tested = tracker()
    run(tested, 0, 3, ANN, "S1")
    tested.reset()
    assert tested.identity() is None
    assert figures(run(tested, 3.2, 4.5, BEN, "S1"))[0] == ("ben", 0.7)
