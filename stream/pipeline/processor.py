"""One stream on its way through the corridor: sound in, events out, in the order of the sound.

`push` takes a block's worth of mono sound through resampler, speech detector and cutters, and submits what the gate
lets pass to the models' lanes. Each cut becomes a ticket, in order; `tell` waits for each ticket's answers in turn
and lets the stream's `StreamTracker` speak. So whatever order the models answer in, the same sound tells the same, and
a stream's events are numbered by one task only. The price: an answer waits for those before it, at most the slowest
model's time.

`pause` is a privacy switch: until `resume` the stream's sound is thrown away unread, before the ring; what was heard
is told, open turns end, and what was thrown away is a gap of its length.

Everything waits politely: tickets are bounded, and a reader that does not read holds back the source (a file) or lets
the lanes drop (live sound). Nothing is lost here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stream.audio.buffer import StreamBuffer, required_capacity
from stream.audio.loudness import SILENCE_DBFS, level_dbfs
from stream.audio.resampling import Resampler
from stream.clock import ArrivalLog, samples, seconds
from stream.events import Body, EmotionBody, StreamBody
from stream.inference.lane import PATIENCE, InferenceLane
from stream.inference.pool import LaneSlot, SpeechLane
from stream.pipeline.live_call import Line
from stream.pipeline.publisher import Publisher
from stream.queues import Policy
from stream.settings import Settings
from stream.tracking.stream_tracker import StreamTracker
from stream.types import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    Model,
    Samples,
    Scores,
    SpeechRequest,
    SpeechSegment,
    Task,
    WindowSpan,
    WindowSpec,
)

MAX_PENDING_WINDOWS = 64
"""Cuts of one stream that may wait for their answers."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _PendingWindow:
    """A cut and, for each model that wants it, the answers to come and its place among them (None: none was asked)."""

    cut: WindowSpan
    answers: tuple[tuple[Task, tuple[asyncio.Future[Sequence[Scores] | None], int] | None], ...]


@dataclass(frozen=True, slots=True)
class _SettledSpeech:
    """What is settled of a party's talk, for its call."""

    spans: tuple[SpeechSegment, ...]
    settled: int


@dataclass(frozen=True, slots=True)
class _GapMarker:
    """A gap: what was said before it is closed first."""

    body: StreamBody


