"""Contribution of each part of the speaker tracker: the part is disabled and the same recordings are labelled again.

Parts are disabled by a setting or by omitting data of the model, so the tracker measured is the one that runs. It is
compared with a plain baseline: the nearest centroid above the model's threshold, else a new voice, whose centroid is
the running mean of its vectors; with an upper bound that knows the whole recording; and, with a segmentation model,
with online clustering of local speakers (`online_clustering.py`). These are used only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.cluster import AgglomerativeClustering

from stream.events import Body
from stream.settings import Settings, TurnsSettings
from stream.tools.evaluation import online_clustering
from stream.tools.evaluation.cached import EmbeddedRecording, Labeller, Windows
from stream.tools.evaluation.diarization import Case, score_recording, summary
from stream.tools.evaluation.online_clustering import speaker_body
from stream.tracking.stream_tracker import StreamTracker
from stream.tracking.turns import TurnTracker
from stream.tracking.voice import Vector, Voice
from stream.types import ModelInfo, Task

DEFAULT_THRESHOLD = 0.7
"""The baseline's threshold if the model has none."""

SETTINGS: Mapping[str, Mapping[str, float]] = {
    "adding up windows": {"change_s": 1e-3},
    "continuity": {"continuity": 0.0},
    "a change within a segment": {"change_s": 1e6},
    "log-odds penalty": {"log_odds_penalty": 0.0},
    "enrolled penalty": {"enrolled_penalty": 0.0},
    "new-voice penalty": {"new_voice_penalty": 0.0},
    "waiting before a new voice": {"create_s": 0.0},
    "learning": {"update": 1.0},
    "merging": {"merge": 1.0},
    "the guard against mixed windows": {"mixed_gain": 1.0},
}
"""Parts of the tracker, and the setting that disables each."""

FIGURES = (
    "named_right_share",
    "false_name_rate",
    "time_to_right_speaker_s",
    "flaps_per_minute",
    "right_share_live",
    "speaker_count_within_one",
    "der",
)


def run_ablation(
    recordings: Sequence[EmbeddedRecording],
    *,
    settings: Settings,
    model: ModelInfo,
    collar_s: float,
    overlap: bool,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, float | None]]:
    """Return the figures of baseline, upper bound and tracker, and of the tracker without each of its parts."""
    figures = {}

    def score(name: str, cases: Sequence[Case]) -> None:
        figures[name] = summary([score_recording(case, collar_s=collar_s, overlap=overlap) for case in cases])
        progress()

    if all(recording.local_speakers for recording in recordings):
        threshold = model.threshold or DEFAULT_THRESHOLD
        score("online clustering", [one.case(clustered_online(one, threshold)) for one in recordings])
    for name, labeller in labellers(settings, model):
        score(name, [recording.labelled_by(labeller) for recording in recordings])
    return figures


def clustered_online(recording: EmbeddedRecording, threshold: float) -> list[Body]:
    """Return the events of the peer that clusters local speakers as they come."""
    return online_clustering.labelled(recording.local_speakers, recording.enrolled, threshold=threshold)


def labellers(settings: Settings, model: ModelInfo) -> Iterable[tuple[str, Labeller]]:
    """Yield the baseline and all variants of the tracker, by name."""
    yield "baseline", baseline(model.threshold or DEFAULT_THRESHOLD, settings.turns)
    yield "offline clustering", offline(model.threshold or DEFAULT_THRESHOLD, settings.turns)
    yield "tracker", tracker(settings, model)
    if model.calibration is not None:
        if model.cohort is not None:
            yield "without AS-norm and calibration", tracker(settings, replace(model, cohort=None, calibration=None))
        slope, threshold, _ = model.calibration
        yield (
            "without seconds in the calibration",
            tracker(settings, replace(model, calibration=(slope, threshold, 0.0))),
        )
    for name, changes in SETTINGS.items():
        speakers = settings.speakers.model_copy(update=dict(changes))
        yield f"without {name}", tracker(settings.model_copy(update={"speakers": speakers}), model)


