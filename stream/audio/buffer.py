"""One stream's way from samples to windows: ring, speech map, cutters (pure).

The owner pushes 16 kHz mono samples, fetches frames for the speech detector (`frames`), hands its answer back (`hear`)
and takes the cuts that are now due. Nothing here depends on how the sound was cut into blocks.

A gap ends what came before (its tail is cut and flushed) and begins anew behind it: no window spans a gap, frames and
cutters are aligned afresh. The sample index goes on through the gap by its true length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream.audio.ring import Ring
from stream.audio.speech import SpeechTimeline
from stream.audio.windows import WindowExtractor
from stream.settings import GateSettings
from stream.types import FRAME_SAMPLES, Samples, SpeechSegment, Window, WindowSpan, WindowSpec


def required_capacity(specs: Sequence[WindowSpec], *, piece: int) -> int:
    """A capacity that no read can outrun where pieces of up to `piece` samples are pushed and heard one by one.

    What is read is never older than a window, or than the hop that frames wait for. A minute for each of hundreds of
    streams would be memory for nothing.
    """
    return max((max(spec.length_samples, spec.hop_samples) for spec in specs), default=0) + 2 * piece


class StreamBuffer:
    """Ring, speech map and cutters of one stream: `capacity` samples of sound, `memory` of where speech was."""

    def __init__(
        self, *, source_id: str, specs: Sequence[WindowSpec], gate: GateSettings, capacity: int, memory: int = 0
    ) -> None:
        memory = memory or capacity
        self.source_id = source_id
        self._ring = Ring(capacity=capacity)
        self._speech = SpeechTimeline(settings=gate, memory_samples=memory)
        self._cutters = [WindowExtractor(spec=spec, settings=gate) for spec in specs]
        self._offset = 0  # sample index minus ring index: what gaps have skipped
        self.windows_gated = 0

    @property
    def end_sample(self) -> int:
        """The sample after the last one pushed."""
        return self._ring.committed + self._offset

    @property
    def speech_samples(self) -> int:
        """Speech heard so far."""
        return self._speech.speech_samples

    def talk(self, since_sample: int, *, last: bool = False) -> tuple[list[SpeechSegment], int]:
        """The map's `talk`, as far as there is sound: the final frame may have been filled up."""
        spans, settled = self._speech.talk(since_sample, last=last)
        end = self.end_sample
        kept = [
            SpeechSegment(span.start_sample, min(span.end_sample, end)) for span in spans if span.start_sample < end
        ]
        return kept, min(settled, end)

    def push(self, samples: Samples) -> None:
        """Append samples of shape (n,)."""
        self._ring.write(samples[:, None])

    def is_due(self) -> bool:
        """Whether a window ends in what was pushed: only then is there a need to ask where speech was.

        The detector takes several frames of a stream in far less time than one after the other, and a window hears
        of no frame behind its end, so nothing is told later or otherwise for waiting.
        """
        return not self._cutters or any(cutter.is_due(self.end_sample) for cutter in self._cutters)

    def frames(self, *, last: bool = False) -> Samples:
        """Whole frames that the detector has not heard, shape (n * 512,); with `last`, zeros fill up the final one."""
        horizon = self._speech.horizon
        length = self.end_sample - horizon
        if length <= 0:
            return np.empty(0, np.float32)
        if not last:
            return self._read(horizon, length // FRAME_SAMPLES * FRAME_SAMPLES)
        samples = self._read(horizon, length)
        return np.pad(samples, (0, -length % FRAME_SAMPLES))

    def hear(self, probabilities: Sequence[float], *, last: bool = False) -> list[WindowSpan]:
        """Take the detector's answer to `frames`; returns the cuts now due, in the order of their ends."""
        self._speech.hear(probabilities)
        cuts = [cut for cutter in self._cutters for cut in cutter.due(self._speech, self.end_sample, last=last)]
        cuts.sort(key=lambda cut: cut.end_sample)  # stable: specs keep their order
        self.windows_gated += sum(not cut.open for cut in cuts)
        return cuts

    def window(self, cut: WindowSpan) -> Window:
        """The cut's samples. Raises `RingOverrun` if it is older than the ring."""
        return Window(
            source_id=self.source_id,
            index=cut.index,
            start_sample=cut.start_sample,
            samples=self._read(cut.start_sample, cut.length_samples),
            speech_ratio=cut.speech_samples / cut.length_samples,
            speech_samples=cut.speech_samples,
        )

    def gap(self, lost_samples: int) -> None:
        """Sound was lost here; `frames(last=True)` and `hear(last=True)` must have been called before."""
        self._offset += lost_samples
        self._speech.restart(self.end_sample)
        for cutter in self._cutters:
            cutter.restart(self.end_sample)

    def _read(self, start_sample: int, length: int) -> Samples:
        samples: Samples = self._ring.read(start_sample - self._offset, length)[:, 0]
        return samples
