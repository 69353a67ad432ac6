"""A microphone that is unplugged and plugged in again, ten times over.

    python -m scripts.faults.microphone --times 10

A private PulseAudio's null sink is the microphone; unloading it is a real unplug, which PortAudio does not report. Each
time `stalled` and `resumed` must be told, the gap must have its true length (the media time must keep pace with the
clock to 0.2 s), and at the end no thread and no descriptor may be left over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from scripts.faults.report import say
from stream.settings import SourceSettings
from stream.sources.microphone import MicrophoneSource
from stream.types import Block, Interruption
from tests.support.pulseaudio import SoundServer

EXACT_S = 0.2
AWAY_S, THERE_S = 3.0, 3.0


async def _hear() -> None:
    """The child: tells, a line each, how far media time is behind the clock, and every interruption."""
    logging.disable(logging.WARNING)
    source = MicrophoneSource(settings=SourceSettings(kind="microphone", id="mic"))
    asyncio.get_running_loop().add_reader(sys.stdin, source.stop)
    async with source.blocks() as blocks:
        began_s = None
        settled = _settle(blocks)
        async for block in settled:
            if isinstance(block, Interruption):
                _tell(state=block.state)
                continue
            media_s = block.end_frame / source.format.rate_hz
            now_s = time.monotonic()
            began_s = now_s - media_s if began_s is None else began_s
            _tell(behind_s=round(now_s - began_s - media_s, 3), at_s=round(media_s, 3))
        _tell(threads=threading.active_count(), descriptors=psutil.Process().num_fds())


async def _settle(blocks: AsyncIterator[Block | Interruption]) -> AsyncIterator[Block | Interruption]:
    """Without the first second: a sound server's first blocks come in a bunch."""
    async for block in blocks:
        if isinstance(block, Interruption) or block.end_frame > 16_000:  # noqa: PLR2004
            yield block


def _tell(**told: object) -> None:
    print(json.dumps(told), flush=True)


def main(times: int) -> None:
    """Unplug, plug in, and judge what the child tells."""
    with tempfile.TemporaryDirectory() as folder, SoundServer(Path(folder)) as server:
        plug = server.plug()
        child = subprocess.Popen(
            [sys.executable, "-m", "scripts.faults.microphone", "--child"],
            env={**server.environment, "PYTHONPATH": os.getcwd()},  # noqa: PTH109
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None  # noqa: S101 - asked for above
        assert child.stdout is not None  # noqa: S101
        told: list[dict[str, float | str]] = []
        heard = threading.Thread(target=lambda: told.extend(map(json.loads, child.stdout or ())), daemon=True)
        heard.start()

        def until(state: str, count: int) -> None:
            deadline = time.monotonic() + 60
            while sum(row.get("state") == state for row in list(told)) < count:
                if time.monotonic() > deadline or child.poll() is not None:
                    raise SystemExit(f"no {state} number {count} was told")
                time.sleep(0.05)

        while not any("behind_s" in row for row in list(told)):
            time.sleep(0.05)
        time.sleep(THERE_S)
        resources = psutil.Process(child.pid)
        before = 0, 0
        for number in range(1, times + 1):
            server.unplug(plug)
            until("stalled", number)
            time.sleep(AWAY_S)
            plug = server.plug()
            until("resumed", number)
            time.sleep(THERE_S)
            if number == 1:  # helper threads are made when they are first needed
                before = resources.num_threads(), resources.num_fds()
        after = resources.num_threads(), resources.num_fds()
        child.stdin.write("\n")
        child.stdin.close()
        child.wait(30)
        heard.join(10)
    behind_s = [float(row["behind_s"]) for row in told if "behind_s" in row]
    stalled = sum(row.get("state") == "stalled" for row in told)
    resumed = sum(row.get("state") == "resumed" for row in told)
    if os.environ.get("TRACE"):
        Path(os.environ["TRACE"]).write_text("\n".join(map(json.dumps, told)))
    worst_s = max(abs(value) for value in _steady(told))
    say(
        "microphone",
        held=stalled == resumed == times and worst_s <= EXACT_S and after[0] <= before[0] and after[1] <= before[1],
        times=times,
        stalled=stalled,
        resumed=resumed,
        worst_s=worst_s,
        last_s=behind_s[-1],
        threads=[before[0], after[0]],
        descriptors=[before[1], after[1]],
    )


def _steady(told: list[dict[str, float | str]]) -> list[float]:
    """How far media time is off between two interruptions: by the block that came least late, for all come late."""
    stretches: list[list[float]] = [[]]
    for row in told:
        if "state" in row:
            stretches.append([])
        elif "behind_s" in row:
            stretches[-1].append(float(row["behind_s"]))
    return [min(stretch) for stretch in stretches if stretch]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        asyncio.run(_hear())
    else:
        main(asked.times)
