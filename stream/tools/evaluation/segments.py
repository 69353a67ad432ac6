"""Speaker segments of reference and hypothesis, on a grid of 10 ms (pure).

Two hypotheses of a stream are distinguished: the *live* one (at each moment the newest speaker event, which can only
use the past) and the *final* one (turns, with corrected start times and names). A live label counts from the media time
at which its window ended, so the wait for evidence counts as wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.errors import SettingsError
from stream.events import Event, SpeakerEvent, SpeakerResolvedEvent, TurnEvent

STEP_S = 0.01
UNKNOWN = "?"
TENTATIVE = "…"

Grid = NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A segment of one speaker, in seconds."""

    start_s: float
    end_s: float
    speaker: str


def read_rttm(path: Path) -> dict[str, list[Segment]]:
    """Read segments by recording from NIST's RTTM. Raises `SettingsError` with the line number."""
    segments_of: dict[str, list[Segment]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as RTTM: {error}") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] != "SPEAKER":
            continue
        try:
            start_s, length_s = _seconds(words[3]), _seconds(words[4])
            segments_of.setdefault(words[1], []).append(Segment(start_s, start_s + length_s, words[7]))
        except (IndexError, ValueError) as error:
            raise SettingsError(
                f"{path}, line {number}: invalid RTTM; use `SPEAKER FILE 1 START DURATION …`"
            ) from error
    if not segments_of:
        raise SettingsError(f"{path} has no SPEAKER line; give a reference in RTTM")
    return {name: sorted(segments) for name, segments in segments_of.items()}


def read_uem(path: Path) -> dict[str, tuple[float, float]]:
    """Read the scored part of each recording from NIST's UEM. Raises `SettingsError` with the line number."""
    parts: dict[str, tuple[float, float]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as UEM: {error}") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith(";"):
            continue
        try:
            name, _, start_s, end_s = words[0], words[1], _seconds(words[2]), _seconds(words[3])
        except (IndexError, ValueError) as error:
            raise SettingsError(f"{path}, line {number}: invalid UEM; use `FILE 1 START END`") from error
        if name in parts or end_s <= start_s:
            raise SettingsError(f"{path}, line {number}: {name} needs exactly one part with END after START")
        parts[name] = (start_s, end_s)
    if not parts:
        raise SettingsError(f"{path} is empty; add lines `FILE 1 START END`")
    return parts


def _seconds(text: str) -> float:
    value = float(text)
    if not (isfinite(value) and value >= 0):
        raise ValueError(text)
    return value


def final_segments(events: Sequence[Event]) -> list[Segment]:
    """Return ended turns under their corrected names; unknown speakers are `?`."""
    names = {event.previous: event.speaker for event in events if isinstance(event, SpeakerResolvedEvent)}
    return [
        Segment(event.start_s, event.end_s, _corrected(event.speaker or UNKNOWN, names))
        for event in events
        if isinstance(event, TurnEvent) and event.phase == "end" and event.end_s > event.start_s
    ]


def _corrected(name: str, names: Mapping[str, str]) -> str:
    while name in names:
        name = names[name]
    return name


def live_segments(events: Iterable[Event], end_s: float) -> list[Segment]:
    """Return the label of the newest speaker event at each moment; silence leaves gaps.

    Speech without a name is an unknown speaker only if the event says so: else it is not decided yet.
    """
    labels = [event for event in events if isinstance(event, SpeakerEvent)]
    ends = [event.end_s for event in labels[1:]] + [end_s] * bool(labels)
    return [
        Segment(event.end_s, until_s, event.speaker or (UNKNOWN if event.state == "unknown" else TENTATIVE))
        for event, until_s in zip(labels, ends, strict=True)
        if event.state != "silence" and until_s > event.end_s
    ]


def merge_into_turns(
    segments: Sequence[Segment], *, pause_s: float = 1.0, min_duration_s: float = 0.5
) -> list[Segment]:
    """Join a speaker's segments over short pauses without another speaker's onset; drop short turns."""
    turns: list[Segment] = []
    for segment in sorted(segments):
        last = turns[-1] if turns else None
        if last is not None and last.speaker == segment.speaker and segment.start_s - last.end_s < pause_s:
            turns[-1] = Segment(last.start_s, max(last.end_s, segment.end_s), last.speaker)
        else:
            turns.append(segment)
    return [turn for turn in turns if turn.end_s - turn.start_s >= min_duration_s]


def activity(segments: Iterable[Segment], names: Sequence[str], end_s: float) -> NDArray[np.bool_]:
    """Return which speakers are active at each step; (names, steps)."""
    grid = np.zeros((len(names), round(end_s / STEP_S)), dtype=bool)
    row = {name: at for at, name in enumerate(names)}
    for segment in segments:
        if segment.speaker in row:
            grid[row[segment.speaker], round(segment.start_s / STEP_S) : round(segment.end_s / STEP_S)] = True
    return grid


def count_changes(segments: Sequence[Segment]) -> int:
    """Count label changes, ignoring silence and tentative labels."""
    labels = [segment.speaker for segment in sorted(segments) if not segment.speaker.endswith(TENTATIVE)]
    return sum(before != after for before, after in pairwise(labels))


def clip(segments: Iterable[Segment], start_s: float, end_s: float) -> list[Segment]:
    """Restrict segments to a part of the recording."""
    clipped = (Segment(max(one.start_s, start_s), min(one.end_s, end_s), one.speaker) for one in segments)
    return [segment for segment in clipped if segment.end_s > segment.start_s]


def map_speakers(segments: Iterable[Segment], names: Mapping[str, str]) -> list[Segment]:
    """Rename speakers; those without a new name keep theirs with a `~` before it."""
    return [
        Segment(segment.start_s, segment.end_s, names.get(segment.speaker, f"~{segment.speaker}"))
        for segment in segments
    ]
