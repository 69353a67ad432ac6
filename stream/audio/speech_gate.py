"""Speech timeline of a stream: per-frame speech flags and the segments they form (pure).

Whether a window passes the gate is decided from them in `windows.py`.

`SpeechTimeline` turns the detector's probabilities into flags with hysteresis (speech starts at `on` and ends below
`off`, as in Silero VAD), and flags into *speech segments*: runs of speech separated by at least `min_silence`. Queries
concern the past only, so the answer for a sample never depends on how much audio followed it.

Memory is bounded: frames and segments older than `memory_samples` are discarded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from stream.settings import GateSettings
from stream.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, SpeechSegment

ONSET_SAMPLES = 4 * FRAME_SAMPLES
"""Speech after which somebody is said to have begun to speak: 128 ms. Whether it is more than a click is seen later."""


class SpeechTimeline:
    """Speech flags and segments of one stream."""

    def __init__(self, *, settings: GateSettings, memory_samples: int) -> None:
        self._on, self._off = settings.on, settings.off
        self._min_silence = max(1, settings.min_silence_ms * SAMPLE_RATE_HZ // 1000)  # an empty pause ends no segment
        self._min_speech = max(1, settings.min_speech_ms * SAMPLE_RATE_HZ // 1000)  # a segment is never empty
        self._memory = memory_samples
        self._origin = 0  # the sample at which frame 0 of `_flags` starts
        self._flags: deque[bool] = deque()
        self._segments: deque[SpeechSegment] = deque()
        self._speaking = False
        self.speech_samples = 0

    @property
    def horizon(self) -> int:
        """The sample up to which speech flags exist."""
        return self._origin + len(self._flags) * FRAME_SAMPLES

    @property
    def segments(self) -> tuple[SpeechSegment, ...]:
        """The segments remembered, in order, without those shorter than `min_speech` (clicks)."""
        return tuple(one for one in self._segments if self._is_long_enough(one))

    def restart(self, sample: int) -> None:
        """Forget everything after a gap and align frames to `sample`."""
        self._origin = sample
        self._flags.clear()
        self._segments.clear()
        self._speaking = False

    def add_speech(self, probabilities: Iterable[float]) -> None:
        """Add the speech probabilities of the next frames."""
        for probability in probabilities:
            self._speaking = probability >= (self._off if self._speaking else self._on)
            if self._speaking:
                self._extend(self.horizon)
                self.speech_samples += FRAME_SAMPLES
            self._flags.append(self._speaking)
        while len(self._flags) * FRAME_SAMPLES > self._memory:
            self._flags.popleft()
            self._origin += FRAME_SAMPLES
        while self._segments and self._segments[0].end_sample < self._origin:
            self._segments.popleft()

    def speech(self, start_sample: int, end_sample: int) -> int:
        """Count the samples of speech in the frames that end within the span, so that adjacent spans add up.

        The first frame may start before the span; the count can exceed the length of the span by less than one frame.
        """
        first = max(0, (start_sample - self._origin) // FRAME_SAMPLES)
        last = min(len(self._flags), (end_sample - self._origin) // FRAME_SAMPLES)
        return sum(islice(self._flags, first, max(first, last))) * FRAME_SAMPLES

    def last_segment(self, sample: int) -> SpeechSegment | None:
        """Return the last segment of at least `min_speech` as it was known at `sample`, or None."""
        for segment in reversed(self._segments):
            known = self._as_of(segment, sample)
            if self._is_long_enough(known):
                return known
        return None

    def onset(self, sample: int) -> SpeechSegment | None:
        """Return the speech that goes on at `sample`, if it began at least `ONSET_SAMPLES` before."""
        newest = next((segment for segment in reversed(self._segments) if segment.start_sample < sample), None)
        if newest is None:
            return None
        known = self._as_of(newest, sample)
        goes_on = sample - known.end_sample < FRAME_SAMPLES
        return known if goes_on and known.end_sample - known.start_sample >= ONSET_SAMPLES else None

    def settled_segments(self, since_sample: int, *, last: bool = False) -> tuple[list[SpeechSegment], int]:
        """Return the speech from `since_sample` on that later audio cannot change, and the sample it is settled up to.

        Segments are clipped at both ends. A pause that may still be bridged and a burst that may still be too short
        are left for the next call; with `last` no audio follows and everything is settled.
        """
        settled = self.horizon
        newest = self._segments[-1] if self._segments else None
        if newest is not None and not last and settled - newest.end_sample < self._min_silence:
            settled = newest.end_sample if self._is_long_enough(newest) else newest.start_sample
        found = [
            SpeechSegment(max(segment.start_sample, since_sample), min(segment.end_sample, settled))
            for segment in self._segments
            if self._is_long_enough(segment) and segment.end_sample > since_sample and segment.start_sample < settled
        ]
        return found, settled

    def _is_long_enough(self, segment: SpeechSegment) -> bool:
        return segment.end_sample - segment.start_sample >= self._min_speech

    def _as_of(self, segment: SpeechSegment, sample: int) -> SpeechSegment:
        """Clip a segment to the state at `sample`; the detector may have advanced by a block or a second since."""
        if segment.end_sample <= sample:
            return segment
        place = min(len(self._flags), (sample - self._origin) // FRAME_SAMPLES)
        while place > 0 and not self._flags[place - 1]:
            place -= 1
        return SpeechSegment(segment.start_sample, max(segment.start_sample, self._origin + place * FRAME_SAMPLES))

    def _extend(self, frame_start: int) -> None:
        frame_end = frame_start + FRAME_SAMPLES
        last = self._segments[-1] if self._segments else None
        if last is not None and frame_start - last.end_sample < self._min_silence:
            self._segments[-1] = SpeechSegment(last.start_sample, frame_end)
            return
        self._segments.append(SpeechSegment(frame_start, frame_end))
