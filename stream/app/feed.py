"""Audio that a program feeds into a session, and the events that follow from it.

`AudioFeed` is the program's side: it writes blocks and reads events. `Handover` takes events from a pipeline to the
program; `FeedRouter` is the sink that gives each feed of a shared pipeline its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stream.audio.channels import select_channels
from stream.errors import AudioFormatError, TonewatchError
from stream.events import Event, is_last
from stream.pipeline.publisher import MAX_QUEUED_EVENTS, conflation_key
from stream.queues import EventQueue, EventQueueStatistics, Policy, QueueClosed
from stream.sinks.base import ObserverSink
from stream.sources.push import PushSource
from stream.types import Samples

MAX_SPLIT_S = 1.0
"""A longer block is written in parts, so that `write` can wait in between."""


class Handover(ObserverSink):
    """Events on their way to the program; a sink of a pipeline.

    With policy `wait` the pipeline waits for a program that does not read; with `drop_oldest`, rolling events are
    conflated and the oldest dropped.
    """

    def __init__(self, *, policy: Policy) -> None:
        self._policy = policy
        self._queue: EventQueue[Event] = EventQueue(capacity=MAX_QUEUED_EVENTS, conflate=conflation_key)
        self._error: TonewatchError | None = None

    async def send(self, event: Event) -> None:
        """Queue one event; discarded once closed."""
        try:
            await self._queue.put(event, policy=self._policy)
        except QueueClosed:
            return

    def close(self, error: TonewatchError | None = None) -> None:
        """End the iteration after the queued events, with `error` if one ended the run."""
        self._error = self._error or error
        self._queue.close()

    def statistics(self) -> EventQueueStatistics:
        """Return the counts of the queue."""
        return self._queue.statistics()

    async def events(self) -> AsyncIterator[Event]:
        """Yield events until `close`. Raises the error that ended the run, if one did."""
        try:
            while True:
                yield await self._queue.take()
        except QueueClosed:
            if self._error is not None:
                raise self._error from None


class FeedRouter(ObserverSink):
    """The sink of a pipeline that several feeds share: every event goes to the feed of its source."""

    def __init__(self) -> None:
        self._feeds: dict[str, AudioFeed] = {}

    def register(self, feed: AudioFeed) -> None:
        """Route events of a source to a feed. Raises `AudioFormatError` if one of that name is open."""
        if feed.name in self._feeds:
            raise AudioFormatError(f"feed {feed.name!r} is already open; end it first or choose another name")
        self._feeds[feed.name] = feed

    def unregister(self, feed: AudioFeed) -> None:
        """Stop routing events to a feed."""
        self._feeds.pop(feed.name, None)

    async def send(self, event: Event) -> None:
        """Pass an event to its feed; those of the node have none."""
        feed = self._feeds.get(event.source)
        if feed is not None:
            await feed.handover.send(event)
            if is_last(event):
                feed.handover.close()
                self.unregister(feed)

    def close(self, error: TonewatchError | None = None) -> None:
        """End all feeds."""
        for feed in self._feeds.values():
            feed.handover.close(error)
        self._feeds.clear()


class AudioFeed:
    """Samples of a program, as one stream.

    `async for event in feed` yields the events of the stream until it has ended. A feed that is `live` gets the newest
    windows scored if the models cannot keep up, as a microphone does, and a program that does not read events gets the
    newest of each kind; the feed otherwise waits for both, as a file does. Writing waits while 10 s are buffered.
    """

    def __init__(self, *, name: str, rate_hz: int, channels: int, live: bool) -> None:
        self.name, self.rate_hz, self.channels, self.live = name, rate_hz, channels, live
        self.source = FeedSource(source_id=name, rate_hz=rate_hz, live=live)
        self.handover = Handover(policy="drop_oldest" if live else "wait")
        self._end_frame = 0

    async def write(self, samples: NDArray[np.int16] | NDArray[np.float32], *, lost_frames: int = 0) -> None:
        """Append samples, shape (frames,) or (frames, channels), int16 or float in [-1, 1].

        `lost_frames` were lost before them: the stream gets a gap of that length. Waits while 10 s are buffered. Raises
        `AudioFormatError` for another type, shape or value, and after the feed's end.
        """
        block = float_frames(samples, channels=self.channels)
        if lost_frames < 0:
            raise AudioFormatError(f"lost_frames is {lost_frames}; give the number of lost frames or 0")
        self._end_frame += lost_frames
        part_frames = round(MAX_SPLIT_S * self.rate_hz)
        for start in range(0, len(block), part_frames):
            part = select_channels(block[start : start + part_frames], "mix")[0]
            await self.source.wait_for_capacity()
            if self.source.is_ended:
                raise AudioFormatError(f"feed {self.name!r} has ended; open another one")
            self.source.put(self._end_frame, part)
            self._end_frame += len(part)

    async def end(self) -> None:
        """End the audio; events of what was written still follow."""
        self.source.end()

    def statistics(self) -> EventQueueStatistics:
        """Return the counts of events: put, taken, conflated, dropped, waiting."""
        return self.handover.statistics()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events until the stream has ended. Raises the error that ended it, if one did."""
        return self.handover.events()

    async def __aenter__(self) -> Self:
        """Return the feed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the audio."""
        await self.end()


class FeedSource(PushSource):
    """The source of a feed: live or lossless."""

    def __init__(self, *, source_id: str, rate_hz: int, live: bool) -> None:
        super().__init__(source_id=source_id, channels="mix", rate_hz=rate_hz)
        self.live = self.paced = live


def float_frames(samples: NDArray[Any], *, channels: int) -> Samples:
    """Return samples of shape (frames,) or (frames, channels) as float32 in [-1, 1], shape (frames, channels).

    Raises `AudioFormatError` for another shape or type, and for samples that are not finite.
    """
    block = np.asarray(samples)
    if block.ndim == 1 and channels == 1:
        block = block[:, None]
    if block.ndim != 2 or block.shape[1] != channels:  # noqa: PLR2004
        raise AudioFormatError(f"samples have shape {block.shape}; give (frames, {channels})")
    if block.dtype == np.int16:
        return np.asarray(block.astype(np.float32) / np.float32(32_768), np.float32)
    if not np.issubdtype(block.dtype, np.floating):
        raise AudioFormatError(f"samples are {block.dtype}; give int16, or float in [-1, 1]")
    if not np.isfinite(block).all():
        raise AudioFormatError("samples are not finite; leave out NaN and infinity")
    return np.asarray(block, np.float32)
