"""Windows: where they end, how far back they reach, and which of them are worth a model's time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.audio.speech import SpeechTimeline
from stream.audio.windows import GRAIN, WindowExtractor
from stream.settings import GateSettings
from stream.types import WindowSpan, WindowSpec

GATE = GateSettings(min_speech_ms=64, min_silence_ms=100, window_speech_ms=200, new_speech_ms=64)
frames = st.lists(st.integers(0, 12), max_size=10).map(
    lambda runs: [float(number % 2) for number, length in enumerate(runs) for _ in range(length)]
)
specs = st.builds(
    lambda hop, more, least, onset: WindowSpec(hop + more, hop, min(least, hop + more), from_onset=onset),
    st.integers(600, 9_000),
    st.integers(0, 20_000),
    st.integers(1, 9_000),
    st.booleans(),
)


def listen(probabilities: list[float], *, origin: int = 0) -> SpeechTimeline:
    speech = SpeechTimeline(settings=GATE, memory_samples=10 * 16_000)
    speech.restart(origin)
    speech.hear(probabilities)
    return speech


def cutter(spec: WindowSpec, *, origin: int = 0) -> WindowExtractor:
    made = WindowExtractor(spec=spec, settings=GATE)
    made.restart(origin)
    return made


@given(probabilities=frames, spec=specs, origin=st.integers(0, 30_000), sizes=st.lists(st.integers(0, 9_000)))
def test_it_does_not_matter_how_often_windows_are_asked_for(
    probabilities: list[float], spec: WindowSpec, origin: int, sizes: list[int]
) -> None:
    speech = listen(probabilities, origin=origin)
    end, place = speech.horizon, origin
    once, often = cutter(spec, origin=origin), cutter(spec, origin=origin)
    cuts: list[WindowSpan] = []
    for size in sizes:
        place = min(end, place + size)
        cuts += often.due(speech, place)
    cuts += often.due(speech, end, last=True)
    assert cuts == once.due(speech, end, last=True)
    assert once.due(speech, end, last=True) == [], "a tail is cut once"


@given(probabilities=frames, spec=specs, origin=st.integers(0, 30_000))
def test_where_windows_lie(probabilities: list[float], spec: WindowSpec, origin: int) -> None:
    speech = listen(probabilities, origin=origin)
    end = speech.horizon
    cuts = cutter(spec, origin=origin).due(speech, end, last=True)
    ends = [cut.end_sample for cut in cuts]
    multiples = [place for place in range(0, end + 1, spec.hop_samples) if place > origin]
    assert ends == sorted({*multiples, end} - {origin}), "at every multiple of the hop, and at the tail"
    assert sum(cut.fresh_samples for cut in cuts) <= speech.speech_samples
    for cut in cuts:
        assert origin <= cut.start_sample < cut.end_sample
        assert cut.length_samples <= spec.length_samples
        assert 0 <= cut.speech_samples <= cut.length_samples
        assert cut.index * spec.hop_samples < cut.end_sample <= (cut.index + 1) * spec.hop_samples
        if not cut.open:
            continue
        assert cut.stretch is not None
        assert cut.length_samples >= spec.minimum_samples
        assert cut.speech_samples >= GATE.window_speech_ms * 16
        assert cut.fresh_samples >= GATE.new_speech_ms * 16
        if not spec.from_onset:
            assert cut.start_sample == max(origin, cut.end_sample - spec.length_samples)
        elif cut.length_samples > spec.minimum_samples:
            assert cut.start_sample > cut.stretch.start_sample - GRAIN


@given(probabilities=frames, spec=specs)
def test_speech_is_fresh_exactly_once(probabilities: list[float], spec: WindowSpec) -> None:
    gate = GATE.model_copy(update={"min_speech_ms": 0})
    speech = SpeechTimeline(settings=gate, memory_samples=10 * 16_000)
    speech.hear(probabilities)
    cuts = WindowExtractor(spec=spec, settings=gate).due(speech, speech.horizon, last=True)
    assert sum(cut.fresh_samples for cut in cuts) == speech.speech_samples


@given(spec=specs, length=st.integers(0, 80))
def test_silence_costs_no_model(spec: WindowSpec, length: int) -> None:
    speech = listen([0.0] * length)
    cuts = cutter(spec).due(speech, speech.horizon, last=True)
    assert not any(cut.open or cut.fresh_samples or cut.speech_samples for cut in cuts)


def test_a_stretch_that_is_over_is_not_cut_again() -> None:
    spec = WindowSpec(48_000, 8_000, 8_000)
    speech = listen([1.0] * 40 + [0.0] * 60)  # 20,480 samples of speech
    opened = [cut.end_sample for cut in cutter(spec).due(speech, speech.horizon) if cut.open]
    assert opened == [8_000, 16_000, 24_000]
