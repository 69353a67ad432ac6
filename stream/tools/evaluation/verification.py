"""Speaker verification: EER, minDCF and thresholds, by duration of speech.

Recordings pass the speech gate first, so durations are seconds of speech; pauses are removed as they are live. Pairs
are all pairs of different recordings (crops of the same recording are never paired), or the trials of a list. A crop
shorter than the duration by up to a quarter counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.audio.speech_gate import SpeechTimeline
from stream.clock import samples, seconds
from stream.errors import SettingsError
from stream.tools.evaluation import reliability
from stream.tools.evaluation.corpora import Utterance, VerificationTrial
from stream.tools.evaluation.metrics import Detection, Floats, detection
from stream.tools.evaluation.reliability import EmbeddedCrops, Reliability, ReliabilityTable
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
    """Pairs by corpus and duration of speech (`2` or `all`), and reliability tables or why there are none."""

    model: str
    revision: str
    pairs: Mapping[str, Mapping[str, Pairs]]
    recordings: int
    without_speech: int
    reliability: Reliability = field(default_factory=dict)
    reliability_note: str = ""


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
    model, threshold = runner.model(Task.SPEAKER), runner.settings.speakers.threshold
    scorer = reliability.calibrated_scorer(model.info, threshold)
    pairs_of: dict[str, dict[str, Pairs]] = {}
    tables_of: dict[str, dict[str, ReliabilityTable]] = {}
    for corpus in dict.fromkeys(one.corpus for one in utterances):
        own = [one for one in utterances if one.corpus == corpus]
        crops_of: dict[float | None, EmbeddedCrops] = {}
        for duration_s in durations_s:
            embedded = _embed_crops(model, own, duration_s)
            progress()
            if embedded is None:
                continue
            crops_of[duration_s] = embedded
            pairs = _pairs(embedded, cohort)
            if pairs is not None:
                pairs_of.setdefault(corpus or "all", {})[duration_label(duration_s)] = pairs
        if scorer is not None and any(at in crops_of for at in reliability.DURATIONS_S):
            enrolment = crops_of.get(reliability.PROFILE_CROP_S) or _embed_crops(model, own, reliability.PROFILE_CROP_S)
            tables = reliability.reliability_tables(scorer, crops_of, enrolment)
            if tables:
                tables_of[corpus or "all"] = tables
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
        tables_of,
        "" if tables_of else reliability.missing_reason(model.info, threshold),
    )


def _embed_crops(
    model: Model, utterances: Sequence[EmbeddedUtterance], duration_s: float | None
) -> EmbeddedCrops | None:
    """Return the x-vectors of all crops of that duration, None if there is no crop."""
    parts = [(at, one.speaker, crop) for at, one in enumerate(utterances) for crop in crops(one.samples, duration_s)]
    if not parts:
        return None
    return EmbeddedCrops(
        np.stack([x_vector(model, crop) for _, _, crop in parts]),
        tuple(speaker for _, speaker, _ in parts),
        np.array([at for at, _, _ in parts]),
        np.array([seconds(len(crop)) for _, _, crop in parts]),
    )


def _pairs(crops: EmbeddedCrops, cohort: Cohort | None) -> Pairs | None:
    stacked, recording = crops.vectors, crops.recordings
    _, speaker = np.unique(crops.speakers, return_inverse=True)
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
        one, other = cohort.place(left), cohort.place(right)
        normalised = ((cosines - one.mean) / one.deviation + (cosines - other.mean) / other.deviation) / 2
    pairs = Pairs(
        cosines[same],
        cosines[~same],
        None if normalised is None else normalised[same],
        None if normalised is None else normalised[~same],
    )
    return SpeakerResult(
        model.info.name,
        model.info.revision,
        {"trials": {"all": pairs}},
        len(paths),
        len(paths) - len(vectors),
        reliability_note="No reliability table: a list of trials is scored on all speech; give a manifest or a folder.",
    )


def figures(result: SpeakerResult) -> dict[str, Any]:
    """Return EER, minDCF and thresholds by corpus and duration, without and with AS-norm; and reliability tables."""
    rows: dict[str, Any] = {}
    for corpus, by_duration in result.pairs.items():
        for duration, pairs in by_duration.items():
            row = _row(detection(pairs.same, pairs.different))
            if pairs.same_normalised is not None and pairs.different_normalised is not None:
                row["as_norm"] = _row(detection(pairs.same_normalised, pairs.different_normalised))
            rows.setdefault(corpus, {})[duration] = row
    return {
        "recordings": result.recordings,
        "without_speech": result.without_speech,
        "corpora": rows,
        "reliability": reliability.reliability_figures(result.reliability),
    }


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
