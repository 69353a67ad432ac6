"""Known people: from a file with somebody's voice to a `Voice` the tracker compares with.

The file goes the way all sound goes (resampling, speech gate, windows), so enrolment and recognition hear alike: only
windows of speech are embedded, and silence between words counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stream import registry
from stream.clock import samples, seconds
from stream.errors import SettingsError
from stream.intake import Intake
from stream.resampling import Resampler, select
from stream.rolling.profiles import Vector, Voice
from stream.settings import Settings, SourceSettings
from stream.types import Block, Cut, Model, Scores, SpeechDetector, SpeechRequest

LEAST_S = 3.0
"""Speech below which a voice is refused: an x-vector of less tells words rather than people."""


async def enrol(*, settings: Settings, model: Model, detector: SpeechDetector) -> list[Voice]:
    """A voice for every name in `speakers.enrolled`. Raises `SourceError`, or `SettingsError` when speech is short."""
    return [
        await _voice(name, path, settings=settings, model=model, detector=detector)
        for name, path in settings.speakers.enrolled.items()
    ]


async def _voice(name: str, path: str, *, settings: Settings, model: Model, detector: SpeechDetector) -> Voice:
    source = registry.source(SourceSettings(kind="file", target=path))
    intake = Intake(source_id=name, specs=[model.spec], gate=settings.gate, capacity=samples(settings.ring_s))
    vectors: list[Vector] = []
    state: object | None = None
    async with source.blocks() as blocks:
        resampler = Resampler(rate_hz=source.format.rate_hz)
        async for block in blocks:
            if isinstance(block, Block):
                intake.push(resampler.push(select(block.samples, "mix")[0]))
                state = _listen(intake, state, model, detector, vectors, last=False)
        intake.push(resampler.flush())
        _listen(intake, state, model, detector, vectors, last=True)
    speech_s = seconds(intake.speech_samples)
    if speech_s < LEAST_S or not vectors:
        raise SettingsError(
            f"speakers.enrolled: {path} holds {speech_s:.1f} s of speech; {name} needs {LEAST_S:g} s at least"
        )
    return Voice(name=name, exemplars=vectors, enrolled=True, evidence_s=speech_s)


def _listen(
    intake: Intake, state: object | None, model: Model, detector: SpeechDetector, vectors: list[Vector], *, last: bool
) -> object | None:
    """Advance by what was pushed; x-vectors of windows that share no more than half their sound are kept."""
    frames = intake.frames(last=last)
    probabilities: list[float] = []
    if len(frames):
        result = detector.infer([SpeechRequest(intake.source_id, frames, state)])[0]
        state, probabilities = result.state, result.probabilities.tolist()
    for cut in _apart(intake.hear(probabilities, last=last), model.spec.length_samples // 2):
        vectors += [scores.values for scores in _embed(intake, cut, model)]
    return state


def _apart(cuts: list[Cut], distance: int) -> Iterator[Cut]:
    end = -distance
    for cut in cuts:
        if cut.open and cut.end_sample - end >= distance:
            end = cut.end_sample
            yield cut


def _embed(intake: Intake, cut: Cut, model: Model) -> list[Scores]:
    return [scores for scores in model.infer([intake.window(cut)]) if np.isfinite(scores.values).all()]
