"""Window extraction from a stream, by absolute sample index (pure).

A `WindowExtractor` follows one `WindowSpec`. One window ends at every multiple of the hop, so block sizes do not change
windows, and all streams share one grid. A window reaches back `length_samples`, but never across a gap and, with
`from_onset`, not before the speech segment it ends in; that onset is rounded down to `ONSET_GRID_SAMPLES`, so that
windows of different streams share lengths and thus batches. A span does not pass the gate if it holds too little speech
or none in its last hop: silence costs no inference.

*Interim* windows end at half hops, where they show earlier what has changed: in the first `interim_samples` of a speech
segment, and once after it, when it has paused. An *onset* ends at the first quarter of a hop at which speech has begun;
it says no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stream.audio.speech_gate import SpeechTimeline
from stream.settings import GateSettings
from stream.types import SAMPLE_RATE_HZ, SpeechSegment, Window, WindowSpan, WindowSpec

ONSET_GRID_SAMPLES = SAMPLE_RATE_HZ // 8
"""Onsets are rounded down to multiples of this (125 ms)."""

ONSET_STEPS = 4
"""Parts of a hop at whose ends an onset may end."""


class WindowExtractor:
    """Window spans of one stream for one spec, extracted as the stream grows."""

    def __init__(self, *, spec: WindowSpec, settings: GateSettings, interim_samples: int = 0) -> None:
        self.spec = spec
        self._interim = interim_samples
        self._step = spec.hop_samples // ONSET_STEPS if interim_samples else spec.hop_samples
        self._min_speech = 1 if spec.any_speech else settings.window_speech_ms * SAMPLE_RATE_HZ // 1000
        self._min_new_speech = 1 if spec.any_speech else settings.new_speech_ms * SAMPLE_RATE_HZ // 1000
        self._origin = 0  # the sample at which contiguous audio starts
        self._last_end = 0  # of the last span at a whole hop
        self._due_from = 0  # the last multiple of the step for which a span was due
        self._counted_until = 0  # end of the last span
        self._spoke = False  # speech had not paused then

    def restart(self, sample: int) -> None:
        """Start afresh after a gap; contiguous audio starts at `sample`."""
        self._origin = self._last_end = self._due_from = self._counted_until = sample
        self._spoke = False

    def is_due(self, end_sample: int) -> bool:
        """Return whether a window ends by `end_sample`."""
        return (self._due_from // self._step + 1) * self._step <= end_sample

    def due(self, speech: SpeechTimeline, end_sample: int, *, last: bool = False) -> list[WindowSpan]:
        """Return the spans that end by `end_sample`, up to which speech is known; with `last`, also the tail."""
        spans = []
        while (end := (self._due_from // self._step + 1) * self._step) <= end_sample:
            self._due_from = end
            span = self._span(speech, end, interim=end % self.spec.hop_samples != 0)
            if not span.interim or self._is_of_use(span):
                spans.append(self._noted(span))
            elif (onset := self._onset(speech, end)) is not None:
                self._spoke = True
                spans.append(replace(span, segment=onset, onset=True, passes_gate=False, new_speech_samples=0))
        if last and end_sample > self._last_end:
            spans.append(self._noted(self._span(speech, end_sample)))
            self._due_from = end_sample
        return spans

    def _noted(self, span: WindowSpan) -> WindowSpan:
        self._counted_until, self._spoke = span.end_sample, not span.silent
        if not span.interim:
            self._last_end = span.end_sample
        return span

    def _is_of_use(self, span: WindowSpan) -> bool:
        """Return whether an interim window shows something new: a young speech segment, or that one has paused."""
        at_half = span.end_sample % (self.spec.hop_samples // 2) == 0
        if span.segment is None or span.silent:
            return self._spoke and at_half
        young = span.end_sample - span.segment.start_sample <= self._interim
        return at_half and young and span.new_speech_samples > 0

    def _onset(self, speech: SpeechTimeline, end: int) -> SpeechSegment | None:
        """Return the speech that has begun since the last span; windows of any speech have no use for that."""
        return None if self._spoke or self.spec.any_speech else speech.onset(end)

    def _span(self, speech: SpeechTimeline, end: int, *, interim: bool = False) -> WindowSpan:
        start = max(self._origin, end - self.spec.length_samples)
        segment = speech.last_segment(end)
        if self.spec.from_onset and segment is not None:
            onset = segment.start_sample // ONSET_GRID_SAMPLES * ONSET_GRID_SAMPLES
            latest = end - self.spec.minimum_samples
            start = max(start, min(onset, latest))
        speech_samples = min(speech.speech(start, end), end - start)
        # speech in the last hop counts only within a segment: neither clicks nor frames of an earlier segment do
        continues = segment is not None and segment.end_sample > self._last_end
        hop_speech = speech.speech(self._last_end, end) if continues else 0
        new_speech = speech.speech(self._counted_until, end) if continues else 0
        return WindowSpan(
            spec=self.spec,
            index=-(-end // self.spec.hop_samples) - 1,
            start_sample=start,
            end_sample=end,
            speech_samples=speech_samples,
            new_speech_samples=new_speech,
            segment=segment,
            passes_gate=(
                continues
                and end - start >= self.spec.minimum_samples
                and speech_samples >= self._min_speech
                and hop_speech >= self._min_new_speech
                and (new_speech > 0 or not interim)
            ),
            interim=interim,
        )


def join_parts(window: Window, parts: Sequence[tuple[int, int]]) -> Window:
    """Return the audio of some parts of a window, in samples of the stream, one after the other."""
    first = window.start_sample
    joined = [window.samples[start - first : end - first] for start, end in parts]
    return replace(window, start_sample=parts[0][0], samples=joined[0] if len(joined) == 1 else np.concatenate(joined))
