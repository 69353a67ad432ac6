"""Cuts windows out of a stream, by absolute sample index (pure).

A `WindowExtractor` follows one `WindowSpec`. One window ends at every multiple of the hop, so block sizes never change windows,
and two streams cut alike. It reaches back `length_samples`, but never across a gap, and (`from_onset`) not before the
stretch of speech it ends in, rounded down to `GRAIN` so that windows of different streams still share lengths and
batches. A `WindowSpan` is closed when the gate sees too little speech in it, or none in its last hop: silence costs no model.
"""

from __future__ import annotations

from stream.audio.speech import SpeechTimeline
from stream.settings import GateSettings
from stream.types import SAMPLE_RATE_HZ, WindowSpan, WindowSpec

GRAIN = SAMPLE_RATE_HZ // 8
"""Onsets are rounded down to this, 125 ms."""


class WindowExtractor:
    """Cuts one stream by one spec; asked again and again as the stream grows."""

    def __init__(self, *, spec: WindowSpec, settings: GateSettings) -> None:
        self.spec = spec
        self._window_speech = settings.window_speech_ms * SAMPLE_RATE_HZ // 1000
        self._fresh_speech = settings.new_speech_ms * SAMPLE_RATE_HZ // 1000
        self._origin = 0  # where the unbroken sound began
        self._last_end = 0

    def restart(self, sample: int) -> None:
        """After a gap: sound is unbroken from `sample` on."""
        self._origin = self._last_end = sample

    def is_due(self, end_sample: int) -> bool:
        """Whether a window ends by `end_sample`."""
        return (self._last_end // self.spec.hop_samples + 1) * self.spec.hop_samples <= end_sample

    def due(self, speech: SpeechTimeline, end_sample: int, *, last: bool = False) -> list[WindowSpan]:
        """All cuts that end by `end_sample`, where speech is known; with `last`, the tail up to it as well."""
        cuts = []
        hop = self.spec.hop_samples
        while (end := (self._last_end // hop + 1) * hop) <= end_sample:
            cuts.append(self._cut(speech, end))
            self._last_end = end
        if last and end_sample > self._last_end:
            cuts.append(self._cut(speech, end_sample))
            self._last_end = end_sample
        return cuts

    def _cut(self, speech: SpeechTimeline, end: int) -> WindowSpan:
        start = max(self._origin, end - self.spec.length_samples)
        stretch = speech.stretch(end)
        if self.spec.from_onset and stretch is not None:
            onset = stretch.start_sample // GRAIN * GRAIN
            latest = end - self.spec.minimum_samples
            start = max(start, min(onset, latest))
        heard = min(speech.speech(start, end), end - start)
        going_on = (
            stretch is not None and stretch.end_sample > self._last_end
        )  # not a click, nor an old stretch's crumbs
        fresh = speech.speech(self._last_end, end) if going_on else 0
        return WindowSpan(
            spec=self.spec,
            index=-(-end // self.spec.hop_samples) - 1,
            start_sample=start,
            end_sample=end,
            speech_samples=heard,
            fresh_samples=fresh,
            stretch=stretch,
            open=(
                going_on
                and end - start >= self.spec.minimum_samples
                and heard >= self._window_speech
                and fresh >= self._fresh_speech
            ),
        )
