"""Stream buffer: windows do not depend on block sizes, none spans a gap, and results never change afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audio.buffer import StreamBuffer
from stream.audio.speech_gate import SpeechTimeline
from stream.audio.windows import ONSET_GRID_SAMPLES
from stream.settings import GateSettings
from stream.types import FRAME_SAMPLES, SpeechRequest, WindowSpan, WindowSpec
from tests.support.fakes import FakeDetector

GATE = GateSettings(min_speech_ms=64, min_silence_ms=300, window_speech_ms=300, new_speech_ms=64)
SPECS = (
    WindowSpec(length_samples=32_000, hop_samples=8_000, minimum_samples=8_000),
    WindowSpec(length_samples=48_000, hop_samples=16_000, minimum_samples=8_000, from_onset=False),
)
DETECTOR = FakeDetector()


def speech_audio(spans: Sequence[tuple[int, int]], length: int) -> np.ndarray:
    """Return noise that is loud within the spans and nearly silent elsewhere."""
    audio = np.random.default_rng(4).uniform(-0.01, 0.01, length).astype(np.float32)
    for start, end in spans:
        audio[start:end] *= 40
    return audio


class BufferRun:
    """Drives a buffer as the pipeline does, and keeps its spans with their samples."""

    def __init__(self, *, conditioning: bool = False) -> None:
        self.buffer = StreamBuffer(
            source_id="a", specs=SPECS, gate=GATE, capacity=20 * 16_000, conditioning=conditioning
        )
        self.spans: list[WindowSpan] = []
        self.samples: list[np.ndarray] = []

    def push(self, audio: np.ndarray, *, last: bool = False) -> None:
        self.buffer.push(audio)
        frames = self.buffer.frames(last=last)
        probabilities = (
            DETECTOR.infer([SpeechRequest("a", frames, None)])[0].probabilities.tolist() if len(frames) else []
        )
        for span in self.buffer.add_speech(probabilities, last=last):
            self.spans.append(span)
            self.samples.append(self.buffer.window(span).samples)


def run(audio: np.ndarray, sizes: Sequence[int]) -> BufferRun:
    tested, place = BufferRun(), 0
    for size in sizes:
        tested.push(audio[place : place + size])
        place += size
    tested.push(audio[place:], last=True)
    return tested


spans = st.lists(st.tuples(st.integers(0, 90_000), st.integers(500, 40_000)), max_size=4).map(
    lambda pairs: [(start, start + length) for start, length in pairs]
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(spans=spans, length=st.integers(9_000, 110_000), sizes=st.lists(st.integers(1, 48_000), max_size=10))
def test_blocks_never_change_windows(spans: list[tuple[int, int]], length: int, sizes: list[int]) -> None:
    audio = speech_audio(spans, length)
    once, pieces = run(audio, ()), run(audio, sizes)
    assert pieces.spans == once.spans
    assert pieces.buffer.speech_samples == once.buffer.speech_samples
    for span, samples in zip(once.spans, once.samples, strict=True):
        assert np.array_equal(samples, audio[span.start_sample : span.end_sample])
        assert span.length_samples <= span.spec.length_samples
        assert span.end_sample % span.spec.hop_samples == 0 or span.end_sample == length
        assert span.speech_samples <= span.length_samples
        if span.passes_gate:
            assert span.length_samples >= span.spec.minimum_samples
            assert span.segment is not None
            if span.spec.from_onset and span.length_samples > span.spec.minimum_samples:
                assert span.start_sample > span.segment.start_sample - ONSET_GRID_SAMPLES


def test_silence_passes_no_gate() -> None:
    assert not any(span.passes_gate for span in run(speech_audio([], 100_000), ()).spans)


def test_a_click_passes_no_gate() -> None:
    assert not any(span.passes_gate for span in run(speech_audio([(50_000, 50_400)], 100_000), ()).spans)


def test_new_speech_is_counted_once_across_overlapping_windows() -> None:
    tested = run(speech_audio([(16_000, 80_000)], 112_000), ())
    for spec in SPECS:
        new_speech = sum(span.new_speech_samples for span in tested.spans if span.spec == spec)
        assert new_speech == tested.buffer.speech_samples


@settings(max_examples=25, deadline=None)
@given(before=st.integers(1_000, 70_000), lost=st.integers(0, 50_000), after=st.integers(1_000, 70_000))
def test_no_window_spansa_gap(before: int, lost: int, after: int) -> None:
    tested = BufferRun()
    tested.push(speech_audio([(0, before)], before), last=True)
    tested.buffer.gap(lost)
    tested.push(speech_audio([(0, after)], after), last=True)
    assert tested.buffer.end_sample == before + lost + after
    for span in tested.spans:
        assert span.end_sample <= before or span.start_sample >= before + lost
        assert span.segment is None or span.end_sample <= before or span.segment.start_sample >= before + lost


@settings(max_examples=40, deadline=None)
@given(spans=spans, at=st.integers(0, 60_000))
def test_past_speech_does_not_depend_on_later_audio(spans: list[tuple[int, int]], at: int) -> None:
    audio = speech_audio(spans, 110 * FRAME_SAMPLES * 2)
    probabilities = DETECTOR.infer([SpeechRequest("a", audio, None)])[0].probabilities.tolist()
    frames = at // FRAME_SAMPLES
    early, late = (SpeechTimeline(settings=GATE, memory_samples=20 * 16_000) for _ in range(2))
    early.add_speech(probabilities[:frames])
    late.add_speech(probabilities)
    assert early.last_segment(at) == late.last_segment(at)
    assert early.speech(0, at) == late.speech(0, at)
    assert late.speech(0, at) + late.speech(at, 60_000) == late.speech(0, 60_000) or at > 60_000


def test_memory_is_bounded() -> None:
    speech = SpeechTimeline(settings=GATE, memory_samples=16_000)
    for _ in range(200):
        speech.add_speech([1.0] * 20 + [0.0] * 20)
    assert len(speech._flags) <= 32
    assert len(speech._segments) <= 3


def test_hysteresis() -> None:
    speech = SpeechTimeline(settings=GateSettings(on=0.5, off=0.35), memory_samples=160_000)
    speech.add_speech([0.4, 0.5, 0.4, 0.36, 0.34, 0.4])
    assert list(speech._flags) == [False, True, True, True, False, False]


parts = st.tuples(spans, st.integers(1_000, 50_000), st.integers(0, 30_000))


@settings(max_examples=25, deadline=None)
@given(script=st.lists(parts, min_size=1, max_size=3), sizes=st.lists(st.integers(1, 48_000), max_size=6))
def test_blocks_never_change_windows_around_gaps(
    script: list[tuple[list[tuple[int, int]], int, int]], sizes: list[int]
) -> None:
    once, pieces = BufferRun(), BufferRun()
    for loud, length, lost in script:
        audio, place = speech_audio(loud, length), 0
        once.push(audio, last=True)
        for size in sizes:
            pieces.push(audio[place : place + size])
            place += size
        pieces.push(audio[place:], last=True)
        for tested in (once, pieces):
            tested.buffer.gap(lost)
    assert pieces.spans == once.spans
    assert all(map(np.array_equal, pieces.samples, once.samples))
    assert pieces.buffer.windows_gated == once.buffer.windows_gated == sum(not span.passes_gate for span in once.spans)
    assert pieces.buffer.end_sample == sum(length + lost for _, length, lost in script)


def test_an_onset_is_no_window_that_was_gated() -> None:
    gate = GateSettings(min_speech_ms=250)
    buffer = StreamBuffer(
        source_id="a", specs=SPECS[:1], gate=gate, capacity=20 * 16_000, interim={SPECS[0]: 24_000}, conditioning=False
    )
    buffer.push(speech_audio([(2_600, 30_000)], 32_000))
    frames = buffer.frames(last=True)
    spans = buffer.add_speech(DETECTOR.infer([SpeechRequest("a", frames, None)])[0].probabilities.tolist(), last=True)
    assert sum(span.onset for span in spans) == 1
    assert buffer.windows_gated == sum(not span.passes_gate for span in spans) - 1
