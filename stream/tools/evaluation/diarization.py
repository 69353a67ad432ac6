"""Who spoke when: a recording with a reference, heard as a stream.

Diarization error rate (NIST: missed speech + false alarm + confusion, over speech) and Jaccard error rate (Ryant et al.
2019) come from `pyannote.metrics` and its conventions; `collar_s` is what NIST calls so, left out on *each* side of a
boundary, hence twice that as `pyannote.metrics` counts it. The other figures are about what a person watching sees.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyannote.core import Annotation, Timeline
from pyannote.core import Segment as Span
from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate

from stream.events import Event, SpeakerEvent
from stream.tools.evaluation.segments import (
    STEP_S,
    UNKNOWN,
    Segment,
    changes,
    painted,
    renamed,
    told_in_the_end,
    told_live,
    turns,
    within,
)

DIGITS = 4
_OVERLAP_S = 0.3
_WEIGHTS = {"jer": "speakers"} | dict.fromkeys(
    ("flaps_per_minute", "speakers", "speakers_told", "speaker_count_error"), "audio_s"
)


@dataclass(frozen=True, slots=True)
class Case:
    """One recording: its reference, what was told of it, and who was enrolled (names as in the reference)."""

    name: str
    reference: tuple[Segment, ...]
    events: tuple[Event, ...]
    start_s: float
    end_s: float
    enrolled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ScoredRecording:
    """A case with both tellings under the reference's names (`~S3` for a voice that matches nobody)."""

    case: Case
    live: tuple[Segment, ...]
    ended: tuple[Segment, ...]
    waits_s: tuple[float, ...]
    figures: dict[str, float | None]


