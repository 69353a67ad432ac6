"""One person who walks through several rooms, each with a microphone that also receives the others (mixed, exact).

Turns, room acoustics and noise are those of `mixing`. Within a room the distance to its microphone varies from stay to
stay. A microphone of another room receives the person through doors and walls: softer, darker, and with little direct
sound. Microphones differ in gain and noise. The reference is the room that the person is in while speaking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from stream.errors import SettingsError
from stream.tools.evaluation.mixing import (
    ENROLMENT_S,
    MixturePlan,
    SpeakerPool,
    background,
    impulse_response,
    place_turns,
    take,
)
from stream.tools.evaluation.segments import Segment
from stream.types import SAMPLE_RATE_HZ, Samples

STAY_S = 8.0, 18.0
"""How long the person stays in a room."""

WALK_S = 2.0
"""How long it takes to walk to the next one."""

DISTANCE_DB = -5.0, 2.0
"""Level within the room, by the distance of each stay."""

THROUGH_DB = -24.0, -10.0
"""Level in another room's microphone."""

GAIN_DB = -3.0, 3.0
"""Gain of a microphone."""

DARKNESS = 0.7
"""Coefficient of the low-pass of what comes through walls (about 1 kHz)."""

REFERENCE = "rooms.rttm"


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk: samples (n,) by room, the speech with its room as speaker, and the person's enrolment."""

    name: str
    microphones: dict[str, Samples]
    segments: tuple[Segment, ...]
    person: str
    enrolment: Samples


def mix_walks(
    pool: SpeakerPool,
    noises: Sequence[Samples],
    plan: MixturePlan,
    *,
    rooms: int,
    count: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Walk]:
    """Mix `count` walks of one person each; equal seeds give equal walks. Raises `SettingsError` without people."""
    if not pool.people:
        raise SettingsError("no speaker has two recordings and enough audio; add recordings")
    walks = []
    for number in range(count):
        walks.append(_mix_walk(pool, noises, plan, rooms=rooms, number=number, seed=seed))
        progress()
    return walks


def _mix_walk(
    pool: SpeakerPool, noises: Sequence[Samples], plan: MixturePlan, *, rooms: int, number: int, seed: int
) -> Walk:
    draw = np.random.default_rng((seed, number))
    person = sorted(pool.people)[int(draw.integers(len(pool.people)))]
    recordings = [pool.people[person][at] for at in draw.permutation(len(pool.people[person]))]
    enrolment = take(recordings, ENROLMENT_S)
    dry = np.zeros(round(plan.seconds * SAMPLE_RATE_HZ), dtype=np.float32)
    speech = place_turns(dry, {person: recordings}, {person: 1.0}, plan=plan, draw=draw)
    presence = _path(len(dry), rooms, draw)
    names = [f"room{place + 1}" for place in range(rooms)]
    microphones = {
        name: _received(dry, presence, place, noises=noises, plan=plan, draw=draw) for place, name in enumerate(names)
    }
    return Walk(f"walk{number:03d}", microphones, tuple(_by_room(speech, presence, names)), person, enrolment)


def _path(length: int, rooms: int, draw: np.random.Generator) -> NDArray[np.float32]:
    """Return how much the person is in each room, with the distance of each stay; shape (rooms, n)."""
    presence = np.zeros((rooms, length), dtype=np.float32)
    walk = round(WALK_S * SAMPLE_RATE_HZ)
    rise = np.linspace(0.0, 1.0, walk, dtype=np.float32)
    room, start = int(draw.integers(rooms)), 0
    while start < length:
        end = start + round(draw.uniform(*STAY_S) * SAMPLE_RATE_HZ)
        stay = np.concatenate(
            [rise if start else np.ones(walk, np.float32), np.ones(end - start, np.float32), 1 - rise]
        )
        part = presence[room, start : start + len(stay)]
        part += (stay * 10 ** (draw.uniform(*DISTANCE_DB) / 20))[: len(part)]
        start = end + walk
        room = (room + int(draw.integers(1, rooms))) % rooms if rooms > 1 else room
    return presence


def _received(
    dry: Samples,
    presence: NDArray[np.float32],
    place: int,
    *,
    noises: Sequence[Samples],
    plan: MixturePlan,
    draw: np.random.Generator,
) -> Samples:
    """Return what the microphone of a room receives."""
    from scipy.signal import fftconvolve, lfilter  # noqa: PLC0415 - the import takes a second

    received = np.zeros(len(dry))
    for room, here in enumerate(presence):
        response = impulse_response(draw.uniform(*plan.rt60_s), draw)
        if room != place:
            response[0] *= 0.3
            response = lfilter([1 - DARKNESS], [1, -DARKNESS], response)
            response *= 10 ** (draw.uniform(*THROUGH_DB) / 20) / np.sqrt(np.sum(np.square(response)))
        received += fftconvolve(dry * here, response)[: len(dry)]
    noise = background(len(dry), noises, draw)
    speech_power = float(np.mean(np.square(dry[np.abs(dry) > 1e-3 * np.abs(dry).max()])))
    noise *= np.sqrt(
        speech_power / 10 ** (draw.uniform(*plan.noise_db) / 10) / max(float(np.mean(np.square(noise))), 1e-12)
    )
    both = (received + noise) * 10 ** (draw.uniform(*GAIN_DB) / 20)
    return np.asarray(np.clip(both, -1.0, 1.0), dtype=np.float32)


def _by_room(speech: Sequence[Segment], presence: NDArray[np.float32], names: Sequence[str]) -> list[Segment]:
    """Split speech where the person enters another room, and name it after the room."""
    rooms = np.argmax(presence, axis=0)
    changes = [0, *(np.flatnonzero(np.diff(rooms)) + 1).tolist(), len(rooms)]
    found = []
    for segment in speech:
        for start, end in pairwise(changes):
            start_s, end_s = max(segment.start_s, start / SAMPLE_RATE_HZ), min(segment.end_s, end / SAMPLE_RATE_HZ)
            if end_s > start_s:
                found.append(Segment(start_s, end_s, names[int(rooms[start])]))
    return found


def write(walks: Sequence[Walk], folder: Path) -> None:
    """Write `NAME-ROOM.flac` of each walk, `NAME/PERSON.flac`, and the reference `rooms.rttm`."""
    try:
        lines = []
        for walk in walks:
            (folder / walk.name).mkdir(parents=True, exist_ok=True)
            for room, samples in walk.microphones.items():
                soundfile.write(folder / f"{walk.name}-{room}.flac", samples, SAMPLE_RATE_HZ, subtype="PCM_16")
            enrolment = folder / walk.name / f"{walk.person}.flac"
            soundfile.write(enrolment, walk.enrolment, SAMPLE_RATE_HZ, subtype="PCM_16")
            lines += [
                f"SPEAKER {walk.name} 1 {one.start_s:.3f} {one.end_s - one.start_s:.3f} "
                f"<NA> <NA> {one.speaker} <NA> <NA>"
                for one in walk.segments
            ]
        (folder / REFERENCE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error}") from error
