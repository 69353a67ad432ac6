"""Whether two recordings are of one person: EER, minDCF and thresholds, by how much speech there is.

Recordings pass the speech gate first, so that a second means a second of speech; pauses are left out as they are live.
Pairs are all pairs of different recordings (those of one recording never meet), or the trials of a list. A stretch
shorter than asked counts if it is at most a quarter too short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.audio.speech import SpeechTimeline
from stream.clock import samples
from stream.errors import SettingsError
from stream.tools.evaluation.corpora import Utterance, VerificationTrial
from stream.tools.evaluation.metrics import Detection, Floats, detection
from stream.tools.evaluation.runner import EvaluationRunner, samples_of
from stream.tracking.scoring import Cohort
from stream.types import FRAME_SAMPLES, Model, Samples, SpeechRequest, Task, Window

DURATIONS_S: tuple[float | None, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, None)
"""Seconds of speech; None is all there is."""

WHOLE_S = 10.0
"""All there is ends here: longer stretches are cut side by side and their x-vectors averaged."""

LEAST_S = 1.5
"""Recordings with less speech are left out where all there is counts."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddedUtterance:
    """A recording's speech, pauses cut out; (n,)."""

    name: str
    speaker: str
    corpus: str
    samples: Samples


@dataclass(frozen=True, slots=True)
class Pairs:
    """Scores of one person's pairs and of two people's, plain and normalised; (pairs,) each."""

    same: Floats
    different: Floats
    same_normalised: Floats | None
    different_normalised: Floats | None


@dataclass(frozen=True, slots=True)
class SpeakerResult:
    """Pairs by corpus and seconds of speech (`2` or `all`)."""

    model: str
    revision: str
    pairs: Mapping[str, Mapping[str, Pairs]]
    recordings: int
    without_speech: int


def speech_of(samples_: Samples, ears: EvaluationRunner) -> Samples:
    """What the speech gate lets pass, stretch after stretch."""
    gate = SpeechTimeline(settings=ears.settings.gate, memory_samples=len(samples_) + FRAME_SAMPLES)
    padded = np.pad(samples_, (0, -len(samples_) % FRAME_SAMPLES))
    if len(padded) == 0:
        return samples_
    result = ears.detector.infer([SpeechRequest("evaluation", padded, None)])[0]
    gate.hear(result.probabilities.tolist())
    parts = [samples_[stretch.start_sample : stretch.end_sample] for stretch in gate.stretches]
    return np.concatenate(parts) if parts else samples_[:0]


