"""Window extraction: where windows end, how far back they reach, and which pass the gate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.audio.speech_gate import SpeechTimeline
from stream.audio.windows import ONSET_GRID_SAMPLES, WindowExtractor
from stream.settings import GateSettings
from stream.types import SpeechSegment, WindowSpan, WindowSpec

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


def timeline(probabilities: list[float], *, origin: int = 0) -> SpeechTimeline:
    speech = SpeechTimeline(settings=GATE, memory_samples=10 * 16_000)
    speech.restart(origin)
    speech.add_speech(probabilities)
    return speech


def extractor(spec: WindowSpec, *, origin: int = 0, interim: int = 0) -> WindowExtractor:
    made = WindowExtractor(spec=spec, settings=GATE, interim_samples=interim)
    made.restart(origin)
    return made


@pytest.mark.slow
@given(
    probabilities=frames,
    spec=specs,
    origin=st.integers(0, 30_000),
    sizes=st.lists(st.integers(0, 9_000)),
    interim=st.sampled_from([0, 24_000]),
)
def test_windows_may_be_extracted_in_any_steps(
    probabilities: list[float], spec: WindowSpec, origin: int, sizes: list[int], interim: int
) -> None:
    speech = timeline(probabilities, origin=origin)
    end, place = speech.horizon, origin
    once, often = (extractor(spec, origin=origin, interim=interim) for _ in range(2))
    spans: list[WindowSpan] = []
    for size in sizes:
        place = min(end, place + size)
        spans += often.due(speech, place)
    spans += often.due(speech, end, last=True)
    assert spans == once.due(speech, end, last=True)
    assert once.due(speech, end, last=True) == [], "the tail is extracted once"


@given(probabilities=frames, spec=specs, origin=st.integers(0, 30_000))
def test_window_positions(probabilities: list[float], spec: WindowSpec, origin: int) -> None:
    speech = timeline(probabilities, origin=origin)
    end = speech.horizon
    spans = extractor(spec, origin=origin).due(speech, end, last=True)
    ends = [span.end_sample for span in spans]
    multiples = [place for place in range(0, end + 1, spec.hop_samples) if place > origin]
    assert ends == sorted({*multiples, end} - {origin}), "at every multiple of the hop, and at the tail"
    assert sum(span.new_speech_samples for span in spans) <= speech.speech_samples
    for span in spans:
        assert origin <= span.start_sample < span.end_sample
        assert span.length_samples <= spec.length_samples
        assert 0 <= span.speech_samples <= span.length_samples
        assert span.index * spec.hop_samples < span.end_sample <= (span.index + 1) * spec.hop_samples
        if not span.passes_gate:
            continue
        assert span.segment is not None
        assert span.length_samples >= spec.minimum_samples
        assert span.speech_samples >= GATE.window_speech_ms * 16
        assert span.new_speech_samples >= GATE.new_speech_ms * 16
        if not spec.from_onset:
            assert span.start_sample == max(origin, span.end_sample - spec.length_samples)
        elif span.length_samples > spec.minimum_samples:
            assert span.start_sample > span.segment.start_sample - ONSET_GRID_SAMPLES


@given(probabilities=frames, spec=specs, interim=st.sampled_from([0, 24_000]))
def test_new_speech_is_counted_once(probabilities: list[float], spec: WindowSpec, interim: int) -> None:
    gate = GATE.model_copy(update={"min_speech_ms": 0})
    speech = SpeechTimeline(settings=gate, memory_samples=10 * 16_000)
    speech.add_speech(probabilities)
    tested = WindowExtractor(spec=spec, settings=gate, interim_samples=interim)
    spans = tested.due(speech, speech.horizon, last=True)
    assert sum(span.new_speech_samples for span in spans) == speech.speech_samples


@given(spec=specs, length=st.integers(0, 80))
def test_silence_passes_no_gate(spec: WindowSpec, length: int) -> None:
    speech = timeline([0.0] * length)
    spans = extractor(spec).due(speech, speech.horizon, last=True)
    assert not any(span.passes_gate or span.new_speech_samples or span.speech_samples for span in spans)


def test_a_segment_that_has_ended_passes_no_gate_again() -> None:
    spec = WindowSpec(48_000, 8_000, 8_000)
    speech = timeline([1.0] * 40 + [0.0] * 60)  # 20,480 samples of speech
    passing = [span.end_sample for span in extractor(spec).due(speech, speech.horizon) if span.passes_gate]
    assert passing == [8_000, 16_000, 24_000]


def test_interim_windows_show_how_speech_begins_and_that_it_has_paused() -> None:
    spec = WindowSpec(32_000, 8_000, 8_000)
    speech = timeline([0.0] * 6 + [1.0] * 124 + [0.0] * 60)  # from 0.19 s to 4.16 s
    spans = extractor(spec, interim=24_000).due(speech, speech.horizon)
    assert [span.end_sample for span in spans if span.interim and not span.onset] == [12_000, 20_000, 76_000]
    assert [span.end_sample for span in spans if not span.interim] == list(range(8_000, speech.horizon + 1, 8_000))


def test_an_onset_ends_at_a_quarter_of_a_hop_and_takes_no_speech_from_the_next_window() -> None:
    spec = WindowSpec(32_000, 8_000, 8_000)
    gate = GateSettings(min_speech_ms=250, min_silence_ms=300)
    speech = SpeechTimeline(settings=gate, memory_samples=20 * 16_000)
    speech.add_speech([0.0] * 6 + [1.0] * 40 + [0.0] * 20 + [1.0] * 40)
    made = WindowExtractor(spec=spec, settings=gate, interim_samples=24_000)
    spans = made.due(speech, speech.horizon)
    onsets = [(span.end_sample, span.segment) for span in spans if span.onset]
    again = 66 * 512
    first = -(-(again + 4 * 512) // 2_000) * 2_000
    assert onsets == [(6_000, SpeechSegment(3_072, 5_632)), (first, SpeechSegment(again, first // 512 * 512))]
    assert not any(span.passes_gate or span.new_speech_samples for span in spans if span.onset)
    assert sum(span.new_speech_samples for span in spans) == speech.speech(0, spans[-1].end_sample)


def test_a_click_and_windows_of_any_speech_have_no_onset() -> None:
    click = timeline([0.0] * 6 + [1.0] * 3 + [0.0] * 20)
    spec = WindowSpec(32_000, 8_000, 8_000)
    assert not any(span.onset for span in extractor(spec, interim=24_000).due(click, click.horizon))
    speech = timeline([0.0] * 6 + [1.0] * 40)
    any_speech = replace(spec, any_speech=True)
    assert not any(span.onset for span in extractor(any_speech, interim=24_000).due(speech, speech.horizon))
    assert not any(span.onset for span in extractor(spec).due(speech, speech.horizon))
