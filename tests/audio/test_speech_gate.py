"""Speech timeline: speech is counted once, and results for the past never change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.audio.speech_gate import SpeechTimeline
from stream.settings import GateSettings
from stream.types import FRAME_SAMPLES, SpeechSegment

pytestmark = pytest.mark.slow

frames = st.lists(st.sampled_from([0.0, 0.4, 0.6]), max_size=80)
gates = st.builds(
    GateSettings,
    min_speech_ms=st.sampled_from([0, 32, 64, 250]),
    min_silence_ms=st.sampled_from([0, 32, 100, 300]),
)


def timeline(probabilities: Sequence[float], gate: GateSettings, *, origin: int = 0) -> SpeechTimeline:
    speech = SpeechTimeline(settings=gate, memory_samples=10 * 16_000)
    speech.restart(origin)
    speech.add_speech(probabilities)
    return speech


def runs(probabilities: Sequence[float], gate: GateSettings) -> list[SpeechSegment]:
    """Compute segments in a slower way: flags, their runs, and runs joined across short pauses."""
    found: list[SpeechSegment] = []
    speaking = False
    for number, probability in enumerate(probabilities):
        speaking = probability >= (gate.off if speaking else gate.on)
        start, end = number * FRAME_SAMPLES, (number + 1) * FRAME_SAMPLES
        if not speaking:
            continue
        if found and (start == found[-1].end_sample or start - found[-1].end_sample < gate.min_silence_ms * 16):
            found[-1] = SpeechSegment(found[-1].start_sample, end)
        else:
            found.append(SpeechSegment(start, end))
    return [segment for segment in found if segment.end_sample - segment.start_sample >= gate.min_speech_ms * 16]


@given(probabilities=frames, gate=gates)
def test_a_segment_is_a_run_of_speech_with_short_pauses(probabilities: list[float], gate: GateSettings) -> None:
    speech, expected = timeline(probabilities, gate), runs(probabilities, gate)
    assert speech.last_segment(speech.horizon) == (expected[-1] if expected else None)


@given(probabilities=frames, gate=gates, origin=st.integers(0, 5_000), offsets=st.lists(st.integers(0, 50_000)))
def test_adjacent_spans_add_up(probabilities: list[float], gate: GateSettings, origin: int, offsets: list[int]) -> None:
    speech = timeline(probabilities, gate, origin=origin)
    places = sorted([origin, *(origin + offset for offset in offsets), max(origin + 50_000, speech.horizon)])
    parts = [speech.speech(start, end) for start, end in pairwise(places)]
    assert sum(parts) == speech.speech(places[0], places[-1]) == speech.speech_samples


@pytest.mark.slow
@given(probabilities=frames, gate=gates, at=st.integers(0, 80 * FRAME_SAMPLES))
def test_past_segments_do_not_depend_on_later_frames(probabilities: list[float], gate: GateSettings, at: int) -> None:
    early, late = timeline(probabilities[: at // FRAME_SAMPLES], gate), timeline(probabilities, gate)
    assert late.last_segment(at) == early.last_segment(at)
    assert late.speech(0, at) == early.speech(0, at)


@given(probabilities=frames, gate=gates, sizes=st.lists(st.integers(1, 20)))
def test_frames_may_be_added_in_any_batches(probabilities: list[float], gate: GateSettings, sizes: list[int]) -> None:
    once, pieces, place = timeline(probabilities, gate), timeline((), gate), 0
    for size in sizes:
        pieces.add_speech(probabilities[place : place + size])
        place += size
    pieces.add_speech(probabilities[place:])
    assert pieces.horizon == once.horizon
    for sample in range(0, once.horizon + 1, FRAME_SAMPLES // 2):
        assert pieces.last_segment(sample) == once.last_segment(sample)
        assert pieces.speech(0, sample) == once.speech(0, sample)


def test_a_restart_keeps_only_the_total() -> None:
    speech = timeline([1.0] * 20, GateSettings())
    speech.restart(100_000)
    assert speech.horizon == 100_000
    assert speech.last_segment(100_000) is None
    assert speech.speech(0, 100_000) == 0
    assert speech.speech_samples == 20 * FRAME_SAMPLES
    speech.add_speech([1.0] * 20)
    assert speech.last_segment(speech.horizon) == SpeechSegment(100_000, 100_000 + 20 * FRAME_SAMPLES)


def test_a_long_segment_keeps_its_start_after_its_frames_are_discarded() -> None:
    speech = SpeechTimeline(settings=GateSettings(), memory_samples=16_000)
    speech.add_speech([1.0] * 1_000)
    assert speech.last_segment(speech.horizon) == SpeechSegment(0, 1_000 * FRAME_SAMPLES)


@given(probabilities=frames, gate=gates, sizes=st.lists(st.integers(1, 20), min_size=1), origin=st.integers(0, 3_000))
def test_settled_segments_are_returned_once_and_never_change(
    probabilities: list[float], gate: GateSettings, sizes: list[int], origin: int
) -> None:
    """Returned piece by piece, they join into the segments of the whole."""
    pieces, place, turn, found_so_far, settled = timeline((), gate, origin=origin), 0, 0, list[SpeechSegment](), origin
    while place < len(probabilities):
        size = sizes[turn % len(sizes)]
        pieces.add_speech(probabilities[place : place + size])
        place, turn = place + size, turn + 1
        found, upto = pieces.settled_segments(settled)
        assert settled <= upto <= pieces.horizon
        found_so_far, settled = found_so_far + found, upto
    found, upto = pieces.settled_segments(settled, last=True)
    found_so_far += found
    assert upto == pieces.horizon
    joined: list[SpeechSegment] = []
    for span in found_so_far:
        if joined and joined[-1].end_sample == span.start_sample:
            joined[-1] = SpeechSegment(joined[-1].start_sample, span.end_sample)
        else:
            joined.append(span)
    expected = [SpeechSegment(one.start_sample + origin, one.end_sample + origin) for one in runs(probabilities, gate)]
    assert joined == expected
