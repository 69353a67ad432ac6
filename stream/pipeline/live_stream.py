"""What becomes of a source's channels: a listener each, and each block's sound to the listener it is for.

A stream that is no call is heard by all models. A party's track of a call has no need of those that tell who speaks,
and is judged by the emotion model only where that is allowed: the customer's always, the agent's if the settings say
so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from stream.audio.channels import select
from stream.clock import ArrivalLog
from stream.events import Party
from stream.inference.pool import LaneSlot, SpeechLane
from stream.pipeline.live_call import Switchboard
from stream.pipeline.processor import StreamProcessor
from stream.pipeline.publisher import Publisher
from stream.profiles.profile import FittedCalibration
from stream.settings import Settings
from stream.tracking.party_tracker import LEAD, PartyTracker
from stream.tracking.stream_tracker import StreamTracker
from stream.tracking.voice import Voice
from stream.types import Block, Interruption, Model, ModelInfo, Source, Task


class Opening:
    """Makes listeners and opens their feeds."""

    def __init__(
        self,
        *,
        settings: Settings,
        models: Sequence[Model],
        seats: Mapping[str, LaneSlot],
        speech: SpeechLane,
        enrolled: Sequence[Voice],
        calibration: FittedCalibration | None,
        publisher: Publisher,
        board: Switchboard,
    ) -> None:
        self._settings = settings
        self._models, self._seats, self._speech = tuple(models), seats, speech
        self.enrolled = tuple(enrolled)  # whom streams that open from now on know
        self.calibration = calibration  # of the speaker model, fitted on the enrolled voices
        self._publisher, self._board = publisher, board

    def listener(self, source: Source, source_id: str, party: Party | None) -> StreamProcessor:
        """A listener for one stream of a source; `party` is whose track of a call it is."""
        heard = (Task.EMOTION,) if party == "customer" or self._settings.calls.agent_emotion else ()
        tasks: tuple[Task, ...] = tuple(Task) if party is None else heard
        models = [model for model in self._models if model.info.task in tasks]
        infos = [self.calibrated(model.info) for model in models]
        arrivals = ArrivalLog(paced=source.paced)
        line = None if party is None else self._board.line(source.id, party, arrivals)
        self._publisher.open(source_id, arrivals, tasks=tasks, call=None if party is None else source.id, party=party)
        return StreamProcessor(
            source_id=source_id,
            rate_hz=source.format.rate_hz,
            policy="drop_oldest" if source.live else "wait",
            paced=source.paced,
            arrivals=arrivals,
            settings=self._settings,
            models=models,
            seats={info.name: self._seats[info.name] for info in infos},
            speech=self._speech,
            conversation=StreamTracker(settings=self._settings, models=infos, enrolled=self.enrolled)
            if party is None
            else PartyTracker(settings=self._settings, models=infos, party=party),
            line=line,
            lead=None if party is None else LEAD,
        )

    def calibrated(self, info: ModelInfo) -> ModelInfo:
        """Return `info` with the calibration fitted on the enrolled voices, if there is one and it is a speaker model."""
        if self.calibration is None or info.task is not Task.SPEAKER:
            return info
        return self.calibration.applied(info)


async def dispatch_block(block: Block | Interruption, source: Source, listeners: Sequence[StreamProcessor]) -> None:
    """Give a block, or the news that there is none, to the listeners of its source."""
    if isinstance(block, Interruption):
        for listener in listeners:
            await listener.interrupt(block.state, block.reason)
        return
    now_s = time.monotonic() if block.captured_s is None else block.captured_s
    sounds = select(block.samples, source.channels)
    if len(listeners) == 1:  # a group of tasks would cost more than the push itself
        await listeners[0].push(sounds[0], start_frame=block.start_frame, now_s=now_s)
        return
    async with asyncio.TaskGroup() as group:  # side by side, so that the channels' speech is judged in one pass
        for listener, sound in zip(listeners, sounds, strict=True):
            group.create_task(listener.push(sound, start_frame=block.start_frame, now_s=now_s))
