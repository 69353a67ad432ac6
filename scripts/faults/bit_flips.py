"""Single flipped bits in the outbox's file: every start succeeds, and nothing false is delivered.

    python -m scripts.faults.bit_flips --times 2000

Each time one bit of a file with forty messages is flipped. A message that comes back must be one that was written; the
files of damaged rows and databases that a start puts aside are removed between two flips.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import tempfile
import time
from pathlib import Path

from scripts.faults.report import print_result
from stream.sinks.mqtt.journal import Journal
from stream.sinks.mqtt.outbox import Message

NAME = "outbox-kitchen"
MESSAGES = 40

log = logging.getLogger("bit flips")


def message(number: int) -> Message:
    """Return one of the messages that are written."""
    return Message("turn", f'{{"id":"{number}","speaker":"Zoë"}}', rolling=False, number=number, added_s=100.0)


async def written(folder: Path) -> bytes:
    """Return the bytes of a file with all messages."""
    journal = Journal(folder=folder, name=NAME, clock=lambda: 100.0)
    await journal.open()
    await journal.write([message(number) for number in range(MESSAGES)])
    await journal.close()
    return (folder / f"{NAME}.sqlite").read_bytes()


async def read_damaged(folder: Path, data: bytes) -> list[str]:
    """Open a journal whose file has these bytes; returns the payloads found, and writes once, as a run would."""
    _replace_files(folder, data)
    journal = Journal(folder=folder, name=NAME, clock=lambda: 100.0)
    found = [one.payload for one in await journal.open()]
    await journal.write([message(MESSAGES)])
    await journal.close()
    return found


def _replace_files(folder: Path, data: bytes) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / f"{NAME}.sqlite").write_bytes(data)


async def flip_bits(*, times: int, seed: int, folder: Path) -> dict[str, int]:
    """Flip single bits at random and count starts that failed, false payloads, and messages lost."""
    chance = random.Random(seed)  # noqa: S311 - the same bits in every run
    data = await written(folder)
    expected = {message(number).payload for number in range(MESSAGES)}
    counts = {"failed": 0, "false": 0, "starts with losses": 0}
    for _ in range(times):
        place, bit = chance.randrange(len(data)), chance.randrange(8)
        damaged = bytearray(data)
        damaged[place] ^= 1 << bit
        try:
            found = await read_damaged(folder, bytes(damaged))
        except Exception:
            log.exception("bit %d of byte %d", bit, place)
            counts["failed"] += 1
            continue
        counts["false"] += len(set(found) - expected)
        counts["starts with losses"] += len(set(found)) < MESSAGES
    return counts


def main() -> None:
    """Flip as many bits as the command line says, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2_000, help="bits to flip")
    arguments = parser.parse_args()
    logging.getLogger("stream").setLevel(logging.CRITICAL)  # a line for each damaged file
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = asyncio.run(flip_bits(times=arguments.times, seed=3, folder=Path(folder)))
    print_result(
        "bit flips",
        held=not (counts["failed"] or counts["false"]),
        times=arguments.times,
        took_s=round(time.monotonic() - started_s, 1),
        **counts,
    )


if __name__ == "__main__":
    main()
