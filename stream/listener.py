"""One stream on its way through the corridor: sound in, events out, in the order of the sound.

`push` takes a block's worth of mono sound through resampler, speech detector and cutters, and submits what the gate
lets pass to the models' lanes. Each cut becomes a ticket, in order; `tell` waits for each ticket's answers in turn
and lets the stream's `Conversation` speak. So whatever order the models answer in, the same sound tells the same, and
a stream's events are numbered by one task only. The price: an answer waits for those before it, at most the slowest
model's time.

Everything waits politely: tickets are bounded, and a reader that does not read holds back the source (a file) or lets
the lanes drop (live sound). Nothing is lost here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream.clock import ArrivalLog, samples, seconds
from stream.events import Body, Stream
from stream.intake import Intake, enough
from stream.pool import Lane
from stream.publisher import Publisher
from stream.queues import Policy
from stream.resampling import Resampler
from stream.rolling.conversation import Conversation
from stream.settings import Settings
from stream.types import (
    SAMPLE_RATE_HZ,
    Cut,
    Model,
    Samples,
    Scores,
    SpeechRequest,
    SpeechResult,
    Task,
    Window,
)

TICKETS = 64
"""Cuts of one stream that may wait for their answers."""

ModelLane = Lane[Window, Sequence[Scores]]
"""To one model, or to several that answer together: one `Scores` from each."""

Seat = tuple[ModelLane, int]
"""A model's lane, and its place among those who answer there."""
SpeechLane = Lane[SpeechRequest, SpeechResult]


@dataclass(frozen=True, slots=True)
class _Ticket:
    """A cut and, for each model that wants it, the answers to come (None: the gate was closed) and its place there."""

    cut: Cut
    answers: tuple[tuple[Task, asyncio.Future[Sequence[Scores] | None] | None, int], ...]


@dataclass(frozen=True, slots=True)
class _Break:
    """A gap: what was said before it is closed first."""

    body: Stream