def x_vector(model: Model, sound: Samples) -> Vectors:
    """One x-vector of length one for a stretch of speech; stretches over `WHOLE_S` are averaged over equal parts."""
    parts = np.array_split(sound, -(-len(sound) // samples(WHOLE_S)))
    windows = [Window("evaluation", at, 0, part, 1.0, len(part)) for at, part in enumerate(parts)]
    vectors = [model.infer([window])[0].values for window in windows]  # parts may differ in length by a sample
    mean = np.mean([vector / np.linalg.norm(vector) for vector in vectors], axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def listen(
    ears: EvaluationRunner, utterances: Sequence[Utterance], *, progress: Callable[[], None] = lambda: None
) -> list[EmbeddedUtterance]:
    """Every recording's speech."""
    found = []
    for utterance in utterances:
        sound = np.concatenate([speech_of(samples_of(path), ears) for path in utterance.paths])
        found.append(
            EmbeddedUtterance(
                "+".join(str(path) for path in utterance.paths), utterance.speaker, utterance.corpus, sound
            )
        )
        progress()
    return found


def crops(sound: Samples, duration_s: float | None) -> list[Samples]:
    """Stretches of that length side by side, the only one up to a quarter shorter; all of it for None."""
    if duration_s is None:
        return [sound] if len(sound) >= samples(LEAST_S) else []
    length = samples(duration_s)
    if length * 3 // 4 <= len(sound) < length:
        return [sound]
    return [sound[at : at + length] for at in range(0, len(sound) - length + 1, length)]


def all_pairs(
    ears: EvaluationRunner,
    voiced: Sequence[EmbeddedUtterance],
    *,
    cohort: Cohort | None,
    durations_s: Sequence[float | None] = DURATIONS_S,
    progress: Callable[[], None] = lambda: None,
) -> SpeakerResult:
    """Score all pairs of stretches of different recordings within each corpus. Raises `SettingsError` without any."""
    model = ears.model(Task.SPEAKER)
    found: dict[str, dict[str, Pairs]] = {}
    for corpus in dict.fromkeys(one.corpus for one in voiced):
        theirs = [one for one in voiced if one.corpus == corpus]
        for duration_s in durations_s:
            vectors, who, where = [], [], []
            for at, one in enumerate(theirs):
                for crop in crops(one.samples, duration_s):
                    vectors.append(x_vector(model, crop))
                    who.append(one.speaker)
                    where.append(at)
                progress()
            pairs = _pairs(vectors, who, where, cohort) if vectors else None
            if pairs is not None:
                found.setdefault(corpus or "all", {})[shown(duration_s)] = pairs
    if not found:
        raise SettingsError(
            "there is no pair to score: it takes two recordings of one person and one of somebody else in a corpus, "
            "with a second of speech or more in each"
        )
    return SpeakerResult(
        model.info.name, model.info.revision, found, len(voiced), sum(len(one.samples) == 0 for one in voiced)
    )


def _pairs(vectors: list[Vectors], who: list[str], where: list[int], cohort: Cohort | None) -> Pairs | None:
    stacked = np.stack(vectors)
    _, person = np.unique(who, return_inverse=True)
    place = np.array(where)
    meet = np.triu(place[:, None] != place[None, :], 1)
    one = person[:, None] == person[None, :]
    if not (meet & one).any() or not (meet & ~one).any():
        return None
    cosines = (stacked @ stacked.T).astype(np.float64)
    normal = cohort.normalised(stacked, stacked).astype(np.float64) if cohort is not None else None
    return Pairs(
        cosines[meet & one],
        cosines[meet & ~one],
        None if normal is None else normal[meet & one],
        None if normal is None else normal[meet & ~one],
    )


def trial_pairs(
    ears: EvaluationRunner,
    trials: Sequence[VerificationTrial],
    *,
    cohort: Cohort | None,
    progress: Callable[[], None] = lambda: None,
) -> SpeakerResult:
    """Score a list of trials on all the speech there is. Raises `SettingsError` without trials of both kinds."""
    model = ears.model(Task.SPEAKER)
    paths = dict.fromkeys(path for trial in trials for path in (trial.enrolment, trial.test))
    vectors: dict[Path, Vectors] = {}
    for path in paths:
        sound = speech_of(samples_of(path), ears)
        if len(sound) >= model.spec.minimum_samples:
            vectors[path] = x_vector(model, sound)
        progress()
    kept = [trial for trial in trials if trial.enrolment in vectors and trial.test in vectors]
    if len({trial.same for trial in kept}) != 2:  # noqa: PLR2004
        raise SettingsError(
            "the list needs trials of one person and of two whose recordings hold speech; "
            f"{len(trials) - len(kept)} of {len(trials)} trials had a recording without enough"
        )
    left = np.stack([vectors[trial.enrolment] for trial in kept])
    right = np.stack([vectors[trial.test] for trial in kept])
    same = np.array([trial.same for trial in kept])
    cosines = np.einsum("nd,nd->n", left, right).astype(np.float64)
    normal = None
    if cohort is not None:
        left_mean, left_deviation = cohort.statistics(left)
        right_mean, right_deviation = cohort.statistics(right)
        normal = ((cosines - left_mean) / left_deviation + (cosines - right_mean) / right_deviation) / 2
    pairs = Pairs(
        cosines[same],
        cosines[~same],
        None if normal is None else normal[same],
        None if normal is None else normal[~same],
    )
    return SpeakerResult(
        model.info.name, model.info.revision, {"trials": {"all": pairs}}, len(paths), len(paths) - len(vectors)
    )


def figures(result: SpeakerResult) -> dict[str, Any]:
    """EER, minDCF and thresholds by corpus and duration, without and with AS-norm."""
    rows: dict[str, Any] = {}
    for corpus, by_duration in result.pairs.items():
        for duration, pairs in by_duration.items():
            row = _row(detection(pairs.same, pairs.different))
            if pairs.same_normalised is not None and pairs.different_normalised is not None:
                row["as_norm"] = _row(detection(pairs.same_normalised, pairs.different_normalised))
            rows.setdefault(corpus, {})[duration] = row
    return {"recordings": result.recordings, "without_speech": result.without_speech, "corpora": rows}


def _row(found: Detection) -> dict[str, Any]:
    return {
        "eer": found.eer,
        "min_dcf": found.min_dcf,
        "threshold_at_eer": found.eer_threshold,
        "thresholds_at_false_accept_rate": found.thresholds_at_far,
        "misses_at_false_accept_rate": found.misses_at_far,
        "pairs_same": found.pairs_same,
        "pairs_different": found.pairs_different,
    }


def centred(people: Iterable[Sequence[Vectors]]) -> Vectors:
    """One x-vector a person, the mean of theirs at length one; (people, dimensions)."""
    means = np.stack([np.mean(vectors, axis=0) for vectors in people])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)


def shown(duration_s: float | None) -> str:
    """How reports name a duration."""
    return "all" if duration_s is None else f"{duration_s:g}"