def judge(case: Case, *, collar_s: float, overlap: bool) -> ScoredRecording:
    """All figures of one recording; those that have no meaning for it are None."""
    ended = told_in_the_end(case.events)
    live = told_live(case.events, case.end_s)
    reference, hypothesis = _annotation(case.reference, case.name), _annotation(ended, case.name)
    scored = Timeline([Span(case.start_s, case.end_s)], uri=case.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own, on its use of pandas
        der = DiarizationErrorRate(collar=2 * collar_s, skip_overlap=not overlap)
        parts = der(reference, hypothesis, uem=scored, detailed=True)
        jer = JaccardErrorRate(collar=2 * collar_s, skip_overlap=not overlap)(reference, hypothesis, uem=scored)
        # who is known by name is right by that name alone; nobody is right by `?`
        strangers = reference.subset(case.enrolled, invert=True)
        voices = hypothesis.subset({*case.enrolled, UNKNOWN}, invert=True)
        mapping = der.optimal_mapping(strangers, voices, uem=scored)
    names = {str(theirs): str(ours) for theirs, ours in mapping.items()} | {name: name for name in case.enrolled}
    ended = within(renamed(ended, names), case.start_s, case.end_s)
    live = within(renamed(live, names), case.start_s, case.end_s)
    waits = [_wait(turn, live) for turn in turns(case.reference) if case.start_s <= turn.start_s < case.end_s]
    figures: dict[str, float | None] = {
        "speech_s": float(parts["total"]),
        "der": float(parts["diarization error rate"]),
        "missed": _over(parts["missed detection"], parts["total"]),
        "false_alarm": _over(parts["false alarm"], parts["total"]),
        "confusion": _over(parts["confusion"], parts["total"]),
        "jer": float(jer),
        **_watched(case, ended, live, waits),
    }
    return ScoredRecording(case, tuple(live), tuple(ended), tuple(waits), figures)


def _watched(
    case: Case, ended: Sequence[Segment], live: Sequence[Segment], waits: Sequence[float]
) -> dict[str, float | None]:
    """What a person watching the labels sees."""
    reference = within(case.reference, case.start_s, case.end_s)
    people = sorted({segment.speaker for segment in reference})
    truth = painted(reference, people, case.end_s)  # (people, steps)
    alone = truth & (truth.sum(axis=0) == 1)
    right_live, right_ended = painted(live, people, case.end_s), painted(ended, people, case.end_s)
    known = np.array([name in case.enrolled for name in people], dtype=bool)
    called_known = painted(live, sorted(case.enrolled), case.end_s).any(axis=0) if case.enrolled else None
    strangers = alone[~known].any(axis=0)
    named = alone[known].any(axis=0)
    minutes = (case.end_s - case.start_s) / 60
    voices = {segment.speaker for segment in ended if segment.speaker != f"~{UNKNOWN}"}
    told = [event for event in case.events if isinstance(event, SpeakerEvent)]
    anonymous = {event.speaker for event in told if event.speaker and not event.enrolled}
    late_s = case.end_s - (case.end_s - case.start_s) / 10
    late = {event.speaker for event in told if event.speaker and not event.enrolled and event.end_s > late_s}
    strangers_in_truth = len(people) - int(known.sum())
    return {
        "right_share_live": _over((alone & right_live).sum(), alone.sum()),
        "right_share_in_the_end": _over((alone & right_ended).sum(), alone.sum()),
        "time_to_right_speaker_s": _median(waits),
        "turns_never_right": _over(sum(np.isinf(waits)), len(waits)),
        "flaps_per_minute": max(0, changes(live) - changes(turns(reference))) / minutes if minutes else None,
        "named_right_share": _over((alone[known] & right_ended[known]).sum(), named.sum()) if case.enrolled else None,
        "named_right_share_live": _over((alone[known] & right_live[known]).sum(), named.sum())
        if case.enrolled
        else None,
        "false_name_rate": _over((strangers & called_known).sum(), strangers.sum())
        if called_known is not None and strangers.any()
        else None,
        "unknown_recall": _over((strangers & ~called_known & _someone(live, case.end_s)).sum(), strangers.sum())
        if called_known is not None and strangers.any()
        else None,
        "speakers": float(len(people)),
        "speakers_told": float(len(voices)),
        "voices_at_the_end": float(len(late)),
        "speaker_count_error": float(len(anonymous) - strangers_in_truth),
        **_overlap_marks(truth.sum(axis=0) > 1, told),
        "latency_p50_ms": _median([event.latency_ms for event in told]),
        "audio_s": case.end_s - case.start_s,
    }


def _overlap_marks(several: NDArray[np.bool_], told: Sequence[SpeakerEvent]) -> dict[str, float | None]:
    """How windows marked as overlap (or as shared) agree with those whose last second holds 0.3 s of it."""
    so_far = np.concatenate(([0], np.cumsum(several)))
    spoken = [event for event in told if event.state != "silence"]
    ends = np.array([min(round(event.end_s / STEP_S), len(several)) for event in spoken], dtype=int)
    true = so_far[ends] - so_far[np.maximum(ends - round(1 / STEP_S), 0)] >= round(_OVERLAP_S / STEP_S)
    marked = np.array([event.state == "overlap" or event.mixed for event in spoken], dtype=bool)
    return {
        "overlap_precision": _over((true & marked).sum(), marked.sum()),
        "overlap_recall": _over((true & marked).sum(), true.sum()),
    }


def _someone(live: Sequence[Segment], end_s: float) -> Any:
    """Whether it was told that anybody speaks; (steps,)."""
    return painted([Segment(one.start_s, one.end_s, UNKNOWN) for one in live], [UNKNOWN], end_s)[0]


def _wait(turn: Segment, live: Sequence[Segment]) -> float:
    """Seconds from the turn's start to its right label; infinite if that never came while it lasted."""
    for segment in live:
        if segment.speaker == turn.speaker and segment.end_s > turn.start_s and segment.start_s < turn.end_s:
            return max(0.0, segment.start_s - turn.start_s)
    return float("inf")


def summary(told: Sequence[ScoredRecording]) -> dict[str, float | None]:
    """All recordings together: rates weighed by speech, JER by people, flaps by length; the waits' median, means."""
    found: dict[str, float | None] = {}
    for key in told[0].figures:
        by = _WEIGHTS.get(key, "speech_s")
        rows = [(one.figures[key], one.figures[by]) for one in told if one.figures[key] is not None]
        values = np.array([row[0] for row in rows], dtype=float)
        weights = np.array([row[1] for row in rows], dtype=float)
        if len(values) == 0:
            found[key] = None
        elif key == "time_to_right_speaker_s":
            found[key] = _median([wait for one in told for wait in one.waits_s])
        elif key == "latency_p50_ms":
            found[key] = _median(values.tolist())
        elif key in ("audio_s", "speech_s"):
            found[key] = float(values.sum())
        elif key == "speaker_count_error":
            found["speaker_count_exact"] = float(np.mean(values == 0))
            found["speaker_count_within_one"] = float(np.mean(np.abs(values) <= 1))
            found[key] = float(values.mean())
        elif weights.sum() > 0:
            found[key] = float(np.average(values, weights=weights))
        else:
            found[key] = None
    return {key: None if value is None else round(value, DIGITS) for key, value in found.items()}


def rows(told: Sequence[ScoredRecording]) -> Mapping[str, dict[str, float | None]]:
    """The figures of each recording by its name."""
    return {
        one.case.name: {key: None if v is None else round(v, DIGITS) for key, v in one.figures.items()} for one in told
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