class StreamProcessor:
    """One stream: its intake, its conversation, and the tickets between them.

    `line` leads to the call that the stream is a track of; such a track is led by windows of the spec `lead` that no
    model sees.
    """

    def __init__(
        self,
        *,
        source_id: str,
        rate_hz: int,
        policy: Policy,
        paced: bool,
        arrivals: ArrivalLog,
        settings: Settings,
        models: Sequence[Model],
        seats: Mapping[str, LaneSlot],
        speech: SpeechLane,
        conversation: StreamTracker,
        line: Line | None = None,
        lead: WindowSpec | None = None,
    ) -> None:
        self.source_id = source_id
        self.paced = paced
        self.arrivals = arrivals
        self._rate_hz = rate_hz
        self._frames = 0  # heard so far, at the source's rate
        self._arrived_s = 0.0  # when the newest of it came in, on the monotonic clock
        self._ignored = 0  # where thrown away sound ends, at the source's rate
        self._paused = self._stalled = self._ended = False
        self._in_turn = asyncio.Lock()  # sound and what is said about it must not overtake each other
        self._policy: Policy = policy
        self._resampler = Resampler(rate_hz=rate_hz)
        specs = list(dict.fromkeys(model.spec for model in models))  # models with the same spec share windows
        if lead is not None:
            specs = list(dict.fromkeys([lead, *specs]))
        memory = samples(settings.ring_s)
        capacity = min(
            memory, required_capacity(specs, piece=2 * SAMPLE_RATE_HZ)
        )  # `push` gives at most a second at a time
        self._intake = StreamBuffer(
            source_id=source_id, specs=specs, gate=settings.gate, capacity=capacity, memory=memory
        )
        self._wanting: dict[WindowSpec, list[tuple[Task, LaneSlot | None]]] = {
            spec: [(model.info.task, seats[model.info.name]) for model in models if model.spec == spec]
            for spec in specs
        }
        if lead is not None:
            self._wanting[lead].insert(0, (Task.SPEAKER, None))
        self._line = line
        self._settled = 0  # how much of the talk the call has been told of
        self._unseen = 0  # closed windows that no model would have seen anyway
        self._speech = speech
        self._all: list[InferenceLane[Any, Any]] = [speech, *dict.fromkeys(lane for lane, _ in seats.values())]
        self._level_dbfs = SILENCE_DBFS
        self._flushed = False  # the unbroken sound has been heard to its end
        self._memory: object | None = None  # the speech detector's, of this stream
        self._conversation = conversation
        self._tickets: asyncio.Queue[_PendingWindow | _GapMarker | _SettledSpeech | Body | None] = asyncio.Queue(
            MAX_PENDING_WINDOWS
        )
        for lane in self._all:
            lane.join(source_id)

    @property
    def end_sample(self) -> int:
        """How far the stream has been heard."""
        return self._intake.end_sample

    @property
    def speech_samples(self) -> int:
        """Speech heard so far."""
        return self._intake.speech_samples

    @property
    def windows_gated(self) -> int:
        """Windows that no model saw, for want of speech."""
        return self._intake.windows_gated - self._unseen

    @property
    def level_dbfs(self) -> float:
        """How loud the newest block was; -100 is silence, and what a paused or ended stream has."""
        return self._level_dbfs if self.state == "listening" else SILENCE_DBFS

    @property
    def state(self) -> Literal["listening", "paused", "stalled", "ended"]:
        """What the stream is doing."""
        if self._ended:
            return "ended"
        return "paused" if self._paused else "stalled" if self._stalled else "listening"

    @property
    def conversation(self) -> StreamTracker:
        """What is made of the stream; between two awaits it is whole."""
        return self._conversation

    async def start(self, detail: str) -> None:
        """Tell that the stream has begun."""
        await self._tickets.put(StreamBody(state="started", start_s=0.0, end_s=0.0, detail=detail))

    async def push(self, sound: Samples, *, start_frame: int, now_s: float) -> None:
        """Take mono samples (n,) at the source's rate; a `start_frame` beyond what was heard is a gap."""
        async with self._in_turn:
            for place in range(0, len(sound), self._rate_hz):  # a second at a time: the ring must never be outrun
                piece = sound[place : place + self._rate_hz]
                start, end = start_frame + place, start_frame + place + len(piece)
                if self._paused:  # also when it was paused just now, in the middle of a block
                    self._ignored = end
                    continue
                await self._bridge(start)
                self.arrivals.mark(self._sample(end), now_s)
                self._arrived_s = now_s
                self._frames = end
                self._level_dbfs = level_dbfs(piece)
                self._intake.push(self._resampler.push(piece))
                if self._intake.is_due():
                    await self._hear(last=False)

    async def interrupt(self, state: str, detail: str) -> None:
        """The source gives no sound (`stalled`: what was heard is told now) or does again (`resumed`)."""
        async with self._in_turn:
            self._stalled = state == "stalled"
            if self._stalled:
                await self._break_off("stalled", detail)
            else:
                await self._say("resumed", detail)

    async def pause(self, detail: str) -> None:
        """Throw sound away from now on; what was heard is told, and open turns are ended. Twice is once."""
        if self._paused or self._ended:
            return
        self._paused = True  # sound that comes while we wait for our turn is not heard any more
        async with self._in_turn:
            if not self._ended:
                await self._break_off("paused", detail)

    async def resume(self, detail: str) -> None:
        """Listen again; what was thrown away becomes a gap with the next sound."""
        async with self._in_turn:
            if self._paused and not self._ended:
                self._paused = False
                await self._say("resumed", detail)

    async def finish(self, detail: str) -> None:
        """The sound has ended: flush, and tell so last."""
        async with self._in_turn:
            self._ended = True
            if self._ignored > self._frames:
                await self._bridge(self._ignored)  # the end lies where the sound ended, heard or not
            await self._flush()
            for lane in self._all:
                lane.leave(self.source_id)
            await self._break_off("ended", detail)
            await self._tickets.put(None)

    async def tell(self, publisher: Publisher) -> None:
        """Publish what is found until the stream has ended."""
        while (ticket := await self._tickets.get()) is not None:
            if isinstance(ticket, _PendingWindow):
                await self._tell_answers(ticket, publisher)
                continue
            if isinstance(ticket, _SettledSpeech):
                if self._line is not None:
                    await self._line.hear(ticket.spans, ticket.settled)
                continue
            if isinstance(ticket, _GapMarker):
                broke_off = samples(ticket.body.start_s)
                bodies: tuple[Body, ...] = (*self._conversation.close(broke_off), ticket.body)
            else:
                bodies = (ticket,)
            for body in bodies:
                await publisher.publish(self.source_id, body, heard_sample=samples(bodies[-1].end_s))
        if self._line is not None:
            await self._line.leave()

    async def _tell_answers(self, ticket: _PendingWindow, publisher: Publisher) -> None:
        for task, answer in ticket.answers:
            values = None
            if answer is not None:
                coming, place = answer
                scores = await coming
                values = scores[place].values if scores is not None else None
            for body in self._conversation.observe(task, ticket.cut, values):
                if self._line is not None and isinstance(body, EmotionBody):
                    self._line.feel(body)
                await publisher.publish(self.source_id, body, heard_sample=ticket.cut.end_sample)

    async def _break_off(self, state: Literal["stalled", "paused", "ended"], detail: str) -> None:
        """Tell what was heard so far, and then why no more comes."""
        await self._flush()
        at_s = seconds(self.end_sample)
        await self._tickets.put(_GapMarker(StreamBody(state=state, start_s=at_s, end_s=at_s, detail=detail)))

    async def _say(self, state: Literal["resumed"], detail: str) -> None:
        at_s = seconds(self.end_sample)
        await self._tickets.put(StreamBody(state=state, start_s=at_s, end_s=at_s, detail=detail))

    async def _bridge(self, start_frame: int) -> None:
        """Begin anew where sound was lost."""
        if start_frame <= self._frames and not self._flushed:
            return
        if self._line is not None and not self._frames and not self._ignored:  # a party that was put through later
            self._intake.gap(self._sample(start_frame))
            await self._settle()
            return
        await self._flush()
        lost = max(0, self._sample(start_frame) - self.end_sample)
        start_s = seconds(self.end_sample)
        self._intake.gap(lost)
        self._memory, self._flushed = None, False
        await self._settle()
        why = "paused" if self._ignored > self._frames else ""
        gap = StreamBody(state="gap", start_s=start_s, end_s=seconds(self.end_sample), lost_s=seconds(lost), detail=why)
        await self._tickets.put(_GapMarker(gap))

    async def _flush(self) -> None:
        """Hear what resampler and frames still hold back; nothing may follow but a gap or the end."""
        if self._flushed:
            return
        self._flushed = True
        self._intake.push(self._resampler.flush())
        await self._hear(last=True)

    async def _hear(self, *, last: bool) -> None:
        probabilities = await self._judge(self._intake.frames(last=last))
        for cut in self._intake.hear(probabilities, last=last):
            await self._submit(cut)
        await self._settle(last=last)

    async def _judge(self, frames: Samples) -> Sequence[float]:
        """Where there is speech in frames (n * 512,): a probability each.

        A batch that failed is asked again at once: at the next window the ring may have forgotten what it was about,
        and behind the last one there is no next. Frames on which the detector fails again and again count as silent.
        """
        if not len(frames):
            return ()
        request = SpeechRequest(self.source_id, frames, self._memory)
        for _ in range(PATIENCE):
            result = await (await self._speech.submit(self.source_id, request, policy="wait"))
            if result is not None:
                self._memory = result.state
                return list(result.probabilities)
        log.warning(
            "%s: speech could not be looked for in %.2f s of sound", self.source_id, len(frames) / SAMPLE_RATE_HZ
        )
        self._memory = None
        return [0.0] * (len(frames) // FRAME_SAMPLES)

    async def _settle(self, *, last: bool = False) -> None:
        """Tell the call what is known of the talk; behind all cuts that end by then, so that emotions come first."""
        if self._line is None:
            return
        spans, settled = self._intake.talk(self._settled, last=last)
        if settled > self._settled:
            self._settled = settled
            await self._tickets.put(_SettledSpeech(tuple(spans), settled))

    async def _submit(self, cut: WindowSpan) -> None:
        wanting = self._wanting[cut.spec]
        lanes = dict.fromkeys(seat[0] for _, seat in wanting if seat is not None)
        if not cut.open or not lanes:
            self._unseen += not (cut.open or lanes)
            await self._tickets.put(_PendingWindow(cut, tuple((task, None) for task, _ in wanting)))
            return
        window = self._intake.window(cut)
        age_s = time.monotonic() - self._arrived_s
        asked = {lane: await lane.submit(self.source_id, window, policy=self._policy, age_s=age_s) for lane in lanes}
        answers = ((task, None if seat is None else (asked[seat[0]], seat[1])) for task, seat in wanting)
        await self._tickets.put(_PendingWindow(cut, tuple(answers)))

    def _sample(self, frame: int) -> int:
        return round(frame * SAMPLE_RATE_HZ / self._rate_hz)
