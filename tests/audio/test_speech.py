"""The speech map: what was heard is heard once, and what was said of the past stays so."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream.audio.speech import SpeechTimeline
from stream.settings import GateSettings
from stream.types import FRAME_SAMPLES, SpeechSegment

frames = st.lists(st.sampled_from([0.0, 0.4, 0.6]), max_size=80)
gates = st.builds(
    GateSettings,
    min_speech_ms=st.sampled_from([0, 32, 64, 250]),
    min_silence_ms=st.sampled_from([0, 32, 100, 300]),
)


def heard(probabilities: Sequence[float], gate: GateSettings, *, origin: int = 0) -> SpeechTimeline:
    speech = SpeechTimeline(settings=gate, memory_samples=10 * 16_000)
    speech.restart(origin)
    speech.hear(probabilities)
    return speech


def runs(probabilities: Sequence[float], gate: GateSettings) -> list[SpeechSegment]:
    """Stretches by a slower way: flags, runs of them, and runs joined where the pause between is short."""
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
    return [stretch for stretch in found if stretch.end_sample - stretch.start_sample >= gate.min_speech_ms * 16]


@given(probabilities=frames, gate=gates)
def test_a_stretch_is_a_run_of_speech_with_its_short_pauses(probabilities: list[float], gate: GateSettings) -> None:
    speech, expected = heard(probabilities, gate), runs(probabilities, gate)
    assert speech.stretch(speech.horizon) == (expected[-1] if expected else None)


@given(probabilities=frames, gate=gates, origin=st.integers(0, 5_000), cuts=st.lists(st.integers(0, 50_000)))
def test_adjoining_spans_add_up(probabilities: list[float], gate: GateSettings, origin: int, cuts: list[int]) -> None:
    speech = heard(probabilities, gate, origin=origin)
    places = sorted([origin, *(origin + cut for cut in cuts), max(origin + 50_000, speech.horizon)])
    parts = [speech.speech(start, end) for start, end in pairwise(places)]
    assert sum(parts) == speech.speech(places[0], places[-1]) == speech.speech_samples


@given(probabilities=frames, gate=gates, at=st.integers(0, 80 * FRAME_SAMPLES))
def test_the_past_is_not_touched_by_what_comes(probabilities: list[float], gate: GateSettings, at: int) -> None:
    early, late = heard(probabilities[: at // FRAME_SAMPLES], gate), heard(probabilities, gate)
    assert late.stretch(at) == early.stretch(at)
    assert late.speech(0, at) == early.speech(0, at)


@given(probabilities=frames, gate=gates, sizes=st.lists(st.integers(1, 20)))
def test_it_does_not_matter_how_many_frames_come_at_once(
    probabilities: list[float], gate: GateSettings, sizes: list[int]
) -> None:
    once, pieces, place = heard(probabilities, gate), heard((), gate), 0
    for size in sizes:
        pieces.hear(probabilities[place : place + size])
        place += size
    pieces.hear(probabilities[place:])
    assert pieces.horizon == once.horizon
    for sample in range(0, once.horizon + 1, FRAME_SAMPLES // 2):
        assert pieces.stretch(sample) == once.stretch(sample)
        assert pieces.speech(0, sample) == once.speech(0, sample)


def test_after_a_gap_nothing_is_remembered_but_the_count() -> None:
    speech = heard([1.0] * 20, GateSettings())
    speech.restart(100_000)
    assert speech.horizon == 100_000
    assert speech.stretch(100_000) is None
    assert speech.speech(0, 100_000) == 0
    assert speech.speech_samples == 20 * FRAME_SAMPLES
    speech.hear([1.0] * 20)
    assert speech.stretch(speech.horizon) == SpeechSegment(100_000, 100_000 + 20 * FRAME_SAMPLES)


def test_a_long_stretch_keeps_its_beginning_after_its_frames_are_forgotten() -> None:
    speech = SpeechTimeline(settings=GateSettings(), memory_samples=16_000)
    speech.hear([1.0] * 1_000)
    assert speech.stretch(speech.horizon) == SpeechSegment(0, 1_000 * FRAME_SAMPLES)


@given(probabilities=frames, gate=gates, sizes=st.lists(st.integers(1, 20), min_size=1), origin=st.integers(0, 3_000))
def test_settled_talk_is_told_once_and_never_changes(
    probabilities: list[float], gate: GateSettings, sizes: list[int], origin: int
) -> None:
    """Asked bit by bit, the pieces join into the stretches of the whole."""
    pieces, place, turn, told, settled = heard((), gate, origin=origin), 0, 0, list[SpeechSegment](), origin
    while place < len(probabilities):
        size = sizes[turn % len(sizes)]
        pieces.hear(probabilities[place : place + size])
        place, turn = place + size, turn + 1
        found, upto = pieces.talk(settled)
        assert settled <= upto <= pieces.horizon
        told, settled = told + found, upto
    found, upto = pieces.talk(settled, last=True)
    told += found
    assert upto == pieces.horizon
    joined: list[SpeechSegment] = []
    for span in told:
        if joined and joined[-1].end_sample == span.start_sample:
            joined[-1] = SpeechSegment(joined[-1].start_sample, span.end_sample)
        else:
            joined.append(span)
    expected = [SpeechSegment(one.start_sample + origin, one.end_sample + origin) for one in runs(probabilities, gate)]
    assert joined == expected
