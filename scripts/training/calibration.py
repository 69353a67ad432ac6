"""Calibration of scores to probabilities, fitted on conversations mixed from held-out speakers.

Rooms, noise and windows are those of live audio: pairs of clean files would be too optimistic. Profiles of one to eight
windows represent voices with little and with much speech.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from scripts.training import corpus
from stream.audio.buffer import StreamBuffer
from stream.clock import seconds
from stream.models.vad import SileroVad
from stream.settings import load
from stream.tools.evaluation import mixing
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.runner import read_samples
from stream.tools.evaluation.segments import Segment
from stream.tracking import calibration
from stream.tracking.calibration import Calibration, ScoreTrial
from stream.tracking.scoring import Cohort, Scorer
from stream.tracking.voice import Vector, Voice
from stream.types import SAMPLE_RATE_HZ, Model, Samples, SpeechRequest, WindowSpan

_CONVERSATIONS = 16
_SEED = 77
_PROFILES = (1, 2, 4, 8)

_SHIFTS = tuple(round(0.1 * step, 1) for step in range(10, 41, 2))

_APART = 5  # windows further apart share no samples

LabelledWindows = list[tuple[WindowSpan, Vector, str]]


def held_out() -> list[Utterance]:
    """Return the recordings of held-out speakers of AN4 and LibriSpeech."""
    rows = corpus.manifest(corpus.data_folder())
    held_out_names = corpus.held_out_speakers(rows)
    return [
        Utterance((row.path,), row.speaker, "", row.set)
        for row in rows
        if row.set in ("an4", "librispeech") and row.speaker in held_out_names
    ]


def embed_conversations(
    model: Model, utterances: Sequence[Utterance], *, line: Callable[[Samples], Samples] = lambda samples: samples
) -> list[LabelledWindows]:
    """Return, per conversation mixed from `utterances`, the windows with a single speaker and that speaker.

    `line` is what the audio of a conversation passes.
    """
    noises = [read_samples(path) for path in sorted((corpus.data_folder() / "esc10").glob("*.flac"))]
    pool = mixing.SpeakerPool(utterances)
    settings, detector = load(), SileroVad()
    conversations = []
    for number in range(_CONVERSATIONS):
        mixture = mixing.mix(pool, noises, mixing.MixturePlan(seconds=120.0, enrolled=0), number=number, seed=_SEED)
        buffer = StreamBuffer(
            source_id="", specs=[model.spec], gate=settings.gate, capacity=len(mixture.samples) + SAMPLE_RATE_HZ
        )
        buffer.push(line(mixture.samples)[: len(mixture.samples)])
        result = detector.infer([SpeechRequest("", buffer.frames(last=True), None)])[0]
        spans = buffer.add_speech(result.probabilities.tolist(), last=True)
        rows = [(span, _owner(span, mixture.segments)) for span in spans if span.passes_gate]
        conversations.append(
            [(span, model.infer([buffer.window(span)])[0].values, speaker) for span, speaker in rows if speaker]
        )
    return conversations


def _owner(span: WindowSpan, segments: tuple[Segment, ...]) -> str:
    start_s, end_s = seconds(span.start_sample), seconds(span.end_sample)
    people = {one.speaker for one in segments if one.start_s < end_s and one.end_s > start_s}
    return people.pop() if len(people) == 1 else ""


def score_trials(cohort: Cohort, windows: LabelledWindows, draw: np.random.Generator) -> list[ScoreTrial]:
    """Score every third window against profiles of each speaker of a conversation, without shared samples."""
    scorer = Scorer(calibration=Calibration(1.0, 0.0), cohort=cohort)
    by_person: dict[str, list[int]] = defaultdict(list)
    for at, (span, _, speaker) in enumerate(windows):
        if span.length_samples >= SAMPLE_RATE_HZ:
            by_person[speaker].append(at)
    trials: list[ScoreTrial] = []
    for size, (speaker, places) in product(_PROFILES, by_person.items()):
        if len(places) < size + _APART + 1:
            continue
        taken = draw.choice(places, size, replace=False)
        profile_s = sum(seconds(windows[at][0].speech_samples) for at in taken)
        voice = Voice(name=f"{speaker}{size}", exemplars=[windows[at][1] for at in taken], enrolled=False)
        for at in range(0, len(windows), 3):
            span, vector, other = windows[at]
            if np.abs(taken - at).min() >= _APART:
                score = float(scorer.scores(vector, [voice])[0])
                trials.append(ScoreTrial(score, seconds(span.speech_samples), profile_s, other == speaker))
    return trials


def fit(cohort: Cohort, conversations: list[LabelledWindows]) -> Calibration:
    """Fit slope, threshold and reliability by maximum likelihood."""
    trials = conversation_trials(cohort, conversations)
    found = calibration.fit(trials)
    print(f"calibration on {len(trials)} pairs: {found.calibration}, loss {found.loss:.3f}")
    return found.calibration


def fit_telephone_shift(vectors: Vector, wide: list[LabelledWindows], telephone: list[LabelledWindows]) -> float:
    """Return the `telephone_shift` of a cohort with which one calibration serves both bands best."""

    def loss(shift: float) -> float:
        cohort = Cohort(vectors, telephone_shift=shift)
        return calibration.fit(conversation_trials(cohort, wide) + conversation_trials(cohort, telephone)).loss

    losses = {shift: loss(shift) for shift in _SHIFTS}
    print("loss by telephone shift:", {shift: round(found, 4) for shift, found in losses.items()})
    return min(losses, key=lambda shift: losses[shift])


def conversation_trials(cohort: Cohort, conversations: list[LabelledWindows]) -> list[ScoreTrial]:
    """Return the trials of all conversations."""
    draw = np.random.default_rng(_SEED)
    return [trial for windows in conversations for trial in score_trials(cohort, windows, draw)]
