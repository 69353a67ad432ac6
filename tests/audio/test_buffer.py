"""From samples to cuts: blocks never change windows, no window spans a gap, the past is not touched by what comes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audio.buffer import StreamBuffer
from stream.audio.speech import SpeechTimeline
from stream.audio.windows import GRAIN
from stream.settings import GateSettings
from stream.types import FRAME_SAMPLES, SpeechRequest, WindowSpan, WindowSpec
from tests.support.fakes import FakeDetector

GATE = GateSettings(min_speech_ms=64, min_silence_ms=300, window_speech_ms=300, new_speech_ms=64)
SPECS = (
    WindowSpec(length_samples=32_000, hop_samples=8_000, minimum_samples=8_000),
    WindowSpec(length_samples=48_000, hop_samples=16_000, minimum_samples=8_000, from_onset=False),
)
DETECTOR = FakeDetector()


def talk(spans: Sequence[tuple[int, int]], length: int) -> np.ndarray:
    """Noise that is loud within the spans and nearly silent elsewhere."""
    sound = np.random.default_rng(4).uniform(-0.01, 0.01, length).astype(np.float32)
    for start, end in spans:
        sound[start:end] *= 40
    return sound


class Walk:
    """Drives an intake as the listener does, and keeps cuts with their samples."""

    def __init__(self) -> None:
        self.intake = StreamBuffer(source_id="a", specs=SPECS, gate=GATE, capacity=20 * 16_000)
        self.cuts: list[WindowSpan] = []
        self.sounds: list[np.ndarray] = []

    def hear(self, sound: np.ndarray, *, last: bool = False) -> None:
        self.intake.push(sound)
        frames = self.intake.frames(last=last)
        probabilities = (
            DETECTOR.infer([SpeechRequest("a", frames, None)])[0].probabilities.tolist() if len(frames) else []
        )
        for cut in self.intake.hear(probabilities, last=last):
            self.cuts.append(cut)
            self.sounds.append(self.intake.window(cut).samples)


def walk(sound: np.ndarray, sizes: Sequence[int]) -> Walk:
    walked, place = Walk(), 0
    for size in sizes:
        walked.hear(sound[place : place + size])
        place += size
    walked.hear(sound[place:], last=True)
    return walked


spans = st.lists(st.tuples(st.integers(0, 90_000), st.integers(500, 40_000)), max_size=4).map(
    lambda pairs: [(start, start + length) for start, length in pairs]
)


@settings(max_examples=40, deadline=None)
@given(spans=spans, length=st.integers(9_000, 110_000), sizes=st.lists(st.integers(1, 48_000), max_size=10))
def test_blocks_never_change_windows(spans: list[tuple[int, int]], length: int, sizes: list[int]) -> None:
    sound = talk(spans, length)
    once, pieces = walk(sound, ()), walk(sound, sizes)
    assert pieces.cuts == once.cuts
    assert pieces.intake.speech_samples == once.intake.speech_samples
    for cut, samples in zip(once.cuts, once.sounds, strict=True):
        assert np.array_equal(samples, sound[cut.start_sample : cut.end_sample])
        assert cut.length_samples <= cut.spec.length_samples
        assert cut.end_sample % cut.spec.hop_samples == 0 or cut.end_sample == length
        assert cut.speech_samples <= cut.length_samples
        if cut.open:
            assert cut.length_samples >= cut.spec.minimum_samples
            assert cut.stretch is not None
            if cut.spec.from_onset and cut.length_samples > cut.spec.minimum_samples:
                assert cut.start_sample > cut.stretch.start_sample - GRAIN


def test_silence_opens_no_window() -> None:
    assert not any(cut.open for cut in walk(talk([], 100_000), ()).cuts)


def test_a_click_opens_no_window() -> None:
    assert not any(cut.open for cut in walk(talk([(50_000, 50_400)], 100_000), ()).cuts)


def test_speech_is_heard_once_however_windows_overlap() -> None:
    walked = walk(talk([(16_000, 80_000)], 112_000), ())
    for spec in SPECS:
        fresh = sum(cut.fresh_samples for cut in walked.cuts if cut.spec == spec)
        assert fresh == walked.intake.speech_samples


@settings(max_examples=25, deadline=None)
@given(before=st.integers(1_000, 70_000), lost=st.integers(0, 50_000), after=st.integers(1_000, 70_000))
def test_no_window_spans_a_gap(before: int, lost: int, after: int) -> None:
    walked = Walk()
    walked.hear(talk([(0, before)], before), last=True)
    walked.intake.gap(lost)
    walked.hear(talk([(0, after)], after), last=True)
    assert walked.intake.end_sample == before + lost + after
    for cut in walked.cuts:
        assert cut.end_sample <= before or cut.start_sample >= before + lost
        assert cut.stretch is None or cut.end_sample <= before or cut.stretch.start_sample >= before + lost


@settings(max_examples=40, deadline=None)
@given(spans=spans, at=st.integers(0, 60_000))
def test_answers_about_the_past_do_not_depend_on_what_comes(spans: list[tuple[int, int]], at: int) -> None:
    sound = talk(spans, 110 * FRAME_SAMPLES * 2)
    probabilities = DETECTOR.infer([SpeechRequest("a", sound, None)])[0].probabilities.tolist()
    heard = at // FRAME_SAMPLES
    early, late = (SpeechTimeline(settings=GATE, memory_samples=20 * 16_000) for _ in range(2))
    early.hear(probabilities[:heard])
    late.hear(probabilities)
    assert early.stretch(at) == late.stretch(at)
    assert early.speech(0, at) == late.speech(0, at)
    assert late.speech(0, at) + late.speech(at, 60_000) == late.speech(0, 60_000) or at > 60_000


def test_memory_is_bounded() -> None:
    speech = SpeechTimeline(settings=GATE, memory_samples=16_000)
    for _ in range(200):
        speech.hear([1.0] * 20 + [0.0] * 20)
    assert len(speech._flags) <= 32
    assert len(speech._stretches) <= 3


def test_hysteresis() -> None:
    speech = SpeechTimeline(settings=GateSettings(on=0.5, off=0.35), memory_samples=160_000)
    speech.hear([0.4, 0.5, 0.4, 0.36, 0.34, 0.4])
    assert list(speech._flags) == [False, True, True, True, False, False]


parts = st.tuples(spans, st.integers(1_000, 50_000), st.integers(0, 30_000))


@settings(max_examples=25, deadline=None)
@given(story=st.lists(parts, min_size=1, max_size=3), sizes=st.lists(st.integers(1, 48_000), max_size=6))
def test_blocks_never_change_windows_around_gaps(
    story: list[tuple[list[tuple[int, int]], int, int]], sizes: list[int]
) -> None:
    once, pieces = Walk(), Walk()
    for loud, length, lost in story:
        sound, place = talk(loud, length), 0
        once.hear(sound, last=True)
        for size in sizes:
            pieces.hear(sound[place : place + size])
            place += size
        pieces.hear(sound[place:], last=True)
        for walked in (once, pieces):
            walked.intake.gap(lost)
    assert pieces.cuts == once.cuts
    assert all(map(np.array_equal, pieces.sounds, once.sounds))
    assert pieces.intake.windows_gated == once.intake.windows_gated == sum(not cut.open for cut in once.cuts)
    assert pieces.intake.end_sample == sum(length + lost for _, length, lost in story)
