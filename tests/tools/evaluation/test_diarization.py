"""Constructed hypotheses with known error rates, waits, false names and label changes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyannote.core import Annotation, Timeline
from pyannote.core import Segment as Span
from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate

from stream.events import Event
from stream.tools.evaluation.diarization import Case, ScoredRecording, rows, score_recording, summary
from stream.tools.evaluation.segments import Segment
from tests.tools.evaluation.event_builders import speaker_event, turn_event

REFERENCE = (Segment(0.0, 10.0, "ann"), Segment(10.0, 20.0, "bob"))


def scored(
    events: Sequence[Event],
    *,
    reference: Sequence[Segment] = REFERENCE,
    enrolled: Sequence[str] = (),
    start_s: float = 0.0,
    end_s: float = 20.0,
    collar_s: float = 0.0,
    overlap: bool = True,
    name: str = "talk",
) -> ScoredRecording:
    case = Case(name, tuple(reference), tuple(events), start_s, end_s, frozenset(enrolled))
    return score_recording(case, collar_s=collar_s, overlap=overlap)


def directly(metric: Any, reference: Sequence[Segment], hypothesis: Sequence[Segment], end_s: float) -> float:
    """Return the metric of pyannote.metrics, called as in its documentation."""
    annotations = []
    for segments in (reference, hypothesis):
        annotation = Annotation()
        for number, one in enumerate(segments):
            annotation[Span(one.start_s, one.end_s), number] = one.speaker
        annotations.append(annotation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(metric(*annotations, uem=Timeline([Span(0.0, end_s)])))


def test_a_perfect_hypothesis() -> None:
    events: list[Event] = [
        speaker_event(0.0, "S1"), speaker_event(10.0, "S2"),
        turn_event(0.0, 10.0, "S1"), turn_event(10.0, 20.0, "S2"),
    ]  # fmt: skip
    figures = scored(events).figures
    for nothing in ("der", "jer", "missed", "false_alarm", "confusion", "turns_never_right", "flaps_per_minute"):
        assert figures[nothing] == 0.0, nothing
    for whole in ("right_share_live", "right_share_in_the_end"):
        assert figures[whole] == 1.0
    assert figures["time_to_right_speaker_s"] == 0.0
    assert figures["speaker_count_error"] == 0.0
    assert (figures["speakers"], figures["speakers_told"], figures["speech_s"]) == (2.0, 2.0, 20.0)
    for absent in ("named_right_share", "false_name_rate", "unknown_recall"):
        assert figures[absent] is None, "no speaker is enrolled"


def test_error_rates_by_hand() -> None:
    # ann: 2 s missed; bob: 3 s under ann's label; 1 s false alarm
    reference = (Segment(0.0, 10.0, "ann"), Segment(11.0, 20.0, "bob"))
    hypothesis = [turn_event(2.0, 14.0, "S1"), turn_event(14.0, 20.0, "S2")]
    figures = scored(hypothesis, reference=reference).figures
    assert figures["missed"] == pytest.approx(2 / 19)
    assert figures["false_alarm"] == pytest.approx(1 / 19)
    assert figures["confusion"] == pytest.approx(3 / 19)
    assert figures["der"] == pytest.approx(6 / 19)
    # ann: 8 of the 14 s of reference or hypothesis; bob: 6 of 9
    assert figures["jer"] == pytest.approx(((14 - 8) / 14 + (9 - 6) / 9) / 2)


def test_the_collar_applies_on_each_side_of_a_boundary() -> None:
    hypothesis = [turn_event(0.0, 10.2, "S1"), turn_event(10.2, 20.0, "S2")]
    assert scored(hypothesis).figures["der"] == pytest.approx(0.2 / 20)
    figures = scored(hypothesis, collar_s=0.25).figures
    assert figures["der"] == 0.0
    assert figures["speech_s"] == pytest.approx(20 - 0.25 - 0.5 - 0.25)


def test_overlap_can_be_excluded() -> None:
    reference = (Segment(0.0, 10.0, "ann"), Segment(8.0, 20.0, "bob"))
    hypothesis = [turn_event(0.0, 10.0, "S1"), turn_event(10.0, 20.0, "S2")]
    assert scored(hypothesis, reference=reference).figures["missed"] == pytest.approx(2 / 22)
    without_overlap = scored(hypothesis, reference=reference, overlap=False).figures
    assert without_overlap["missed"] == 0.0
    assert without_overlap["speech_s"] == 18.0


def test_only_the_scored_part_counts() -> None:
    events: list[Event] = [
        speaker_event(0.0, "S2"), speaker_event(5.0, "S1"), speaker_event(10.0, "S2"), speaker_event(15.0, "S1"),
        turn_event(0.0, 5.0, "S2"), turn_event(5.0, 10.0, "S1"), turn_event(10.0, 20.0, "S2"),
    ]  # fmt: skip
    figures = scored(events, start_s=5.0, end_s=15.0).figures
    assert figures["der"] == 0.0
    assert figures["speech_s"] == 10.0
    assert figures["right_share_live"] == 1.0
    assert figures["flaps_per_minute"] == 0.0
    assert figures["audio_s"] == 10.0


REFERENCES = st.lists(
    st.tuples(st.integers(0, 80), st.integers(2, 40), st.sampled_from(["ann", "bob", "cat"])), min_size=1, max_size=6
)
HYPOTHESES = st.lists(
    st.tuples(st.integers(0, 80), st.integers(2, 40), st.sampled_from(["S1", "S2", "S3", None])), max_size=6
)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(REFERENCES, HYPOTHESES, st.sampled_from([0.0, 0.25]), st.booleans())
def test_error_rates_equal_those_of_the_library(spoken: Any, labelled: Any, collar_s: float, overlap: bool) -> None:  # noqa: FBT001
    reference = [Segment(start / 4, (start + length) / 4, who) for start, length, who in spoken]
    events = [turn_event(start / 4, (start + length) / 4, who) for start, length, who in labelled]
    figures = scored(events, reference=reference, end_s=30.0, collar_s=collar_s, overlap=overlap).figures
    hypothesis = [Segment(one.start_s, one.end_s, one.speaker or "?") for one in events]
    options = {"collar": 2 * collar_s, "skip_overlap": not overlap}
    assert figures["der"] == directly(DiarizationErrorRate(**options), reference, hypothesis, 30.0)
    assert figures["jer"] == directly(JaccardErrorRate(**options), reference, hypothesis, 30.0)


def test_totals_over_recordings_equal_those_of_the_library() -> None:
    references = ((Segment(0.0, 9.0, "ann"), Segment(9.0, 12.0, "bob")), (Segment(0.0, 20.0, "cat"),))
    hypotheses = (
        (turn_event(0.0, 10.0, "S1"), turn_event(10.0, 13.0, "S2")),
        (turn_event(0.0, 14.0, "S1"), turn_event(14.0, 20.0, "S2")),
    )
    recordings = [
        scored(h, reference=r, name=str(at)) for at, (r, h) in enumerate(zip(references, hypotheses, strict=True))
    ]
    found = summary(recordings)
    der, jer = DiarizationErrorRate(), JaccardErrorRate()
    for reference, events in zip(references, hypotheses, strict=True):
        hypothesis = [Segment(one.start_s, one.end_s, one.speaker or "?") for one in events]
        directly(der, reference, hypothesis, 20.0)
        directly(jer, reference, hypothesis, 20.0)
    assert found["der"] == pytest.approx(abs(der), abs=1e-4)
    assert found["jer"] == pytest.approx(abs(jer), abs=1e-4)
    assert found["speech_s"] == 32.0
    assert (found["speakers"], found["speakers_told"]) == (1.5, 2.0)
    assert set(rows(recordings)) == {"0", "1"}


def test_the_wait_for_the_correct_label() -> None:
    events: list[Event] = [
        speaker_event(1.0, None), speaker_event(2.5, "S1"), speaker_event(14.0, "S2"),
        turn_event(0.0, 10.0, "S1"), turn_event(10.0, 20.0, "S2"),
    ]  # fmt: skip
    hypothesis = scored(events)
    assert hypothesis.waits_s == (2.5, 4.0)
    assert hypothesis.figures["time_to_right_speaker_s"] == 3.25
    assert hypothesis.figures["turns_never_right"] == 0.0
    assert hypothesis.figures["right_share_live"] == pytest.approx((7.5 + 6.0) / 20)
    assert hypothesis.figures["right_share_in_the_end"] == 1.0


def test_a_label_after_the_end_of_the_turn_does_not_count() -> None:
    events: list[Event] = [speaker_event(10.0, "S1"), turn_event(0.0, 10.0, "S1"), turn_event(10.0, 20.0, "S2")]
    hypothesis = scored(events)
    assert hypothesis.waits_s == (float("inf"), float("inf"))
    assert hypothesis.figures["turns_never_right"] == 1.0
    assert hypothesis.figures["time_to_right_speaker_s"] is None
    assert summary([hypothesis])["time_to_right_speaker_s"] is None


def test_a_label_that_persists_into_the_turn_needs_no_wait() -> None:
    reference = (Segment(0.0, 4.0, "ann"), Segment(8.0, 12.0, "ann"))
    events: list[Event] = [speaker_event(1.0, "S1"), turn_event(0.0, 12.0, "S1")]
    assert scored(events, reference=reference).waits_s == (1.0, 0.0)


def test_an_unknown_speaker_is_never_correct() -> None:
    events: list[Event] = [speaker_event(0.0, None), turn_event(0.0, 10.0, None), turn_event(10.0, 20.0, None)]
    figures = scored(events).figures
    assert figures["right_share_live"] == 0.0
    assert figures["right_share_in_the_end"] == 0.0
    assert figures["turns_never_right"] == 1.0
    assert figures["speakers_told"] == 0.0
    assert figures["speaker_count_error"] == -2.0


def test_label_changes_beyond_those_of_the_reference() -> None:
    names = ["S1", "S2", "S1", "S1", "S2"]  # ann labelled S1, S2, S1, S1; then bob
    events: list[Event] = [speaker_event(2.5 * at, name) for at, name in enumerate(names)]
    events.append(speaker_event(12.0, ""))
    events.append(speaker_event(14.0, "S2"))
    ended = [turn_event(0.0, 10.0, "S1"), turn_event(10.0, 20.0, "S2")]
    assert scored([*events, *ended]).figures["flaps_per_minute"] == pytest.approx(2 / (20 / 60))


def test_false_names_and_unknown_recall() -> None:
    # ann is enrolled, bob is not: of his 10 s, 4 are labelled ann, 5 S1, 1 silence
    events: list[Event] = [
        speaker_event(0.0, "ann", enrolled=True), speaker_event(14.0, "S1"), speaker_event(19.0, ""),
        turn_event(0.0, 14.0, "ann"), turn_event(14.0, 19.0, "S1"),
    ]  # fmt: skip
    figures = scored(events, enrolled=["ann"]).figures
    assert figures["false_name_rate"] == pytest.approx(0.4)
    assert figures["unknown_recall"] == pytest.approx(0.5)
    assert figures["named_right_share"] == 1.0
    assert figures["speaker_count_error"] == 0.0
    assert scored(events[:1], enrolled=["ann", "bob"]).figures["false_name_rate"] is None, "all speakers are enrolled"


def test_enrolled_names_are_never_mapped() -> None:
    # names swapped: error rates ignore names, the other figures do not
    events: list[Event] = [
        speaker_event(0.0, "bob", enrolled=True), speaker_event(10.0, "ann", enrolled=True),
        turn_event(0.0, 10.0, "bob"), turn_event(10.0, 20.0, "ann"),
    ]  # fmt: skip
    figures = scored(events, enrolled=["ann", "bob"]).figures
    assert figures["der"] == 0.0
    assert figures["right_share_live"] == 0.0
    assert figures["named_right_share"] == 0.0


def test_a_mapped_label_counts_even_if_a_false_name_is_more_frequent() -> None:
    events: list[Event] = [
        speaker_event(0.0, "ann", enrolled=True), speaker_event(17.0, "S1"),
        turn_event(0.0, 17.0, "ann"), turn_event(17.0, 20.0, "S1"),
    ]  # fmt: skip
    reference = (Segment(0.0, 2.0, "ann"), Segment(2.0, 20.0, "bob"))
    figures = scored(events, reference=reference, enrolled=["ann"]).figures
    assert figures["right_share_live"] == pytest.approx((2 + 3) / 20)


def test_an_extra_voice_is_counted() -> None:
    events: list[Event] = [speaker_event(0.0, "S1"), speaker_event(10.0, "S2"), speaker_event(15.0, "S3")]
    hypothesis = scored([*events, turn_event(0.0, 20.0, "S1")])
    assert hypothesis.figures["speaker_count_error"] == 1.0
    found = summary([hypothesis, scored(events[:2])])
    assert found["speaker_count_exact"] == 0.5
    assert found["speaker_count_within_one"] == 1.0


def test_overlapped_speech_is_excluded_from_label_figures() -> None:
    reference = (Segment(0.0, 10.0, "ann"), Segment(5.0, 20.0, "bob"))
    events: list[Event] = [
        speaker_event(0.0, "S1"), speaker_event(10.0, "S2"),
        turn_event(0.0, 10.0, "S1"), turn_event(10.0, 20.0, "S2"),
    ]  # fmt: skip
    assert scored(events, reference=reference).figures["right_share_live"] == 1.0


def test_an_empty_hypothesis() -> None:
    figures = scored([]).figures
    assert figures["der"] == 1.0
    assert figures["jer"] == 1.0
    assert figures["right_share_live"] == 0.0
    assert figures["latency_p50_ms"] is None
    found = summary([scored([])])
    assert found["der"] == 1.0
    assert found["latency_p50_ms"] is None


def test_latency_is_the_median_of_speaker_events() -> None:
    events: list[Event] = [speaker_event(1.0, "S1"), speaker_event(2.0, "S1"), speaker_event(9.0, "S1")]
    assert scored(events).figures["latency_p50_ms"] == 40.0
