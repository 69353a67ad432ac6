"""How a score becomes a probability: fitted on conversations mixed from speakers that were kept apart.

Rooms, noise and windows are those of live sound: pairs of clean files would promise more than a room keeps. Profiles
of one to eight windows stand for voices heard for a short and for a long time.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np

from scripts.training import corpus
from stream.audio.buffer import StreamBuffer
from stream.clock import seconds
from stream.models.compact.model import load_speaker
from stream.models.vad import SileroVad
from stream.settings import load
from stream.tools.evaluation import mixing
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.runner import samples_of
from stream.tools.evaluation.segments import Segment
from stream.tracking import calibration
from stream.tracking.calibration import Calibration, ScoreTrial
from stream.tracking.scoring import Cohort, Scorer
from stream.tracking.voice import Vector, Voice
from stream.types import SAMPLE_RATE_HZ, SpeechRequest, WindowSpan

_CONVERSATIONS = 16
_SEED = 77
_PROFILES = (1, 2, 4, 8)

_APART = 5  # windows further apart share no sound

Heard = list[tuple[WindowSpan, Vector, str]]


def held_out() -> list[Utterance]:
    """AN4's and LibriSpeech's speakers that were kept apart."""
    rows = corpus.manifest(corpus.data_folder())
    apart = corpus.held_out_speakers(rows)
    return [
        Utterance((row.path,), row.speaker, "", row.set)
        for row in rows
        if row.set in ("an4", "librispeech") and row.speaker in apart
    ]


def heard(weights: Path) -> tuple[Cohort, list[Heard]]:
    """Windows of mixed conversations that hold one person, with who it is."""
    noises = [samples_of(path) for path in sorted((corpus.data_folder() / "esc10").glob("*.flac"))]
    voices = mixing.SpeakerPool(held_out())
    settings = load()
    model, detector = load_speaker(settings.models.speaker, weights=weights), SileroVad()
    if model.info.cohort is None:
        raise SystemExit(f"{weights} holds no cohort")
    found = []
    for number in range(_CONVERSATIONS):
        mixture = mixing.mix(voices, noises, mixing.MixturePlan(seconds=120.0, enrolled=0), number=number, seed=_SEED)
        intake = StreamBuffer(
            source_id="", specs=[model.spec], gate=settings.gate, capacity=len(mixture.samples) + SAMPLE_RATE_HZ
        )
        intake.push(mixture.samples)
        result = detector.infer([SpeechRequest("", intake.frames(last=True), None)])[0]
        cuts = intake.hear(result.probabilities.tolist(), last=True)
        rows = [(cut, _owner(cut, mixture.segments)) for cut in cuts if cut.open]
        found.append([(cut, model.infer([intake.window(cut)])[0].values, who) for cut, who in rows if who])
    return Cohort(model.info.cohort), found


def _owner(cut: WindowSpan, segments: tuple[Segment, ...]) -> str:
    start_s, end_s = seconds(cut.start_sample), seconds(cut.end_sample)
    people = {one.speaker for one in segments if one.start_s < end_s and one.end_s > start_s}
    return people.pop() if len(people) == 1 else ""


def scored(cohort: Cohort, windows: Heard, draw: np.random.Generator) -> list[ScoreTrial]:
    """Every third window against profiles of each person of one conversation that share no sound with it."""
    scorer = Scorer(calibration=Calibration(1.0, 0.0), cohort=cohort)
    by_person: dict[str, list[int]] = defaultdict(list)
    for at, (cut, _, who) in enumerate(windows):
        if cut.length_samples >= SAMPLE_RATE_HZ:
            by_person[who].append(at)
    trials: list[ScoreTrial] = []
    for size, (who, places) in product(_PROFILES, by_person.items()):
        if len(places) < size + _APART + 1:
            continue
        taken = draw.choice(places, size, replace=False)
        profile_s = sum(seconds(windows[at][0].speech_samples) for at in taken)
        voice = Voice(name=f"{who}{size}", exemplars=[windows[at][1] for at in taken], enrolled=False)
        for at in range(0, len(windows), 3):
            cut, vector, other = windows[at]
            if np.abs(taken - at).min() >= _APART:
                score = float(scorer.scores(vector, [voice])[0])
                trials.append(ScoreTrial(score, seconds(cut.speech_samples), profile_s, other == who))
    return trials


def fit(cohort: Cohort, conversations: list[Heard]) -> Calibration:
    """Slope, threshold and reliability under which the truth is least surprising."""
    draw = np.random.default_rng(_SEED)
    trials = [trial for windows in conversations for trial in scored(cohort, windows, draw)]
    found = calibration.fit(trials)
    print(f"calibration on {len(trials)} pairs: {found.calibration}, loss {found.loss:.3f}")
    return found.calibration
