"""Speaker verification: EER, minDCF and thresholds, by duration of speech.

Recordings pass the speech gate first, so durations are seconds of speech; pauses are removed as they are live. Pairs
are all pairs of different recordings (crops of the same recording are never paired), or the trials of a list. A crop
shorter than the duration by up to a quarter counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.audio.speech_gate import SpeechTimeline
from stream.clock import samples
from stream.errors import SettingsError
from stream.tools.evaluation.corpora import Utterance, VerificationTrial
from stream.tools.evaluation.metrics import Detection, Floats, detection
from stream.tools.evaluation.runner import EvaluationRunner, read_samples
from stream.tracking.scoring import Cohort
from stream.types import FRAME_SAMPLES, Model, Samples, SpeechRequest, Task, Window

DURATIONS_S: tuple[float | None, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, None)
"""Durations of speech in seconds; None is all speech of a recording."""

MAX_SEGMENT_S = 10.0
"""Longer speech is split into equal parts whose x-vectors are averaged."""

MIN_SPEECH_S = 1.5
"""Recordings with less speech are excluded from pairs on all speech."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddedUtterance:
    """The speech of an utterance, pauses removed; (n,)."""

    name: str
    speaker: str
    corpus: str
    samples: Samples


@dataclass(frozen=True, slots=True)
class Pairs:
    """Scores of same-speaker and different-speaker pairs, plain and normalised; (pairs,) each."""

    same: Floats
    different: Floats
    same_normalised: Floats | None
    different_normalised: Floats | None


@dataclass(frozen=True, slots=True)
class SpeakerResult:
    """Pairs by corpus and duration of speech (`2` or `all`)."""

    model: str
    revision: str
    pairs: Mapping[str, Mapping[str, Pairs]]
    recordings: int
    without_speech: int


def gated_speech(audio: Samples, runner: EvaluationRunner) -> Samples:
    """Return the audio that passes the speech gate, segments concatenated."""
    gate = SpeechTimeline(settings=runner.settings.gate, memory_samples=len(audio) + FRAME_SAMPLES)
    padded = np.pad(audio, (0, -len(audio) % FRAME_SAMPLES))
    if len(padded) == 0:
        return audio
    result = runner.detector.infer([SpeechRequest("evaluation", padded, None)])[0]
    gate.add_speech(result.probabilities.tolist())
    parts = [audio[segment.start_sample : segment.end_sample] for segment in gate.segments]
    return np.concatenate(parts) if parts else audio[:0]


