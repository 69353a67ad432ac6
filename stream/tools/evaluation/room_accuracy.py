"""Evaluation of room arbitration: the share of a person's speech that is put into the right room.

The microphones of a walk are processed like live streams, their `speaker` events are put in order of time, and the
arbiter decides after each, as a node does. `live` is the room that was published when the speech was over by
`LIVE_S`, `corrected` the last word on it, which `since_s` backdates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from stream.errors import SettingsError
from stream.events import Event, SpeakerEvent, StreamEvent
from stream.tools.evaluation.inputs import audio_files, enrolment_files
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tools.evaluation.segments import STEP_S, Segment, activity
from stream.tracking.room_arbiter import Placement, RoomArbiter, report_of

NODE = "evaluation"

LIVE_S = 1.0
"""Age of speech at which the live room is read: a window has to hold some of it first."""


@dataclass(frozen=True, slots=True)
class WalkResult:
    """Figures of one walk, in steps of the reference's speech."""

    name: str
    speech: int
    corrected: int  # right
    live: int  # right
    missed: int  # in no room
    doubled: int  # in a room, beside another voice that is the same person
    moves: int  # of the person, while speaking
    changes: int  # published rooms that differ from the one before
    waits_s: tuple[float, ...]  # from a change of room to its publication


def walks_in(folder: Path, reference: Mapping[str, Sequence[Segment]]) -> dict[str, dict[str, Path]]:
    """Return the recordings of each walk by room. Raises `SettingsError` if one has none."""
    files = audio_files(folder)
    found = {
        name: {file.stem.removeprefix(f"{name}-"): file for file in files if file.stem.startswith(f"{name}-")}
        for name in reference
    }
    empty = next((name for name, rooms in found.items() if not rooms), None)
    if empty is not None or not found:
        raise SettingsError(
            f"{folder} has no recordings {empty or 'NAME'}-ROOM; make some with `evaluate mix --rooms 3`"
        )
    return found


def evaluate(
    runner: EvaluationRunner,
    folder: Path,
    reference: Mapping[str, Sequence[Segment]],
    *,
    progress: Callable[[], None] = lambda: None,
) -> list[WalkResult]:
    """Evaluate every walk of a folder."""
    results = []
    for name, rooms in walks_in(folder, reference).items():
        people = enrolment_files(folder / name)
        events, _ = runner.run(list(rooms.values()), enrolled=runner.enrol(people))
        published = placed_over_time(dict(zip(rooms, events, strict=True)), runner.settings.rooms.offset_db)
        results.append(score(name, published, reference[name], next(iter(people), None)))
        progress()
    return results


def placed_over_time(
    events: Mapping[str, Sequence[Event]], offsets_db: Mapping[str, float]
) -> list[tuple[float, tuple[Placement, ...]]]:
    """Return what the arbiter says after each event of all rooms, with the media time."""
    arbiter = RoomArbiter(offsets_db=offsets_db)
    ordered = sorted(
        ((event.end_s, room, event) for room, own in events.items() for event in own), key=lambda one: one[:2]
    )
    published = []
    for end_s, room, event in ordered:
        microphone = (NODE, room)
        if isinstance(event, SpeakerEvent):
            report = report_of(event, microphone, time_s=end_s)
            if report is None:
                arbiter.silence(microphone, time_s=end_s)
            else:
                arbiter.observe(report)
        elif isinstance(event, StreamEvent) and event.state == "ended":
            arbiter.silence(microphone, time_s=end_s)
        else:
            continue
        published.append((end_s, arbiter.placements(end_s)))
    return published


def score(
    name: str,
    published: Sequence[tuple[float, tuple[Placement, ...]]],
    reference: Sequence[Segment],
    person: str | None,
) -> WalkResult:
    """Compare the published rooms with the reference."""
    rooms = sorted({one.speaker for one in reference})
    end_s = max(one.end_s for one in reference)
    truth = activity(reference, rooms, end_s)
    true_room = np.where(truth.any(axis=0), truth.argmax(axis=0), -1)
    last_word, live = (np.full(len(true_room), -1) for _ in range(2))
    several = np.zeros(len(true_room), bool)
    shown: list[tuple[float, int]] = []
    for at_s, placements in published:
        placed = next((one for one in placements if one.name == person), placements[0] if placements else None)
        room = -1 if placed is None or placed.microphone[1] not in rooms else rooms.index(placed.microphone[1])
        since_s = at_s if placed is None else placed.since_s
        last_word[max(0, round(since_s / STEP_S)) :] = room
        live[max(0, round((at_s - LIVE_S) / STEP_S)) :] = room
        several[round(at_s / STEP_S) :] = len(placements) > 1
        if room >= 0 and (not shown or shown[-1][1] != room):
            shown.append((at_s, room))
    speech = true_room >= 0
    moves = [
        (one.start_s, rooms.index(one.speaker))
        for before, one in pairwise(sorted(reference))
        if before.speaker != one.speaker
    ]
    return WalkResult(
        name=name,
        speech=int(speech.sum()),
        corrected=int((speech & (last_word == true_room)).sum()),
        live=int((speech & (live == true_room)).sum()),
        missed=int((speech & (last_word < 0)).sum()),
        doubled=int((speech & several).sum()),
        moves=len(moves),
        changes=max(0, len(shown) - 1),
        waits_s=tuple(_waits(moves, shown)),
    )


def _waits(moves: Sequence[tuple[float, int]], shown: Sequence[tuple[float, int]]) -> Iterator[float]:
    """Return how long after each move the new room was published, if it was before the next one."""
    for place, (moved_s, room) in enumerate(moves):
        until_s = moves[place + 1][0] if place + 1 < len(moves) else float("inf")
        wait_s = next((at_s - moved_s for at_s, one in shown if one == room and moved_s <= at_s < until_s), None)
        if wait_s is not None:
            yield wait_s


def summary(results: Sequence[WalkResult]) -> dict[str, float | int | None]:
    """Return the figures over several walks."""
    speech = sum(one.speech for one in results) or 1
    waits_s = sorted(wait_s for one in results for wait_s in one.waits_s)
    return {
        "speech_s": round(sum(one.speech for one in results) * STEP_S, 1),
        "right_room": sum(one.corrected for one in results) / speech,
        "right_room_live": sum(one.live for one in results) / speech,
        "no_room": sum(one.missed for one in results) / speech,
        "two_voices": sum(one.doubled for one in results) / speech,
        "moves": sum(one.moves for one in results),
        "published_changes": sum(one.changes for one in results),
        "move_median_s": round(waits_s[len(waits_s) // 2], 2) if waits_s else None,
    }
