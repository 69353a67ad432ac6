"""Speech detection in one stream: batches of frames, each from the detector's state behind the one before."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from stream.inference.batching import MAX_CONSECUTIVE_FAILURES
from stream.inference.pool import SpeechLane
from stream.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, SpeechRequest

log = logging.getLogger(__name__)


class SpeechDetection:
    """Asks the speech detector's lane about one stream."""

    def __init__(self, *, name: str, lane: SpeechLane) -> None:
        self._name, self._lane = name, lane
        self._state: object | None = None

    def reset(self) -> None:
        """Start afresh: what follows is not the continuation of what came before."""
        self._state = None

    async def detect(self, frames: Samples) -> Sequence[float]:
        """Return the probability of speech in each frame; `frames` has shape (n * 512,).

        A batch that failed is submitted again at once: the ring may have dropped its audio by the next window, and
        after the last window there is no next. Frames on which the detector fails repeatedly count as silence.
        """
        if not len(frames):
            return ()
        request = SpeechRequest(self._name, frames, self._state)
        for _ in range(MAX_CONSECUTIVE_FAILURES):
            result = await (await self._lane.submit(self._name, request, policy="wait"))
            if result is not None:
                self._state = result.state
                return list(result.probabilities)
        log.warning(
            "%s: speech detection failed for %.2f s of audio, treated as silence",
            self._name,
            len(frames) / SAMPLE_RATE_HZ,
        )
        self._state = None
        return [0.0] * (len(frames) // FRAME_SAMPLES)
