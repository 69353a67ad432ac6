"""Recordings embedded once, so that several trackers can label them: models are slow, trackers are fast.

A tracker's input is the position and x-vector of each window. Neither depends on the tracker's settings, so a
comparison of settings embeds every recording once. The windows are those of the whole pipeline: they end at the same
samples and start at the same speech, however audio was split into blocks.
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
from stream.tools.evaluation.online_clustering import LocalSpeakers, local_speakers
from stream.tools.evaluation.runner import EvaluationRunner, read_samples
from stream.tools.evaluation.segments import Segment
from stream.tracking.voice import Vector, Voice
from stream.types import SAMPLE_RATE_HZ, Samples, SpeechRequest, Task, WindowSpan

Windows = tuple[tuple[WindowSpan, Vector | None], ...]
Labeller = Callable[[Windows, Sequence[Voice]], Sequence[Body]]
"""Maps windows and enrolled voices to event bodies, in order."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EmbeddedRecording:
    """One recording as input of a tracker, with its reference. Windows that the gate rejects have no x-vector.

    `local_speakers` are those of a segmentation model, if there is one.
    """

    name: str
    windows: Windows
    reference: tuple[Segment, ...]
    start_s: float
    end_s: float
    enrolled: tuple[Voice, ...] = ()
    local_speakers: tuple[LocalSpeakers, ...] = ()

    def labelled_by(self, labeller: Labeller) -> Case:
        """Return the recording with the events of `labeller`, ready to be scored."""
        return self.case(labeller(self.windows, self.enrolled))

    def case(self, bodies: Sequence[Body]) -> Case:
        """Return the recording with these events, ready to be scored."""
        events = tuple(_stamped(seq, body) for seq, body in enumerate(bodies))
        return Case(
            self.name,
            self.reference,
            events,
            self.start_s,
            self.end_s,
            frozenset(voice.name for voice in self.enrolled),
        )


def embed_recording(
    runner: EvaluationRunner,
    path: Path,
    reference: Sequence[Segment],
    scored: tuple[float, float] | None,
    people: Mapping[str, str],
) -> EmbeddedRecording:
    """Embed a recording with `people` enrolled; `scored` is its scored part. Raises `SourceError`."""
    audio = read_samples(path)
    windows = tuple(_windows(runner, audio))
    until_s = max([segment.end_s for segment in reference] + [seconds(span.end_sample) for span, _ in windows[-1:]])
    start_s, end_s = scored or (0.0, until_s)
    models = runner.model(Task.SPEAKER), runner.model(Task.OVERLAP) if runner.has(Task.OVERLAP) else None
    found = () if models[1] is None else tuple(local_speakers(audio, speaker=models[0], segmentation=models[1]))
    return EmbeddedRecording(path.stem, windows, tuple(reference), start_s, end_s, tuple(runner.enrol(people)), found)


def _windows(runner: EvaluationRunner, audio: Samples) -> Iterator[tuple[WindowSpan, Vector | None]]:
    model = runner.model(Task.SPEAKER)
    buffer = StreamBuffer(
        source_id="",
        specs=[model.spec],
        gate=runner.settings.gate,
        capacity=samples(runner.settings.ring_s),
        conditioning=runner.settings.audio.conditioning,
    )
    state: object | None = None
    for start in range(0, max(len(audio), 1), SAMPLE_RATE_HZ):
        last = start + SAMPLE_RATE_HZ >= len(audio)
        buffer.push(audio[start : start + SAMPLE_RATE_HZ])
        frames = buffer.frames(last=last)
        probabilities: list[float] = []
        if len(frames):
            result = runner.detector.infer([SpeechRequest("", frames, state)])[0]
            state, probabilities = result.state, result.probabilities.tolist()
        for span in buffer.add_speech(probabilities, last=last):
            vector = model.infer([buffer.window(span)])[0].values if span.passes_gate else None
            yield span, np.asarray(vector) if vector is not None else None


def _stamped(seq: int, body: Body) -> Event:
    return stamp(
        body, id=f"replay/{seq}", session="replay", seq=seq, source="replay", time=_EPOCH, models=(), latency_ms=0.0
    )