def tracker(settings: Settings, model: ModelInfo) -> Labeller:
    """Return the stream tracker with the speaker model only."""

    def label(windows: Windows, enrolled: Sequence[Voice]) -> list[Body]:
        stream = StreamTracker(settings=settings, models=[model], enrolled=enrolled)
        bodies = [body for span, vector in windows for body in stream.observe(Task.SPEAKER, span, vector)]
        return bodies + stream.close(windows[-1][0].end_sample if windows else 0)

    return label


def baseline(threshold: float, turns: TurnsSettings) -> Labeller:
    """Return the baseline: nearest centroid at a fixed threshold, else a new voice; each window on its own."""

    def names_of(vectors: Sequence[Vector], enrolled: Sequence[Voice]) -> list[str]:
        known: dict[str, list[Any]] = {voice.name: [voice.centroid, 1] for voice in enrolled}
        frozen = frozenset(known)
        return [_nearest(known, frozen, vector, threshold) for vector in vectors]

    return _window_by_window(names_of, turns)


def offline(threshold: float, turns: TurnsSettings) -> Labeller:
    """Return an upper bound: all x-vectors of the recording, the future's too, clustered at once (average linkage)."""

    def names_of(vectors: Sequence[Vector], enrolled: Sequence[Voice]) -> list[str]:
        if len(vectors) < 2:  # noqa: PLR2004 - clusters need two
            return [f"S{at + 1}" for at in range(len(vectors))]
        clustering = AgglomerativeClustering(
            n_clusters=None, metric="cosine", linkage="average", distance_threshold=1 - threshold
        )
        clusters = clustering.fit_predict(np.stack(vectors))
        frozen, names = frozenset(voice.name for voice in enrolled), {}
        known: dict[str, list[Any]] = {voice.name: [voice.centroid, 1] for voice in enrolled}
        for cluster in dict.fromkeys(clusters.tolist()):
            mean = np.mean([vectors[at] for at in np.flatnonzero(clusters == cluster).tolist()], axis=0)
            names[cluster] = _nearest(known, frozen, mean / np.linalg.norm(mean), threshold)
        return [names[cluster] for cluster in clusters.tolist()]

    return _window_by_window(names_of, turns)


def _window_by_window(
    names_of: Callable[[Sequence[Vector], Sequence[Voice]], list[str]], turns: TurnsSettings
) -> Labeller:
    """Return a labeller that names each window that has an x-vector, without a tracker."""

    def label(windows: Windows, enrolled: Sequence[Voice]) -> list[Body]:
        people = frozenset(voice.name for voice in enrolled)
        names = iter(names_of([vector for _, vector in windows if vector is not None], enrolled))
        turn_tracker, silent, bodies = TurnTracker(settings=turns), True, list[Body]()
        for span, vector in windows:
            name = None if vector is None else next(names)
            if span.segment is None or span.new_speech_samples == 0:
                if not silent:
                    bodies.append(speaker_body(span.start_sample, span.end_sample, "silence"))
                silent = True
                bodies += turn_tracker.pause(span.end_sample)
                continue
            silent = False
            bodies += turn_tracker.observe(
                span.segment,
                speaker=name,
                known=name is not None,
                speech_samples=span.new_speech_samples,
                changed_at=span.end_sample - span.new_speech_samples,
            )
            if name is not None:
                bodies.append(
                    speaker_body(span.start_sample, span.end_sample, "confirmed", name, enrolled=name in people)
                )
        return bodies + list(turn_tracker.finish())

    return label


def _nearest(known: dict[str, list[Any]], frozen: frozenset[str], vector: Vector, threshold: float) -> str:
    cosines = {name: float(centroid @ vector / np.linalg.norm(centroid)) for name, (centroid, _) in known.items()}
    name = max(cosines, key=lambda one: cosines[one], default="")
    if not name or cosines[name] < threshold:
        name = f"S{len(known) - len(frozen) + 1}"
        known[name] = [vector, 1]
    elif name not in frozen:
        mean, count = known[name]
        known[name] = [mean + (vector - mean) / (count + 1), count + 1]
    return name