def x_vector(model: Model, audio: Samples) -> Vectors:
    """Return one x-vector of unit length, averaged over equal parts if the audio exceeds `MAX_SEGMENT_S`."""
    parts = np.array_split(audio, -(-len(audio) // samples(MAX_SEGMENT_S)))
    windows = [Window("evaluation", at, 0, part, 1.0, len(part)) for at, part in enumerate(parts)]
    vectors = [model.infer([window])[0].values for window in windows]  # parts may differ in length by a sample
    mean = np.mean([vector / np.linalg.norm(vector) for vector in vectors], axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def extract_speech(
    runner: EvaluationRunner, utterances: Sequence[Utterance], *, progress: Callable[[], None] = lambda: None
) -> list[EmbeddedUtterance]:
    """Return the speech of each utterance."""
    speech = []
    for utterance in utterances:
        audio = np.concatenate([gated_speech(read_samples(path), runner) for path in utterance.paths])
        speech.append(
            EmbeddedUtterance(
                "+".join(str(path) for path in utterance.paths), utterance.speaker, utterance.corpus, audio
            )
        )
        progress()
    return speech


def crops(audio: Samples, duration_s: float | None) -> list[Samples]:
    """Return adjacent crops of that duration, or a single one up to a quarter shorter; all audio for None."""
    if duration_s is None:
        return [audio] if len(audio) >= samples(MIN_SPEECH_S) else []
    length = samples(duration_s)
    if length * 3 // 4 <= len(audio) < length:
        return [audio]
    return [audio[at : at + length] for at in range(0, len(audio) - length + 1, length)]


def all_pairs(
    runner: EvaluationRunner,
    utterances: Sequence[EmbeddedUtterance],
    *,
    cohort: Cohort | None,
    durations_s: Sequence[float | None] = DURATIONS_S,
    progress: Callable[[], None] = lambda: None,
) -> SpeakerResult:
    """Score all pairs of crops of different recordings within each corpus. Raises `SettingsError` if there are none."""
    model = runner.model(Task.SPEAKER)
    pairs_of: dict[str, dict[str, Pairs]] = {}
    for corpus in dict.fromkeys(one.corpus for one in utterances):
        own = [one for one in utterances if one.corpus == corpus]
        for duration_s in durations_s:
            vectors, speakers, recordings = [], [], []
            for at, one in enumerate(own):
                for crop in crops(one.samples, duration_s):
                    vectors.append(x_vector(model, crop))
                    speakers.append(one.speaker)
                    recordings.append(at)
                progress()
            pairs = _pairs(vectors, speakers, recordings, cohort) if vectors else None
            if pairs is not None:
                pairs_of.setdefault(corpus or "all", {})[duration_label(duration_s)] = pairs
    if not pairs_of:
        raise SettingsError(
            "no pair to score; a corpus needs two recordings of one person and one of another person, with at least "
            "one second of speech each"
        )
    return SpeakerResult(
        model.info.name,
        model.info.revision,
        pairs_of,
        len(utterances),
        sum(len(one.samples) == 0 for one in utterances),
    )


def _pairs(vectors: list[Vectors], speakers: list[str], recordings: list[int], cohort: Cohort | None) -> Pairs | None:
    stacked = np.stack(vectors)
    _, speaker = np.unique(speakers, return_inverse=True)
    recording = np.array(recordings)
    valid = np.triu(recording[:, None] != recording[None, :], 1)
    same = speaker[:, None] == speaker[None, :]
    if not (valid & same).any() or not (valid & ~same).any():
        return None
    cosines = (stacked @ stacked.T).astype(np.float64)
    normalised = cohort.normalised(stacked, stacked).astype(np.float64) if cohort is not None else None
    return Pairs(
        cosines[valid & same],
        cosines[valid & ~same],
        None if normalised is None else normalised[valid & same],
        None if normalised is None else normalised[valid & ~same],
    )


def trial_pairs(
    runner: EvaluationRunner,
    trials: Sequence[VerificationTrial],
    *,
    cohort: Cohort | None,
    progress: Callable[[], None] = lambda: None,
) -> SpeakerResult:
    """Score a list of trials on all speech of each recording. Raises `SettingsError` without trials of both kinds."""
    model = runner.model(Task.SPEAKER)
    paths = dict.fromkeys(path for trial in trials for path in (trial.enrolment, trial.test))
    vectors: dict[Path, Vectors] = {}
    for path in paths:
        audio = gated_speech(read_samples(path), runner)
        if len(audio) >= model.spec.minimum_samples:
            vectors[path] = x_vector(model, audio)
        progress()
    scored = [trial for trial in trials if trial.enrolment in vectors and trial.test in vectors]
    if len({trial.same for trial in scored}) != 2:  # noqa: PLR2004
        raise SettingsError(
            f"{len(trials) - len(scored)} of {len(trials)} trials have a recording without enough speech; add trials "
            "of the same and of different speakers"
        )
    left = np.stack([vectors[trial.enrolment] for trial in scored])
    right = np.stack([vectors[trial.test] for trial in scored])
    same = np.array([trial.same for trial in scored])
    cosines = np.einsum("nd,nd->n", left, right).astype(np.float64)
    normalised = None
    if cohort is not None:
        left_mean, left_deviation = cohort.statistics(left)
        right_mean, right_deviation = cohort.statistics(right)
        normalised = ((cosines - left_mean) / left_deviation + (cosines - right_mean) / right_deviation) / 2
    pairs = Pairs(
        cosines[same],
        cosines[~same],
        None if normalised is None else normalised[same],
        None if normalised is None else normalised[~same],
    )
    return SpeakerResult(
        model.info.name, model.info.revision, {"trials": {"all": pairs}}, len(paths), len(paths) - len(vectors)
    )


def figures(result: SpeakerResult) -> dict[str, Any]:
    """Return EER, minDCF and thresholds by corpus and duration, without and with AS-norm."""
    rows: dict[str, Any] = {}
    for corpus, by_duration in result.pairs.items():
        for duration, pairs in by_duration.items():
            row = _row(detection(pairs.same, pairs.different))
            if pairs.same_normalised is not None and pairs.different_normalised is not None:
                row["as_norm"] = _row(detection(pairs.same_normalised, pairs.different_normalised))
            rows.setdefault(corpus, {})[duration] = row
    return {"recordings": result.recordings, "without_speech": result.without_speech, "corpora": rows}


def _row(figures: Detection) -> dict[str, Any]:
    return {
        "eer": figures.eer,
        "min_dcf": figures.min_dcf,
        "threshold_at_eer": figures.eer_threshold,
        "thresholds_at_false_accept_rate": figures.thresholds_at_far,
        "misses_at_false_accept_rate": figures.misses_at_far,
        "pairs_same": figures.pairs_same,
        "pairs_different": figures.pairs_different,
    }


def mean_vectors(people: Iterable[Sequence[Vectors]]) -> Vectors:
    """Return the mean x-vector of each person at unit length; (people, dimensions)."""
    means = np.stack([np.mean(vectors, axis=0) for vectors in people])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)


def duration_label(duration_s: float | None) -> str:
    """Return the name of a duration in reports."""
    return "all" if duration_s is None else f"{duration_s:g}"
