"""Window spans and x-vectors for tests of the trackers."""

from __future__ import annotations

import numpy as np

from stream.types import SAMPLE_RATE_HZ, SpeechSegment, WindowSpan, WindowSpec

SPEC = WindowSpec(length_samples=32_000, hop_samples=8_000, minimum_samples=8_000)


def voice(number: int, *, lean: float = 0.0) -> np.ndarray:
    """Return one of several orthogonal x-vectors, blended with the next one by `lean`."""
    vector = np.zeros(8, np.float32)
    vector[number], vector[number + 1] = 1.0, lean
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def speech_spans(start_s: float, end_s: float) -> list[WindowSpan]:
    """Return the spans of a segment of continuous speech, and the silent one after it."""
    start, end = int(start_s * SAMPLE_RATE_HZ), int(end_s * SAMPLE_RATE_HZ)
    hop, spans, before = SPEC.hop_samples, [], start
    for tick in range((start // hop + 1) * hop, (end // hop + 2) * hop, hop):
        speech_end = min(tick, end)
        first = min(max(start, tick - SPEC.length_samples), tick - SPEC.minimum_samples)
        new_speech = max(0, speech_end - before)
        spans.append(
            WindowSpan(
                spec=SPEC,
                index=tick // hop - 1,
                start_sample=max(0, first),
                end_sample=tick,
                speech_samples=max(0, speech_end - max(first, start)),
                new_speech_samples=new_speech,
                segment=SpeechSegment(start, speech_end),
                passes_gate=new_speech >= 1_600 and speech_end - start >= 8_000,
            )
        )
        before = speech_end
    return spans
