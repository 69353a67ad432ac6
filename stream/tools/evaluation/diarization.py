"""Speaker diarization: recordings with a reference, processed as streams.

Diarization error rate (NIST: missed speech + false alarm + confusion, over speech) and Jaccard error rate (Ryant et al.
2019) are computed by `pyannote.metrics`; `collar_s` is NIST's collar, excluded on *each* side of a boundary, hence half
of what `pyannote.metrics` calls collar. The other figures describe the live labels that a user sees.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyannote.core import Annotation, Timeline
from pyannote.core import Segment as Span
from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate

from stream.events import Event, SpeakerEvent
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tools.evaluation.segments import (
    STEP_S,
    UNKNOWN,
    Segment,
    activity,
    clip,
    count_changes,
    final_segments,
    live_segments,
    map_speakers,
    merge_into_turns,
)

DIGITS = 4
_OVERLAP_S = 0.3
_SOME_OVERLAP_S = 0.1
_WEIGHTS = (
    {"jer": "speakers", "turns_never_right": "turns", "overlap_recall": "overlapped_windows"}
    | dict.fromkeys(("flaps_per_minute", "speakers", "speakers_told", "speaker_count_error"), "audio_s")
    | dict.fromkeys(("right_share_live", "right_share_in_the_end"), "single_speaker_s")
    | dict.fromkeys(("named_right_share", "named_right_share_live"), "enrolled_s")
    | dict.fromkeys(("false_name_rate", "unknown_recall"), "strangers_s")
    | dict.fromkeys(("overlap_precision", "overlap_precision_any"), "marked_windows")
)
"""What the figures of several recordings are weighted by, so that a rate is that of all of them together."""

_SUMS: tuple[str, ...] = ("audio_s", "speech_s", "single_speaker_s", "enrolled_s", "strangers_s", "turns")
_SUMS += ("marked_windows", "overlapped_windows")


@dataclass(frozen=True, slots=True)
class Case:
    """One recording: reference, events, scored part, and enrolled speakers (names as in the reference)."""

    name: str
    reference: tuple[Segment, ...]
    events: tuple[Event, ...]
    start_s: float
    end_s: float
    enrolled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ScoredRecording:
    """A case with both hypotheses under the reference's names (`~S3`: a voice without a counterpart)."""

    case: Case
    live: tuple[Segment, ...]
    final: tuple[Segment, ...]
    waits_s: tuple[float, ...]
    figures: dict[str, float | None]


def evaluate(
    runner: EvaluationRunner,
    recordings: Sequence[Path],
    reference: Mapping[str, Sequence[Segment]],
    *,
    scored: Mapping[str, tuple[float, float]],
    people: Callable[[Path], Mapping[str, str]],
    collar_s: float,
    overlap: bool,
    progress: Callable[[], None] = lambda: None,
) -> list[ScoredRecording]:
    """Process and score recordings; `people` returns who is enrolled in one: name to file, `scored` its scored part.

    Recordings with the same people run concurrently.
    """
    enrolled = {path: people(path) for path in recordings}
    events: dict[Path, list[Event]] = {}
    for cast in {tuple(sorted(one.items())): one for one in enrolled.values()}.values():
        group = [path for path in recordings if enrolled[path] == cast]
        results, _ = runner.run(group, enrolled=runner.enrol(cast), progress=progress)
        events |= dict(zip(group, results, strict=True))
    found = []
    for path in recordings:
        spoken = tuple(reference[path.stem])
        until_s = max([segment.end_s for segment in spoken] + [event.end_s for event in events[path]])
        start_s, end_s = scored.get(path.stem, (0.0, until_s))
        case = Case(path.stem, spoken, tuple(events[path]), start_s, end_s, frozenset(enrolled[path]))
        found.append(score_recording(case, collar_s=collar_s, overlap=overlap))
    return found


