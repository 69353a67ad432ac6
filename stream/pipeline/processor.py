"""Processing of one stream: audio in, events out, in the order of the audio.

`push` passes mono audio through resampler, speech detector and window extraction, and submits the windows that pass the
gate to the models' lanes. Every window span becomes an entry of a queue, in order; `publish_events` waits for the
results of each entry in turn and passes them to the stream's `StreamTracker`. Events therefore depend on the audio
only, not on the order in which models finish, and one task numbers them. The cost: a result waits for those before it,
at most as long as the slowest model takes (docs/decisions/answers-in-order.md).

With a segmentation model, windows of the speaker model are submitted only when their turn has come: then the tracker
knows where in them one person speaks alone, and whether an x-vector is needed at all.

`pause` is a privacy switch: until `resume` the stream's audio is discarded unread, before it is buffered. What was
received before is processed, open turns end, and the discarded audio becomes a gap of its length.

Nothing is lost here: the queue is bounded, and a slow consumer holds back the source (a file) or lets the lanes drop
windows (live audio).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from stream.audio.buffer import StreamBuffer, required_capacity
from stream.audio.loudness import SILENCE_DBFS, level_dbfs
from stream.audio.resampling import Resampler
from stream.clock import samples, seconds
from stream.events import Body, CallChange, EmotionBody, Outcome, StreamBody
from stream.inference.pool import LaneSlot, ModelLane, SpeechLane
from stream.pipeline.live_stream import LiveStream
from stream.pipeline.pending import DeferredWindow, GapMarker, PendingResult, PendingWindow, SettledSpeech, narrowed
from stream.pipeline.publisher import Publisher
from stream.pipeline.speech_detection import SpeechDetection
from stream.queues import Policy
from stream.settings import GateSettings
from stream.tracking.stream_tracker import StreamTracker
from stream.types import SAMPLE_RATE_HZ, Model, Samples, Task, WindowSpan, WindowSpec

MAX_PENDING_WINDOWS = 64
"""Window spans of one stream that may wait for their results."""


INTERIM_TASKS = frozenset({Task.SPEAKER, Task.OVERLAP})
"""Tasks with interim windows: they say who speaks."""


class StreamProcessor:
    """Buffer, tracker and pending windows of one stream.

    Args:
        stream: The stream's record; its state, progress and lanes are kept up to date here.
        gate: Settings of the speech gate.
        conditioning: Whether audio is conditioned before any model gets it.
        ring_s: Seconds for which speech flags are kept.
        interim_s: Seconds of a speech segment in which who speaks is asked at half hops as well.
        models: The models that score this stream.
        slots: Where each model is asked, by its name.
        speech_lane: The speech detector's lane.
        tracker: Turns window scores into event bodies.
        turn_spec: Windows that no model scores but that move the turns of a call's track; None for other streams.
    """

    def __init__(
        self,
        *,
        stream: LiveStream,
        gate: GateSettings,
        conditioning: bool,
        ring_s: float,
        interim_s: float,
        models: Sequence[Model],
        slots: Mapping[str, LaneSlot],
        speech_lane: SpeechLane,
        tracker: StreamTracker,
        turn_spec: WindowSpec | None = None,
    ) -> None:
        self.tracker = tracker  # consistent whenever the event loop runs another task
        self._stream = stream
        self._rate_hz = stream.source.format.rate_hz
        self._policy: Policy = "drop_oldest" if stream.source.live else "wait"
        self._frames = 0  # received so far, at the source's rate
        self._discarded = 0  # end of the audio discarded during a pause, at the source's rate
        self._arrived_s = 0.0  # monotonic time at which the newest audio was captured
        self._gap_detail = ""  # why audio is missing from here on, if the source says
        self._order = asyncio.Lock()  # audio and stream-state events must keep their order
        self._resampler = Resampler(rate_hz=self._rate_hz)
        leading = () if turn_spec is None else (turn_spec,)
        specs = list(dict.fromkeys([*leading, *(model.spec for model in models)]))  # equal specs share windows
        memory = samples(ring_s)
        capacity = min(memory, required_capacity(specs, max_block=2 * SAMPLE_RATE_HZ))  # `push` adds a second at a time
        self._buffer = StreamBuffer(
            source_id=stream.name,
            specs=specs,
            gate=gate,
            capacity=capacity,
            memory=memory,
            conditioning=conditioning,
            interim={model.spec: samples(interim_s) for model in models if model.info.task in INTERIM_TASKS},
        )
        self._slots: dict[WindowSpec, list[tuple[Task, LaneSlot | None]]] = {
            spec: [(model.info.task, slots[model.info.name]) for model in models if model.spec == spec]
            for spec in specs
        }
        if turn_spec is not None:
            self._slots[turn_spec].insert(0, (Task.SPEAKER, None))
        tasks = {model.info.task for model in models}
        speaker = next((slots[model.info.name][0] for model in models if model.info.task is Task.SPEAKER), None)
        self._deferred_lane = speaker if Task.OVERLAP in tasks else None
        self._speech = SpeechDetection(name=stream.name, lane=speech_lane)
        self._settled = 0  # sample up to which speech segments were passed to the call
        self._spans_without_model = 0  # spans that did not pass the gate but that no model wanted either
        self._level_dbfs = SILENCE_DBFS
        self._flushed = False  # the audio since the last gap has been processed to its end
        self._pending: asyncio.Queue[PendingWindow | GapMarker | SettledSpeech | Body | None] = asyncio.Queue(
            MAX_PENDING_WINDOWS
        )

    @property
    def level_dbfs(self) -> float:
        """Level of the newest block; `SILENCE_DBFS` unless the stream is listening."""
        return self._level_dbfs if self._stream.state == "listening" else SILENCE_DBFS

    async def start(self, detail: str, labels: Mapping[str, str] = MappingProxyType({})) -> None:
        """Queue the event that the stream has started."""
        await self._report("started", detail, labels)

    async def push(self, audio: Samples, *, start_frame: int, captured_s: float) -> None:
        """Process mono samples (n,) at the source's rate; a `start_frame` beyond the last one received is a gap.

        `captured_s` is the monotonic time at which the last sample was captured.
        """
        async with self._order:
            for offset in range(0, len(audio), self._rate_hz):  # one second at a time: the ring's capacity relies on it
                part = audio[offset : offset + self._rate_hz]
                start, end = start_frame + offset, start_frame + offset + len(part)
                if self._stream.is_paused:  # a pause also takes effect within a block
                    self._discarded = end
                    continue
                await self._skip_gap(start)
                self._stream.mark_arrival(self._sample(end), captured_s)
                self._arrived_s, self._frames = captured_s, end
                self._level_dbfs = level_dbfs(part)
                self._buffer.push(self._resampler.push(part))
                self._update_progress()
                if self._buffer.is_due():
                    await self._process_frames(last=False)

    async def interrupt(
        self,
        state: str,
        detail: str,
        labels: Mapping[str, str] = MappingProxyType({}),
        change: CallChange | None = None,
    ) -> None:
        """Note that the source has no audio (`stalled`, `paused`: what was received is processed now), or again."""
        async with self._order:
            if state == "described":
                await self._report("described", detail, labels, change)
                return
            self._stream.is_stalled, self._stream.is_held = state == "stalled", state == "paused"
            self._gap_detail = state if state != "resumed" else self._gap_detail
            if state == "resumed":
                await self._report("resumed", detail, change=change)
            else:
                await self._flush_and_report("paused" if state == "paused" else "stalled", detail, change=change)

    async def pause(self, detail: str) -> None:
        """Discard audio until `resume`; what was received is processed, and open turns end. Idempotent."""
        if self._stream.is_paused or self._stream.is_ended:
            return
        self._stream.is_paused = True  # takes effect before the lock is free
        async with self._order:
            if not self._stream.is_ended:
                await self._flush_and_report("paused", detail)

    async def resume(self, detail: str) -> None:
        """Process audio again; the discarded audio becomes a gap once more audio arrives."""
        async with self._order:
            if self._stream.is_paused and not self._stream.is_ended:
                self._stream.is_paused = False
                await self._report("resumed", detail)

    async def finish(self, detail: str, outcome: Outcome = "finished") -> None:
        """End the stream: flush, and queue its last event."""
        async with self._order:
            self._stream.is_ended = True
            if self._discarded > self._frames:
                await self._skip_gap(self._discarded)  # the stream ends where its audio ended, discarded or not
            await self._flush()
            self._stream.lanes = ()
            await self._flush_and_report("ended", detail, outcome)
            await self._pending.put(None)

    async def publish_events(self, publisher: Publisher) -> None:
        """Publish what follows from the pending entries until the stream has ended."""
        stream = self._stream
        while (entry := await self._pending.get()) is not None:
            if isinstance(entry, PendingWindow):
                await self._publish_window(entry, publisher)
                continue
            if isinstance(entry, SettledSpeech):
                if stream.call is not None and stream.party is not None:
                    async with stream.call.lock:
                        bodies = stream.call.tracker.add_speech(stream.party, entry.segments, entry.settled, entry.lost)
                        await publisher.publish_call(stream.call, bodies)
                continue
            if isinstance(entry, GapMarker):
                bodies = [*self.tracker.close(samples(entry.body.start_s)), entry.body]
            else:
                bodies = [entry]
            for body in bodies:
                await publisher.publish(stream, body, end_sample=samples(bodies[-1].end_s))

    async def _publish_window(self, window: PendingWindow, publisher: Publisher) -> None:
        call, party = self._stream.call, self._stream.party
        span, embedding, parts = window.span, None, None
        for task, result in window.results:
            values = None
            if result is not None:
                future, index = result
                if isinstance(future, DeferredWindow):
                    if parts is None and (parts := self.tracker.parts_to_embed(span)):  # once for all of the lane
                        embedding, span = await future.submit(parts), narrowed(span, parts)
                    scores = None if embedding is None else await embedding
                else:
                    scores = await future
                values = scores[index].values if scores is not None else None
            for body in self.tracker.observe(task, span, values):
                if call is not None and party is not None and isinstance(body, EmotionBody):
                    call.tracker.add_emotion(party, body)
                await publisher.publish(self._stream, window.with_level(body), end_sample=span.end_sample)
        await publisher.publish_due(self._stream, window.span.end_sample)

    async def _flush_and_report(
        self,
        state: Literal["stalled", "paused", "ended"],
        detail: str,
        outcome: Outcome | None = None,
        change: CallChange | None = None,
    ) -> None:
        """Process the audio received so far, then queue the event that says why no more follows."""
        await self._flush()
        at_s = seconds(self._buffer.end_sample)
        body = StreamBody(state=state, start_s=at_s, end_s=at_s, detail=detail, outcome=outcome, call_change=change)
        await self._pending.put(GapMarker(body))

    async def _report(
        self,
        state: Literal["started", "resumed", "described"],
        detail: str,
        labels: Mapping[str, str] = MappingProxyType({}),
        change: CallChange | None = None,
    ) -> None:
        self._stream.progress.advanced_s = time.monotonic()
        at_s = seconds(self._buffer.end_sample)
        body = StreamBody(state=state, start_s=at_s, end_s=at_s, detail=detail, labels=dict(labels), call_change=change)
        await self._pending.put(body)

    async def _skip_gap(self, start_frame: int) -> None:
        """Start afresh at `start_frame` if audio was lost before it, or if the audio so far has been flushed."""
        if start_frame <= self._frames and not self._flushed:
            return
        if self._stream.call is not None and not self._frames and not self._discarded:  # a party that joined later
            self._buffer.gap(self._sample(start_frame))
            self._update_progress()
            await self._queue_settled_speech()
            return
        await self._flush()
        lost = max(0, self._sample(start_frame) - self._buffer.end_sample)
        start_s = seconds(self._buffer.end_sample)
        self._buffer.gap(lost)
        self._update_progress()
        self._flushed = False
        self._speech.reset()
        await self._queue_settled_speech(lost=lost)
        end_s = seconds(self._buffer.end_sample)
        why, self._gap_detail = "paused" if self._discarded > self._frames else self._gap_detail, ""
        gap = StreamBody(state="gap", start_s=start_s, end_s=end_s, lost_s=seconds(lost), detail=why)
        await self._pending.put(GapMarker(gap))

    async def _flush(self) -> None:
        """Process what resampler and framing still hold back; only a gap or the end may follow."""
        if self._flushed:
            return
        self._flushed = True
        self._buffer.push(self._resampler.flush())
        self._update_progress()
        await self._process_frames(last=True)

    async def _process_frames(self, *, last: bool) -> None:
        probabilities = await self._speech.detect(self._buffer.frames(last=last))
        spans = self._buffer.add_speech(probabilities, last=last)
        self._update_progress()
        for span in spans:
            await self._submit(span)
        await self._queue_settled_speech(last=last)

    async def _queue_settled_speech(self, *, last: bool = False, lost: int = 0) -> None:
        """Queue the party's settled speech, after all windows that end by then: the call needs their emotions first."""
        if self._stream.call is None:
            return
        segments, settled = self._buffer.settled_segments(self._settled, last=last)
        if settled > self._settled:
            self._settled = settled
            await self._pending.put(SettledSpeech(tuple(segments), settled, lost))

    async def _submit(self, span: WindowSpan) -> None:
        slots = self._slots[span.spec]
        if span.interim:
            slots = [(task, slot) for task, slot in slots if task in INTERIM_TASKS]
        lanes = dict.fromkeys(slot[0] for _, slot in slots if slot is not None)
        deferred = self._deferred_lane in lanes and span.length_samples >= span.spec.minimum_samples
        if not (span.passes_gate or (deferred and span.new_speech_samples)) or not lanes:
            if not span.passes_gate and not lanes:
                self._spans_without_model += 1
                self._update_progress()
            await self._pending.put(PendingWindow(span, tuple((task, None) for task, _ in slots)))
            return
        window = self._buffer.window(span)
        age_s = time.monotonic() - self._arrived_s
        name, policy = self._stream.name, self._policy
        futures: dict[ModelLane, PendingResult] = {}
        for lane in lanes:
            if lane is self._deferred_lane:
                futures[lane] = DeferredWindow(window, lane, policy, self._arrived_s)
            elif span.passes_gate:
                futures[lane] = await lane.submit(name, window, policy=policy, age_s=age_s)
        results = (
            (task, None if slot is None or slot[0] not in futures else (futures[slot[0]], slot[1]))
            for task, slot in slots
        )
        level = level_dbfs(window.samples[-SAMPLE_RATE_HZ:])
        await self._pending.put(PendingWindow(span, tuple(results), level))

    def _update_progress(self) -> None:
        progress, buffer = self._stream.progress, self._buffer
        if buffer.end_sample > progress.audio:
            progress.advanced_s = time.monotonic()
        progress.audio, progress.speech = buffer.end_sample, buffer.speech_samples
        progress.gated = buffer.windows_gated - self._spans_without_model

    def _sample(self, frame: int) -> int:
        return round(frame * SAMPLE_RATE_HZ / self._rate_hz)
