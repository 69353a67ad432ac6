"""Recordings heard once, and their speakers told over and over: models are slow, and trackers are quick.

What the tracker sees of a recording are its windows' places and x-vectors. They do not depend on how the tracker is
set, so a comparison of settings embeds every recording once. The windows are those of the whole pipeline: they end at
the same samples and begin where the same speech begins, however sound was cut into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from stream.audio.buffer import StreamBuffer
from stream.clock import samples, seconds
from stream.events import Body, Event, stamp
from stream.tools.evaluation.diarization import Case
from stream.tools.evaluation.runner import EvaluationRunner, samples_of
from stream.tools.evaluation.segments import Segment
from stream.tracking.voice import Vector, Voice
from stream.types import SAMPLE_RATE_HZ, Samples, SpeechRequest, Task, WindowSpan

Windows = tuple[tuple[WindowSpan, Vector | None], ...]
Teller = Callable[[Windows, Sequence[Voice]], Sequence[Body]]
"""What tells who speaks: windows and known voices to what is found, in order."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EmbeddedRecording:
    """One recording as the tracker sees it, with its reference. `windows` that the gate closed have no x-vector."""

    name: str
    windows: Windows
    reference: tuple[Segment, ...]
    start_s: float
    end_s: float
    enrolled: tuple[Voice, ...] = ()

    def told_by(self, teller: Teller) -> Case:
        """The recording judged as `teller` tells it."""
        events = tuple(_stamped(seq, body) for seq, body in enumerate(teller(self.windows, self.enrolled)))
        return Case(
            self.name,
            self.reference,
            events,
            self.start_s,
            self.end_s,
            frozenset(voice.name for voice in self.enrolled),
        )


def hear(
    ears: EvaluationRunner,
    path: Path,
    reference: Sequence[Segment],
    scored: tuple[float, float] | None,
    people: Mapping[str, str],
) -> EmbeddedRecording:
    """Hear a recording in which `people` are known; `scored` is its scored part. Raises `SourceError`."""
    windows = tuple(_windows(ears, samples_of(path)))
    until_s = max([segment.end_s for segment in reference] + [seconds(cut.end_sample) for cut, _ in windows[-1:]])
    start_s, end_s = scored or (0.0, until_s)
    return EmbeddedRecording(path.stem, windows, tuple(reference), start_s, end_s, tuple(ears.enrolled(people)))


def _windows(ears: EvaluationRunner, sound: Samples) -> Iterator[tuple[WindowSpan, Vector | None]]:
    model = ears.model(Task.SPEAKER)
    intake = StreamBuffer(
        source_id="", specs=[model.spec], gate=ears.settings.gate, capacity=samples(ears.settings.ring_s)
    )
    state: object | None = None
    for place in range(0, max(len(sound), 1), SAMPLE_RATE_HZ):
        last = place + SAMPLE_RATE_HZ >= len(sound)
        intake.push(sound[place : place + SAMPLE_RATE_HZ])
        frames = intake.frames(last=last)
        probabilities: list[float] = []
        if len(frames):
            result = ears.detector.infer([SpeechRequest("", frames, state)])[0]
            state, probabilities = result.state, result.probabilities.tolist()
        for cut in intake.hear(probabilities, last=last):
            vector = model.infer([intake.window(cut)])[0].values if cut.open else None
            yield cut, np.asarray(vector) if vector is not None else None


def _stamped(seq: int, body: Body) -> Event:
    return stamp(
        body, id=f"replay/{seq}", session="replay", seq=seq, source="replay", time=_EPOCH, models=(), latency_ms=0.0
    )