def score_recording(case: Case, *, collar_s: float, overlap: bool) -> ScoredRecording:
    """Compute all figures of one recording; figures that do not apply are None."""
    final = final_segments(case.events)
    live = live_segments(case.events, case.end_s)
    reference, hypothesis = _annotation(case.reference, case.name), _annotation(final, case.name)
    scored = Timeline([Span(case.start_s, case.end_s)], uri=case.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, about its use of pandas
        der = DiarizationErrorRate(collar=2 * collar_s, skip_overlap=not overlap)
        parts = der(reference, hypothesis, uem=scored, detailed=True)
        jer = JaccardErrorRate(collar=2 * collar_s, skip_overlap=not overlap)(reference, hypothesis, uem=scored)
        # an enrolled speaker is correct only under their name; `?` is never correct
        strangers = reference.subset(case.enrolled, invert=True)
        voices = hypothesis.subset({*case.enrolled, UNKNOWN}, invert=True)
        mapping = der.optimal_mapping(strangers, voices, uem=scored)
    names = {str(voice): str(speaker) for voice, speaker in mapping.items()} | {name: name for name in case.enrolled}
    final = clip(map_speakers(final, names), case.start_s, case.end_s)
    live = clip(map_speakers(live, names), case.start_s, case.end_s)
    waits = [
        _wait(turn, live) for turn in merge_into_turns(case.reference) if case.start_s <= turn.start_s < case.end_s
    ]
    figures: dict[str, float | None] = {
        "speech_s": float(parts["total"]),
        "der": float(parts["diarization error rate"]),
        "missed": _over(parts["missed detection"], parts["total"]),
        "false_alarm": _over(parts["false alarm"], parts["total"]),
        "confusion": _over(parts["confusion"], parts["total"]),
        "jer": float(jer),
        **_live_figures(case, final, live, waits),
    }
    return ScoredRecording(case, tuple(live), tuple(final), tuple(waits), figures)


def _live_figures(
    case: Case, final: Sequence[Segment], live: Sequence[Segment], waits: Sequence[float]
) -> dict[str, float | None]:
    """Return the figures of the labels that a user sees."""
    reference = clip(case.reference, case.start_s, case.end_s)
    people = sorted({segment.speaker for segment in reference})
    truth = activity(reference, people, case.end_s)  # (people, steps)
    single = truth & (truth.sum(axis=0) == 1)
    live_active, final_active = activity(live, people, case.end_s), activity(final, people, case.end_s)
    known = np.array([name in case.enrolled for name in people], dtype=bool)
    enrolled_label = activity(live, sorted(case.enrolled), case.end_s).any(axis=0) if case.enrolled else None
    strangers = single[~known].any(axis=0)
    enrolled_speech = single[known].any(axis=0)
    minutes = (case.end_s - case.start_s) / 60
    voices = {segment.speaker for segment in final if segment.speaker != f"~{UNKNOWN}"}
    labels = [event for event in case.events if isinstance(event, SpeakerEvent)]
    anonymous = {event.speaker for event in labels if event.speaker and not event.enrolled}
    late_s = case.end_s - (case.end_s - case.start_s) / 10
    late = {event.speaker for event in labels if event.speaker and not event.enrolled and event.end_s > late_s}
    strangers_in_truth = len(people) - int(known.sum())
    return {
        "right_share_live": _over((single & live_active).sum(), single.sum()),
        "right_share_in_the_end": _over((single & final_active).sum(), single.sum()),
        "time_to_right_speaker_s": _median(waits),
        "turns_never_right": _over(sum(np.isinf(waits)), len(waits)),
        "turns": float(len(waits)),
        "single_speaker_s": float(single.sum()) * STEP_S,
        "enrolled_s": float(enrolled_speech.sum()) * STEP_S,
        "strangers_s": float(strangers.sum()) * STEP_S,
        "flaps_per_minute": max(0, count_changes(live) - count_changes(merge_into_turns(reference))) / minutes
        if minutes
        else None,
        "named_right_share": _over((single[known] & final_active[known]).sum(), enrolled_speech.sum())
        if case.enrolled
        else None,
        "named_right_share_live": _over((single[known] & live_active[known]).sum(), enrolled_speech.sum())
        if case.enrolled
        else None,
        "false_name_rate": _over((strangers & enrolled_label).sum(), strangers.sum())
        if enrolled_label is not None and strangers.any()
        else None,
        "unknown_recall": _over((strangers & ~enrolled_label & _any_speaker(live, case.end_s)).sum(), strangers.sum())
        if enrolled_label is not None and strangers.any()
        else None,
        "speakers": float(len(people)),
        "speakers_told": float(len(voices)),
        "voices_at_the_end": float(len(late)),
        "speaker_count_error": float(len(anonymous) - strangers_in_truth),
        **_overlap_marks(truth.sum(axis=0) > 1, labels),
        "latency_p50_ms": _median([event.latency_ms for event in labels]),
        "audio_s": case.end_s - case.start_s,
    }


def _overlap_marks(overlap: NDArray[np.bool_], labels: Sequence[SpeakerEvent]) -> dict[str, float | None]:
    """Compare windows marked as overlap or mixed with windows whose last second contains 0.3 s of overlap."""
    so_far = np.concatenate(([0], np.cumsum(overlap)))
    spoken = [event for event in labels if event.state != "silence"]
    ends = np.array([min(round(event.end_s / STEP_S), len(overlap)) for event in spoken], dtype=int)
    overlapped = so_far[ends] - so_far[np.maximum(ends - round(1 / STEP_S), 0)]
    true, some = overlapped >= round(_OVERLAP_S / STEP_S), overlapped >= round(_SOME_OVERLAP_S / STEP_S)
    marked = np.array([event.state == "overlap" or event.mixed for event in spoken], dtype=bool)
    return {
        "marked_windows": float(marked.sum()),
        "overlapped_windows": float(true.sum()),
        "overlap_precision": _over((true & marked).sum(), marked.sum()),
        "overlap_precision_any": _over((some & marked).sum(), marked.sum()),
        "overlap_recall": _over((true & marked).sum(), true.sum()),
    }


def _any_speaker(live: Sequence[Segment], end_s: float) -> Any:
    """Return whether any label but silence is shown; (steps,)."""
    return activity([Segment(one.start_s, one.end_s, UNKNOWN) for one in live], [UNKNOWN], end_s)[0]


def _wait(turn: Segment, live: Sequence[Segment]) -> float:
    """Return seconds from the turn's start to its correct label; infinite if it never came during the turn."""
    for segment in live:
        if segment.speaker == turn.speaker and segment.end_s > turn.start_s and segment.start_s < turn.end_s:
            return max(0.0, segment.start_s - turn.start_s)
    return float("inf")


def summary(recordings: Sequence[ScoredRecording]) -> dict[str, float | None]:
    """Aggregate recordings: rates weighted by what they are shares of, changes by time; median wait, mean counts."""
    total: dict[str, float | None] = {}
    for key in recordings[0].figures:
        by = _WEIGHTS.get(key, "speech_s")
        rows = [(one.figures[key], one.figures[by]) for one in recordings if one.figures[key] is not None]
        values = np.array([row[0] for row in rows], dtype=float)
        weights = np.array([row[1] for row in rows], dtype=float)
        if len(values) == 0:
            total[key] = None
        elif key == "time_to_right_speaker_s":
            total[key] = _median([wait for one in recordings for wait in one.waits_s])
        elif key == "latency_p50_ms":
            total[key] = _median(values.tolist())
        elif key in _SUMS:
            total[key] = float(values.sum())
        elif key == "speaker_count_error":
            total["speaker_count_exact"] = float(np.mean(values == 0))
            total["speaker_count_within_one"] = float(np.mean(np.abs(values) <= 1))
            total[key] = float(values.mean())
        elif weights.sum() > 0:
            total[key] = float(np.average(values, weights=weights))
        else:
            total[key] = None
    return {key: None if value is None else round(value, DIGITS) for key, value in total.items()}


def rows(recordings: Sequence[ScoredRecording]) -> Mapping[str, dict[str, float | None]]:
    """Return the figures of each recording by its name."""
    return {
        one.case.name: {key: None if v is None else round(v, DIGITS) for key, v in one.figures.items()}
        for one in recordings
    }


def _annotation(segments: Sequence[Segment], name: str) -> Annotation:
    annotation = Annotation(uri=name)
    for number, segment in enumerate(segments):
        annotation[Span(segment.start_s, segment.end_s), number] = segment.speaker
    return annotation


def _median(values: Sequence[float]) -> float | None:
    if not values:
        return None
    middle = float(np.median(values))
    return middle if np.isfinite(middle) else None


def _over(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
