"""Entries of a stream's queue: windows whose results are pending, and what comes between them.

A window of the speaker model may wait there for segmentation to say which parts of it to embed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stream.events import StreamBody
from stream.inference.pool import ModelLane
from stream.queues import Policy
from stream.types import Scores, SpeechSegment, Task, Window, WindowSpan


@dataclass(frozen=True, slots=True)
class DeferredWindow:
    """A window, the lane it is meant for, and the monotonic time at which its audio was captured."""

    window: Window
    lane: ModelLane
    policy: Policy
    captured_s: float

    async def submit(self, parts: Sequence[tuple[int, int]]) -> asyncio.Future[Sequence[Scores] | None]:
        """Submit the audio of the `parts` (in samples of the stream), joined."""
        start = self.window.start_sample
        samples = [self.window.samples[first - start : end - start] for first, end in parts]
        joined = replace(
            self.window,
            start_sample=parts[0][0],
            samples=samples[0] if len(samples) == 1 else np.concatenate(samples),
        )
        age_s = time.monotonic() - self.captured_s
        return await self.lane.submit(self.window.source_id, joined, policy=self.policy, age_s=age_s)


PendingResult = asyncio.Future[Sequence[Scores] | None] | DeferredWindow


@dataclass(frozen=True, slots=True)
class PendingWindow:
    """A window span and, per task, the pending results with the model's index in them (None: no model was asked)."""

    span: WindowSpan
    results: tuple[tuple[Task, tuple[PendingResult, int] | None], ...]


@dataclass(frozen=True, slots=True)
class SettledSpeech:
    """A party's speech segments up to the sample `settled`, for its call."""

    segments: tuple[SpeechSegment, ...]
    settled: int


@dataclass(frozen=True, slots=True)
class GapMarker:
    """A stream event before which the tracker ends open turns."""

    body: StreamBody


def narrowed(span: WindowSpan, parts: Sequence[tuple[int, int]]) -> WindowSpan:
    """Return the span of a window of which only `parts` were embedded."""
    speech = sum(end - start for start, end in parts)
    if speech >= span.length_samples:
        return span
    return replace(span, start_sample=parts[0][0], speech_samples=min(speech, span.length_samples))
