"""Audio buffer of one stream: from samples to speech segments and window spans (pure).

The owner pushes 16 kHz mono samples, passes new frames to the speech detector (`frames`) and its probabilities back
(`add_speech`), which returns the window spans that are due. Results do not depend on the block sizes pushed.

A gap flushes what came before it (including the tail window) and starts afresh: no window spans a gap, and frames and
windows are aligned anew. The sample index advances by the true length of the gap.

With `conditioning` everything that is read is conditioned (`audio.conditioning`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from stream.audio.conditioning import HUM_CONTEXT_SAMPLES, Conditioner
from stream.audio.hum import Hum
from stream.audio.ring import Ring
from stream.audio.speech_gate import SpeechTimeline
from stream.audio.windows import WindowExtractor
from stream.settings import GateSettings
from stream.types import FRAME_SAMPLES, Samples, SpeechSegment, Window, WindowSpan, WindowSpec


def required_capacity(specs: Sequence[WindowSpec], *, max_block: int) -> int:
    """Return the ring capacity that covers the longest read while blocks of up to `max_block` samples arrive.

    A read reaches back by at most one window, or by the hop for which frames are held back and the audio in which hum
    is followed. A larger ring would waste memory in each of hundreds of streams.
    """
    reach = (max(spec.length_samples, spec.hop_samples + HUM_CONTEXT_SAMPLES) for spec in specs)
    return max(reach, default=HUM_CONTEXT_SAMPLES) + 2 * max_block


class StreamBuffer:
    """Ring, speech timeline and window extractors of one stream.

    `capacity` is the number of samples kept; `memory` the number of samples for which speech flags are kept (default:
    `capacity`); `interim` the start of a speech segment, in samples, in which a spec has interim windows.
    """

    def __init__(
        self,
        *,
        source_id: str,
        specs: Sequence[WindowSpec],
        gate: GateSettings,
        capacity: int,
        memory: int = 0,
        conditioning: bool = True,
        interim: Mapping[WindowSpec, int] = MappingProxyType({}),
    ) -> None:
        memory = memory or capacity
        self.source_id = source_id
        self._ring = Ring(capacity=capacity)
        self._speech = SpeechTimeline(settings=gate, memory_samples=memory)
        self._extractors = [
            WindowExtractor(spec=spec, settings=gate, interim_samples=interim.get(spec, 0)) for spec in specs
        ]
        self._conditioner = Conditioner(memory_samples=capacity) if conditioning else None
        self._offset = 0  # sample index minus ring index: the total length of all gaps
        self._origin = 0  # the sample at which contiguous audio starts
        self.frame_gains = np.empty(0, np.float32)
        """Amplification of each of the frames read last, which only the speech detector needs."""

        self.windows_gated = 0

    @property
    def end_sample(self) -> int:
        """The sample index after the last sample pushed."""
        return self._ring.committed + self._offset

    @property
    def speech_samples(self) -> int:
        """Samples of speech detected so far."""
        return self._speech.speech_samples

    @property
    def hum(self) -> Hum | None:
        """The mains hum that is being removed, if any."""
        return None if self._conditioner is None else self._conditioner.hum

    def settled_segments(self, since_sample: int, *, last: bool = False) -> tuple[list[SpeechSegment], int]:
        """Return `SpeechTimeline.settled_segments`, limited to real samples: the final frame may be zero-padded."""
        segments, settled = self._speech.settled_segments(since_sample, last=last)
        end = self.end_sample
        kept = [
            SpeechSegment(segment.start_sample, min(segment.end_sample, end))
            for segment in segments
            if segment.start_sample < end
        ]
        return kept, min(settled, end)

    def push(self, samples: Samples) -> None:
        """Append samples of shape (n,)."""
        if self._conditioner is not None:
            samples = self._conditioner.push(samples)
        self._ring.write(samples[:, None])

    def is_due(self) -> bool:
        """Return whether a window ends in the samples pushed; until then, frames need not go to the detector.

        Several frames in one detector call cost far less than one call each. A window uses no frame behind its end, so
        holding frames back changes neither results nor latency.
        """
        return not self._extractors or any(extractor.is_due(self.end_sample) for extractor in self._extractors)

    def frames(self, *, last: bool = False) -> Samples:
        """Return the whole frames not yet scored, shape (n * 512,); with `last`, the final one is zero-padded."""
        horizon = self._speech.horizon
        length = self.end_sample - horizon
        if length <= 0:
            return np.empty(0, np.float32)
        if not last:
            length = length // FRAME_SAMPLES * FRAME_SAMPLES
        frames = np.pad(self._read_frames(horizon, length), (0, -length % FRAME_SAMPLES))
        if self._conditioner is None:
            self.frame_gains = np.ones(len(frames) // FRAME_SAMPLES, np.float32)
            return frames
        self.frame_gains = self._conditioner.gains(frames)
        return np.asarray((frames.reshape(-1, FRAME_SAMPLES) * self.frame_gains[:, None]).ravel(), np.float32)

    def add_speech(self, probabilities: Sequence[float], *, last: bool = False) -> list[WindowSpan]:
        """Add the speech probabilities of `frames`; return the window spans now due, ordered by their ends."""
        self._speech.add_speech(probabilities)
        spans = [
            span for extractor in self._extractors for span in extractor.due(self._speech, self.end_sample, last=last)
        ]
        spans.sort(key=lambda span: span.end_sample)  # stable: specs keep their order
        self.windows_gated += sum(not (span.passes_gate or span.onset) for span in spans)
        return spans

    def window(self, span: WindowSpan) -> Window:
        """Read the samples of a span. Raises `RingOverrun` if they have been overwritten."""
        return Window(
            source_id=self.source_id,
            index=span.index,
            start_sample=span.start_sample,
            samples=self._clean(self._read(span.start_sample, span.length_samples), span.end_sample),
            speech_ratio=span.speech_samples / span.length_samples,
            speech_samples=span.speech_samples,
        )

    def gap(self, lost_samples: int) -> None:
        """Skip lost samples. Call `frames(last=True)` and `add_speech(last=True)` first."""
        self._offset += lost_samples
        self._speech.restart(self.end_sample)
        for extractor in self._extractors:
            extractor.restart(self.end_sample)
        self._origin = self.end_sample
        if self._conditioner is not None:
            self._conditioner.restart(self._origin)

    def _clean(self, samples: Samples, end_sample: int) -> Samples:
        return samples if self._conditioner is None else self._conditioner.clean(samples, end_sample)

    def _read_frames(self, start_sample: int, length: int) -> Samples:
        """Read conditioned samples; hum is subtracted frame by frame, so that it does not matter how many are read."""
        samples = self._read(start_sample, length)
        if self._conditioner is None:
            return samples
        for offset in range(0, length, FRAME_SAMPLES):
            end = start_sample + min(offset + FRAME_SAMPLES, length)
            if self._conditioner.has_hum(end):
                oldest = max(self._origin, self._ring.oldest + self._offset, end - HUM_CONTEXT_SAMPLES)
                context = self._clean(self._read(oldest, end - oldest), end)
                samples[offset : offset + FRAME_SAMPLES] = context[-min(FRAME_SAMPLES, length - offset) :]
        return samples

    def _read(self, start_sample: int, length: int) -> Samples:
        samples: Samples = self._ring.read(start_sample - self._offset, length)[:, 0]
        return samples
