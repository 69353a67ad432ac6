"""Entries of a stream's queue: windows whose results are pending, and what comes between them.

A window of the speaker model may wait there for segmentation to say which parts of it to embed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stream.audio.windows import join_parts
from stream.events import Body, SpeakerBody, StreamBody
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
        age_s = time.monotonic() - self.captured_s
        window = join_parts(self.window, parts)
        return await self.lane.submit(window.source_id, window, policy=self.policy, age_s=age_s)


PendingResult = asyncio.Future[Sequence[Scores] | None] | DeferredWindow


@dataclass(frozen=True, slots=True)
class PendingWindow:
    """A window span and, per task, the pending results with the model's index in them (None: no model was asked).

    `level_dbfs` is that of the window's last second, if a model was asked.
    """

    span: WindowSpan
    results: tuple[tuple[Task, tuple[PendingResult, int] | None], ...]
    level_dbfs: float | None = None

    def with_level(self, body: Body) -> Body:
        """Return a body that follows from the window; with the level, if it says who speaks."""
        if not isinstance(body, SpeakerBody) or body.state == "silence" or self.level_dbfs is None:
            return body
        return body.model_copy(update={"level_dbfs": round(self.level_dbfs, 1)})


@dataclass(frozen=True, slots=True)
class SettledSpeech:
    """A party's speech segments up to the sample `settled`, for its call; the last `lost` samples are missing."""

    segments: tuple[SpeechSegment, ...]
    settled: int
    lost: int = 0


@dataclass(frozen=True, slots=True)
class GapMarker:
    """A stream event before which the tracker ends open turns."""

    body: StreamBody


def narrowed(span: WindowSpan, parts: Sequence[tuple[int, int]]) -> WindowSpan:
    """Return the span of a window of which only `parts` were embedded."""
    embedded = sum(end - start for start, end in parts)
    return span if embedded == span.length_samples else replace(span, start_sample=parts[0][0], speech_samples=embedded)
