"""Who spoke when, as it was and as it was told, on a grid of 10 ms (pure).

Two tellings of one stream are kept apart: what was told *live* (at each moment the newest speaker event, which can only
know the past) and what stood *in the end* (turns, with their beginnings dated back). A label told live counts from the
media time at which its window ended, so the wait for evidence counts as wrong.
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
NOBODY = ""
UNKNOWN = "?"
TENTATIVE = "…"

Grid = NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One person speaking, in seconds."""

    start_s: float
    end_s: float
    speaker: str


def read_rttm(path: Path) -> dict[str, list[Segment]]:
    """Segments by recording, from NIST's RTTM. Raises `SettingsError`, naming the line."""
    found: dict[str, list[Segment]] = {}
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
            found.setdefault(words[1], []).append(Segment(start_s, start_s + length_s, words[7]))
        except (IndexError, ValueError) as error:
            raise SettingsError(f"{path}, line {number}: not an RTTM line (SPEAKER file 1 start length …)") from error
    if not found:
        raise SettingsError(f"{path} holds no SPEAKER line")
    return {name: sorted(segments) for name, segments in found.items()}


def read_uem(path: Path) -> dict[str, tuple[float, float]]:
    """The scored part of each recording, from NIST's UEM. Raises `SettingsError`, naming the line."""
    found: dict[str, tuple[float, float]] = {}
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
            raise SettingsError(f"{path}, line {number}: not a UEM line (file 1 start end)") from error
        if name in found or end_s <= start_s:
            raise SettingsError(f"{path}, line {number}: {name} needs one scored part, which ends after it starts")
        found[name] = (start_s, end_s)
    if not found:
        raise SettingsError(f"{path} holds no line of UEM (file 1 start end)")
    return found


def _seconds(text: str) -> float:
    value = float(text)
    if not (isfinite(value) and value >= 0):
        raise ValueError(text)
    return value


def told_in_the_end(events: Sequence[Event]) -> list[Segment]:
    """Ended turns under the names that turned out later to be right; whoever stayed unknown is `?`."""
    names = {event.was: event.speaker for event in events if isinstance(event, SpeakerResolvedEvent)}
    return [
        Segment(event.start_s, event.end_s, _final(event.speaker or UNKNOWN, names))
        for event in events
        if isinstance(event, TurnEvent) and event.phase == "end" and event.end_s > event.start_s
    ]


def _final(name: str, names: Mapping[str, str]) -> str:
    while name in names:
        name = names[name]
    return name


def told_live(events: Iterable[Event], end_s: float) -> list[Segment]:
    """What the newest speaker event said at each moment; silence leaves holes."""
    told = [event for event in events if isinstance(event, SpeakerEvent)]
    ends = [event.end_s for event in told[1:]] + [end_s] * bool(told)
    return [
        Segment(event.end_s, until_s, event.speaker or (TENTATIVE if event.state == "tentative" else UNKNOWN))
        for event, until_s in zip(told, ends, strict=True)
        if event.state != "silence" and until_s > event.end_s
    ]


def turns(segments: Sequence[Segment], *, pause_s: float = 1.0, least_s: float = 0.5) -> list[Segment]:
    """The reference's turns: segments joined over short pauses if nobody else began since; short ones left out."""
    found: list[Segment] = []
    for segment in sorted(segments):
        last = found[-1] if found else None
        if last is not None and last.speaker == segment.speaker and segment.start_s - last.end_s < pause_s:
            found[-1] = Segment(last.start_s, max(last.end_s, segment.end_s), last.speaker)
        else:
            found.append(segment)
    return [turn for turn in found if turn.end_s - turn.start_s >= least_s]


def painted(segments: Iterable[Segment], names: Sequence[str], end_s: float) -> NDArray[np.bool_]:
    """Who speaks at each step; (names, steps)."""
    grid = np.zeros((len(names), round(end_s / STEP_S)), dtype=bool)
    place = {name: at for at, name in enumerate(names)}
    for segment in segments:
        if segment.speaker in place:
            grid[place[segment.speaker], round(segment.start_s / STEP_S) : round(segment.end_s / STEP_S)] = True
    return grid


def changes(segments: Sequence[Segment]) -> int:
    """How often the label changed; silence between, and waiting for evidence, are no labels."""
    labels = [segment.speaker for segment in sorted(segments) if not segment.speaker.endswith(TENTATIVE)]
    return sum(before != after for before, after in pairwise(labels))


def within(segments: Iterable[Segment], start_s: float, end_s: float) -> list[Segment]:
    """What of the segments lies in a part of the recording."""
    clipped = (Segment(max(one.start_s, start_s), min(one.end_s, end_s), one.speaker) for one in segments)
    return [segment for segment in clipped if segment.end_s > segment.start_s]


def renamed(segments: Iterable[Segment], names: Mapping[str, str]) -> list[Segment]:
    """Segments under other names; what has none keeps its own, marked as nobody's."""
    return [
        Segment(segment.start_s, segment.end_s, names.get(segment.speaker, f"~{segment.speaker}"))
        for segment in segments
    ]
