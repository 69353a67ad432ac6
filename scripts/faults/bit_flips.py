"""Single flipped bits in the outbox's and the profiles' file: every start succeeds, and nothing false comes of it.

    python -m scripts.faults.bit_flips --times 2000

Each time one bit of a file is flipped. A message of the outbox that comes back must be one that was written; so must a
name, an x-vector and a calibration of the profiles, unless the whole file is reported as damaged (a run then goes on
without them). The files of damaged rows and databases that a start puts aside are removed between two flips.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from scripts.faults.report import print_result
from stream.errors import ProfilesDamaged
from stream.events import ModelRef
from stream.profiles.profile import EnrolledRecording, Exemplar, FittedCalibration, Profile
from stream.profiles.store import ProfileStore
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message

NAME = "outbox-kitchen"
MESSAGES = 40
RETAINED = [f"home/kitchen/room{number}/state" for number in range(10)]

MODEL = ModelRef(name="speaker-campplus", revision="1")
PEOPLE = 4

log = logging.getLogger("bit flips")

Read = Callable[[Path], list[str]]
"""Reads a file of this name; returns what it holds, as text. Raises if a start would fail."""


def message(number: int) -> Message:
    """Return one of the messages that are written."""
    return Message("turn", f'{{"id":"{number}","speaker":"Zoë"}}', rolling=False, number=number, added_s=100.0)


def write_outbox(path: Path) -> list[str]:
    """Write a file with all messages and retained topics; returns them."""

    async def write() -> None:
        journal = Journal(folder=path.parent, name=path.stem, clock=lambda: 100.0)
        await journal.open()
        await journal.write([message(number) for number in range(MESSAGES)])
        await journal.remember_retained(RETAINED)
        await journal.close()

    asyncio.run(write())
    messages = map(message, range(MESSAGES))
    return [*RETAINED, *(f"{one.topic} {one.payload}" for one in messages)]


def read_outbox(path: Path) -> list[str]:
    """Open a journal on the file; returns what is found, and writes once, as a run would."""

    async def read() -> list[str]:
        journal = Journal(folder=path.parent, name=path.stem, clock=lambda: 100.0)
        found = [f"{one.topic} {one.payload}" for one in await journal.open()]
        found += journal.retained_topics
        await journal.write([message(MESSAGES)])
        await journal.close()
        return found

    return asyncio.run(read())


def write_profiles(path: Path) -> list[str]:
    """Write a file with some people and a calibration; returns what it holds."""
    vectors = np.random.default_rng(1).normal(size=(PEOPLE, 3, 64)).astype(np.float32)
    with ProfileStore(path, create=True) as store:
        for number in range(PEOPLE):
            exemplars = tuple(Exemplar(vector, 2.0) for vector in vectors[number])
            store.add(f"Zoë {number}", EnrolledRecording(MODEL, "file", "talk.wav", 4.5, exemplars), note="on paper")
        store.set_calibration(FittedCalibration(MODEL, (9.0, 0.4, 1.1), 0.5, 12, 40))
    return read_profiles(path)


def read_profiles(path: Path) -> list[str]:
    """Read all profiles as a run does."""
    try:
        with ProfileStore(path) as store:
            calibration = store.calibration(MODEL)
            return [*(part for profile in store.profiles() for part in _parts(profile)), repr(calibration)]
    except ProfilesDamaged:
        return []


def _parts(profile: Profile) -> list[str]:
    vectors = [
        f"{profile.name} {recording.model} {exemplar.speech_s} {exemplar.vector.tobytes().hex()}"
        for recording in profile.recordings
        for exemplar in recording.exemplars
    ]
    return [f"{profile.name} {profile.note} {profile.created}", *vectors]


def flip_bits(
    write: Callable[[Path], list[str]], read: Read, *, times: int, seed: int, folder: Path, lost: str = "None"
) -> dict[str, int]:
    """Flip single bits at random and count starts that failed, false contents, and starts that lost something.

    `lost` is what may stand for something that was lost.
    """
    chance = random.Random(seed)  # noqa: S311 - the same bits in every run
    path = folder / f"{NAME}.sqlite"
    expected = {*write(path), lost}
    data = path.read_bytes()
    counts = {"failed": 0, "false": 0, "starts with losses": 0}
    for _ in range(times):
        place, bit = chance.randrange(len(data)), chance.randrange(8)
        damaged = bytearray(data)
        damaged[place] ^= 1 << bit
        for file in folder.iterdir():
            file.unlink()
        path.write_bytes(bytes(damaged))
        try:
            found = set(read(path))
        except Exception:
            log.exception("bit %d of byte %d", bit, place)
            counts["failed"] += 1
            continue
        counts["false"] += len(found - expected)
        counts["starts with losses"] += len(found - {lost}) < len(expected) - 1
    return counts


def main() -> None:
    """Flip as many bits of each file as the command line says, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2_000, help="bits to flip in each file")
    arguments = parser.parse_args()
    logging.getLogger("stream").setLevel(logging.CRITICAL)  # a line for each damaged file
    started_s = time.monotonic()
    files = {"outbox": (write_outbox, read_outbox), "profiles": (write_profiles, read_profiles)}
    counts = {}
    for name, (write, read) in files.items():
        with tempfile.TemporaryDirectory() as folder:
            counts[name] = flip_bits(write, read, times=arguments.times, seed=3, folder=Path(folder))
    print_result(
        "bit flips",
        held=not any(count["failed"] or count["false"] for count in counts.values()),
        times=arguments.times,
        took_s=round(time.monotonic() - started_s, 1),
        **counts,
    )


if __name__ == "__main__":
    main()
