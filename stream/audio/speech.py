"""The speech gate's memory: where in a stream there was speech.

`SpeechTimeline` turns the detector's probabilities into flags with hysteresis (speech begins at `on`, ends below `off`:
Silero's way), and flags into *stretches*: runs of speech parted by at least `min_silence`. It answers questions about
the past only, so an answer about a sample never depends on how much was heard after it.

Pure: no model, no I/O. Bounded: frames and stretches older than `memory_samples` are forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from stream.settings import GateSettings
from stream.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, SpeechSegment


class SpeechTimeline:
    """Where one stream held speech, frame by frame."""

    def __init__(self, *, settings: GateSettings, memory_samples: int) -> None:
        self._on, self._off = settings.on, settings.off
        self._min_silence = max(1, settings.min_silence_ms * SAMPLE_RATE_HZ // 1000)  # no pause parts nothing
        self._min_speech = max(1, settings.min_speech_ms * SAMPLE_RATE_HZ // 1000)  # no speech is no stretch
        self._memory = memory_samples
        self._origin = 0  # the sample at which frame 0 of `_flags` begins
        self._flags: deque[bool] = deque()
        self._stretches: deque[SpeechSegment] = deque()
        self._speaking = False
        self.speech_samples = 0

    @property
    def horizon(self) -> int:
        """The sample up to which speech is known."""
        return self._origin + len(self._flags) * FRAME_SAMPLES

    @property
    def stretches(self) -> tuple[SpeechSegment, ...]:
        """What is remembered of speech, in order; clicks shorter than the least speech left out."""
        return tuple(part for part in self._stretches if part.end_sample - part.start_sample >= self._min_speech)

    def restart(self, sample: int) -> None:
        """After a gap: frames are aligned anew to `sample`, and what came before is another story."""
        self._origin = sample
        self._flags.clear()
        self._stretches.clear()
        self._speaking = False

    def hear(self, probabilities: Iterable[float]) -> None:
        """The detector's next frames."""
        for probability in probabilities:
            self._speaking = probability >= (self._off if self._speaking else self._on)
            if self._speaking:
                self._extend(self.horizon)
                self.speech_samples += FRAME_SAMPLES
            self._flags.append(self._speaking)
        while len(self._flags) * FRAME_SAMPLES > self._memory:
            self._flags.popleft()
            self._origin += FRAME_SAMPLES
        while self._stretches and self._stretches[0].end_sample < self._origin:
            self._stretches.popleft()

    def speech(self, start_sample: int, end_sample: int) -> int:
        """Samples of speech in the frames that end within the span, so that adjoining spans add up.

        The first frame may begin before the span: there can be a frame's worth more speech than there are samples.
        """
        first = max(0, (start_sample - self._origin) // FRAME_SAMPLES)
        last = min(len(self._flags), (end_sample - self._origin) // FRAME_SAMPLES)
        return sum(islice(self._flags, first, max(first, last))) * FRAME_SAMPLES

    def stretch(self, sample: int) -> SpeechSegment | None:
        """The last stretch long enough to be speech, as far as it was heard by `sample`; None if none is remembered."""
        for stretch in reversed(self._stretches):
            heard = self._as_of(stretch, sample)
            if heard.end_sample - heard.start_sample >= self._min_speech:
                return heard
        return None

    def talk(self, since_sample: int, *, last: bool = False) -> tuple[list[SpeechSegment], int]:
        """Speech from `since_sample` on that nothing heard later can change, and up to where that is known.

        Stretches are cut at both ends. What may still turn out to be a pause within a stretch, or a burst too short to
        be speech, is left for the next time; with `last` nothing will be heard later.
        """
        settled = self.horizon
        newest = self._stretches[-1] if self._stretches else None
        if newest is not None and not last and settled - newest.end_sample < self._min_silence:
            sure = newest.end_sample - newest.start_sample >= self._min_speech
            settled = newest.end_sample if sure else newest.start_sample
        found = [
            SpeechSegment(max(stretch.start_sample, since_sample), min(stretch.end_sample, settled))
            for stretch in self._stretches
            if stretch.end_sample - stretch.start_sample >= self._min_speech
            and stretch.end_sample > since_sample
            and stretch.start_sample < settled
        ]
        return found, settled

    def _as_of(self, stretch: SpeechSegment, sample: int) -> SpeechSegment:
        """What was known of a stretch at `sample`: the detector may be further by now, by a block or by a second."""
        if stretch.end_sample <= sample:
            return stretch
        place = min(len(self._flags), (sample - self._origin) // FRAME_SAMPLES)
        while place > 0 and not self._flags[place - 1]:
            place -= 1
        return SpeechSegment(stretch.start_sample, max(stretch.start_sample, self._origin + place * FRAME_SAMPLES))

    def _extend(self, frame_start: int) -> None:
        frame_end = frame_start + FRAME_SAMPLES
        last = self._stretches[-1] if self._stretches else None
        if last is not None and frame_start - last.end_sample < self._min_silence:
            self._stretches[-1] = SpeechSegment(last.start_sample, frame_end)
            return
        self._stretches.append(SpeechSegment(frame_start, frame_end))
