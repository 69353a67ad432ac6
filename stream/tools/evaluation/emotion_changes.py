"""How steady the live emotion is, and how soon it follows a change: recordings of one person, joined.

From the recordings of a person with one label a steady passage is joined, and from two labels a passage that changes
once. The time to see a change is the speech from the change to the first event with the new label; a change is counted
only where the label before it was right, as nothing else can be seen to change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile

from stream.events import EmotionEvent, Event
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.runner import EvaluationRunner, read_samples
from stream.tracking.emotion import SILENCE, UNCERTAIN
from stream.types import SAMPLE_RATE_HZ, Samples, Task

STEADY_S = 20.0
"""Longest passage with one label."""
PART_S = 8.0
"""Length of each part of a passage that changes."""
MIN_PART_S = 4.0
_EDGE_DB = 35.0
_FRAME = SAMPLE_RATE_HZ // 100


@dataclass(frozen=True, slots=True)
class Passage:
    """Joined recordings of one person; with `after` the label changes from `before` at `change_s`."""

    path: Path
    before: str
    after: str = ""
    change_s: float = 0.0
    length_s: float = 0.0


def evaluate(
    runner: EvaluationRunner, utterances: Sequence[Utterance], *, progress: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Process steady and changing passages of each person; figures as described above."""
    labels = runner.model(Task.EMOTION).info.labels
    with TemporaryDirectory(prefix="tonewatch-") as folder:
        passages = _passages([one for one in utterances if one.emotion in labels and one.speaker], Path(folder))
        events, _ = runner.run([one.path for one in passages], progress=progress)
    steady = [(one, own) for one, own in zip(passages, events, strict=True) if not one.after]
    times = [_seen_after_s(one, own) for one, own in zip(passages, events, strict=True) if one.after]
    seen = [time for time in times if time is not None]
    shown = [time for time in seen if np.isfinite(time)]
    minutes = sum(one.length_s for one, _ in steady) / 60
    return {
        "steady_minutes": minutes,
        "label_changes_per_minute": sum(_label_changes(own) for _, own in steady) / minutes if minutes else None,
        "changes": len(times),
        "right_before": len(seen),
        "seen": len(shown) / len(seen) if seen else None,
        "median_s": float(np.median(seen)) if shown and np.isfinite(np.median(seen)) else None,
    }


def _passages(utterances: Sequence[Utterance], folder: Path) -> list[Passage]:
    by_voice: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for one in utterances:
        by_voice[one.speaker][one.emotion].append(one.paths[0])
    made: list[Passage] = []
    for speaker, by_label in sorted(by_voice.items()):
        parts = {label: _joined(paths, STEADY_S) for label, paths in sorted(by_label.items())}
        for label, audio in parts.items():
            path = folder / f"{len(made)}-{speaker}.wav"
            soundfile.write(path, audio, SAMPLE_RATE_HZ)
            made.append(Passage(path, label, length_s=len(audio) / SAMPLE_RATE_HZ))
        for before, after in ((a, b) for a in parts for b in parts if a != b):
            first, second = (parts[label][: round(PART_S * SAMPLE_RATE_HZ)] for label in (before, after))
            if min(len(first), len(second)) >= MIN_PART_S * SAMPLE_RATE_HZ:
                path = folder / f"{len(made)}-{speaker}.wav"
                soundfile.write(path, np.concatenate((first, second)), SAMPLE_RATE_HZ)
                made.append(Passage(path, before, after, len(first) / SAMPLE_RATE_HZ))
    return made


def _joined(paths: Iterable[Path], limit_s: float) -> Samples:
    """Return recordings without the silence at their ends, one after the other, at most `limit_s` long."""
    parts: list[Samples] = []
    for path in sorted(paths):
        parts.append(_trimmed(read_samples(path)))
        if sum(map(len, parts)) >= limit_s * SAMPLE_RATE_HZ:
            break
    return np.concatenate(parts)[: round(limit_s * SAMPLE_RATE_HZ)]


def _trimmed(samples: Samples) -> Samples:
    count = len(samples) // _FRAME
    power = np.square(samples[: count * _FRAME].reshape(count, _FRAME)).mean(axis=1)
    active = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (-_EDGE_DB / 10))
    return samples[active[0] * _FRAME : (active[-1] + 1) * _FRAME] if len(active) else samples


def _labels(events: Sequence[Event]) -> list[tuple[float, str]]:
    return [(one.end_s, one.label) for one in events if isinstance(one, EmotionEvent) and one.label != SILENCE]


def _label_changes(events: Sequence[Event]) -> int:
    """Count changes of the label, without the first one from `uncertain`."""
    labels = [label for _, label in _labels(events)]
    while labels and labels[0] == UNCERTAIN:
        labels.pop(0)
    return sum(one != other for one, other in pairwise(labels))


def _seen_after_s(passage: Passage, events: Sequence[Event]) -> float | None:
    """Return the time from the change to the new label, infinity if never; None if the label before was wrong."""
    labels = _labels(events)
    before = [label for end_s, label in labels if end_s <= passage.change_s]
    if not before or before[-1] != passage.before:
        return None
    return next(
        (end_s - passage.change_s for end_s, label in labels if end_s > passage.change_s and label == passage.after),
        float("inf"),
    )