class Listener:
    """One stream: its intake, its conversation, and the tickets between them."""

    def __init__(
        self,
        *,
        source_id: str,
        rate_hz: int,
        policy: Policy,
        paced: bool,
        settings: Settings,
        models: Sequence[Model],
        lanes: Mapping[str, Seat],
        speech: SpeechLane,
        conversation: Conversation,
    ) -> None:
        self.source_id = source_id
        self.arrivals = ArrivalLog(paced=paced)
        self._rate_hz = rate_hz
        self._frames = 0  # heard so far, at the source's rate
        self._policy: Policy = policy
        self._resampler = Resampler(rate_hz=rate_hz)
        specs = list(dict.fromkeys(model.spec for model in models))  # models with the same spec share windows
        memory = samples(settings.ring_s)
        capacity = min(memory, enough(specs, piece=2 * SAMPLE_RATE_HZ))  # `push` gives at most a second at a time
        self._intake = Intake(source_id=source_id, specs=specs, gate=settings.gate, capacity=capacity, memory=memory)
        self._wanting = {
            spec: [(model.info.task, *lanes[model.info.name]) for model in models if model.spec == spec]
            for spec in specs
        }
        self._speech = speech
        self._all: list[Lane[Any, Any]] = [speech, *dict.fromkeys(lane for lane, _ in lanes.values())]
        self._flushed = False  # the unbroken sound has been heard to its end
        self._memory: object | None = None  # the speech detector's, of this stream
        self._conversation = conversation
        self._tickets: asyncio.Queue[_Ticket | _Break | Body | None] = asyncio.Queue(TICKETS)
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
        return self._intake.windows_gated

    async def start(self, detail: str) -> None:
        """Tell that the stream has begun."""
        await self._tickets.put(Stream(state="started", start_s=0.0, end_s=0.0, detail=detail))

    async def push(self, sound: Samples, *, start_frame: int, now_s: float) -> None:
        """Take mono samples (n,) at the source's rate; a `start_frame` beyond what was heard is a gap."""
        await self._bridge(start_frame)
        self.arrivals.mark(self._sample(start_frame + len(sound)), now_s)
        self._frames = start_frame + len(sound)
        for place in range(0, len(sound), self._rate_hz):  # a second at a time: the ring must never be outrun
            self._intake.push(self._resampler.push(sound[place : place + self._rate_hz]))
            if self._intake.is_due():
                await self._hear(last=False)

    async def interrupt(self, state: str, detail: str) -> None:
        """The source gives no sound (`stalled`: what was heard is told now) or does again (`resumed`)."""
        at_s = seconds(self.end_sample)
        if state == "stalled":
            await self._flush()
            at_s = seconds(self.end_sample)
            await self._tickets.put(_Break(Stream(state="stalled", start_s=at_s, end_s=at_s, detail=detail)))
        else:
            await self._tickets.put(Stream(state="resumed", start_s=at_s, end_s=at_s, detail=detail))

    async def finish(self, detail: str) -> None:
        """The sound has ended: flush, and tell so last."""
        await self._flush()
        for lane in self._all:
            lane.leave(self.source_id)
        at_s = seconds(self.end_sample)
        await self._tickets.put(_Break(Stream(state="ended", start_s=at_s, end_s=at_s, detail=detail)))
        await self._tickets.put(None)

    async def tell(self, publisher: Publisher) -> None:
        """Publish what is found until the stream has ended."""
        while (ticket := await self._tickets.get()) is not None:
            if isinstance(ticket, _Ticket):
                for task, answer, place in ticket.answers:
                    scores = await answer if answer is not None else None
                    values = scores[place].values if scores is not None else None
                    for body in self._conversation.observe(task, ticket.cut, values):
                        await publisher.publish(self.source_id, body, heard_sample=ticket.cut.end_sample)
                continue
            if isinstance(ticket, _Break):
                broke_off = samples(ticket.body.start_s)
                bodies: tuple[Body, ...] = (*self._conversation.close(broke_off), ticket.body)
            else:
                bodies = (ticket,)
            for body in bodies:
                await publisher.publish(self.source_id, body, heard_sample=samples(bodies[-1].end_s))

    async def _bridge(self, start_frame: int) -> None:
        """Begin anew where sound was lost."""
        if start_frame <= self._frames and not self._flushed:
            return
        await self._flush()
        lost = max(0, self._sample(start_frame) - self.end_sample)
        start_s = seconds(self.end_sample)
        self._intake.gap(lost)
        self._memory, self._flushed = None, False
        gap = Stream(state="gap", start_s=start_s, end_s=seconds(self.end_sample), lost_s=seconds(lost))
        await self._tickets.put(_Break(gap))

    async def _flush(self) -> None:
        """Hear what resampler and frames still hold back; nothing may follow but a gap or the end."""
        if self._flushed:
            return
        self._flushed = True
        self._intake.push(self._resampler.flush())
        await self._hear(last=True)

    async def _hear(self, *, last: bool) -> None:
        frames = self._intake.frames(last=last)
        probabilities: Sequence[float] = ()
        if len(frames):
            request = SpeechRequest(self.source_id, frames, self._memory)
            result = await (await self._speech.submit(self.source_id, request, policy="wait"))
            if result is not None:  # the frames of a failed batch are asked about again
                self._memory = result.state
                probabilities = result.probabilities.tolist()
        for cut in self._intake.hear(probabilities, last=last):
            await self._submit(cut)

    async def _submit(self, cut: Cut) -> None:
        wanting = self._wanting[cut.spec]
        if not cut.open:
            await self._tickets.put(_Ticket(cut, tuple((task, None, place) for task, _, place in wanting)))
            return
        window = self._intake.window(cut)
        answers = {
            lane: await lane.submit(self.source_id, window, policy=self._policy)
            for lane in dict.fromkeys(lane for _, lane, _ in wanting)
        }
        await self._tickets.put(_Ticket(cut, tuple((task, answers[lane], place) for task, lane, place in wanting)))

    def _sample(self, frame: int) -> int:
        return round(frame * SAMPLE_RATE_HZ / self._rate_hz)
