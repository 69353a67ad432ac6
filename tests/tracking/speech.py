"""Cuts as the intake makes them, for two people who speak in turns."""

from __future__ import annotations

import numpy as np

from stream.types import SAMPLE_RATE_HZ, SpeechSegment, WindowSpan, WindowSpec

SPEC = WindowSpec(length_samples=32_000, hop_samples=8_000, minimum_samples=8_000)


def voice(number: int, *, lean: float = 0.0) -> np.ndarray:
    """One of several orthogonal voices, leaning towards the next one."""
    vector = np.zeros(8, np.float32)
    vector[number], vector[number + 1] = 1.0, lean
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def talk(start_s: float, end_s: float) -> list[WindowSpan]:
    """The cuts of a stretch of unbroken speech, with the silent one after it."""
    start, end = int(start_s * SAMPLE_RATE_HZ), int(end_s * SAMPLE_RATE_HZ)
    hop, cuts, before = SPEC.hop_samples, [], start
    for tick in range((start // hop + 1) * hop, (end // hop + 2) * hop, hop):
        heard = min(tick, end)
        first = min(max(start, tick - SPEC.length_samples), tick - SPEC.minimum_samples)
        fresh = max(0, heard - before)
        cuts.append(
            WindowSpan(
                spec=SPEC,
                index=tick // hop - 1,
                start_sample=max(0, first),
                end_sample=tick,
                speech_samples=max(0, heard - max(first, start)),
                fresh_samples=fresh,
                stretch=SpeechSegment(start, heard),
                open=fresh >= 1_600 and heard - start >= 8_000,
            )
        )
        before = heard
    return cuts
