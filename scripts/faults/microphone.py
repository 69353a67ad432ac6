"""A microphone that is unplugged and plugged in again, ten times over.

    python -m scripts.faults.microphone --times 10

A private PulseAudio's null sink is the microphone; unloading it is a real unplug, which PortAudio does not report. Each
time `stalled` and `resumed` must be reported, the gap must have its true length (media time must match the clock to
0.2 s), and at the end no thread and no descriptor may be left over.
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
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil

from scripts.faults.report import print_result
from stream.settings import SourceSettings
from stream.sources.microphone import MicrophoneSource
from stream.types import Block, Interruption
from tests.support.pulseaudio import SoundServer

MAX_DRIFT_S = 0.2
UNPLUGGED_S, PLUGGED_S = 3.0, 3.0


async def _run_child() -> None:
    """The child: print how far media time is behind the clock at each block, and every interruption, as JSON lines."""
    logging.disable(logging.WARNING)
    source = MicrophoneSource(settings=SourceSettings(kind="microphone", id="mic"))
    asyncio.get_running_loop().add_reader(sys.stdin, source.stop)
    async with source.blocks() as blocks:
        began_s = None
        steady = _without_burst(blocks)
        async for block in steady:
            if isinstance(block, Interruption):
                _print(state=block.state)
                continue
            media_s = block.end_frame / source.format.rate_hz
            now_s = time.monotonic()
            began_s = now_s - media_s if began_s is None else began_s
            _print(behind_s=round(now_s - began_s - media_s, 3), at_s=round(media_s, 3))
        _print(threads=threading.active_count(), descriptors=psutil.Process().num_fds())


async def _without_burst(blocks: AsyncIterator[Block | Interruption]) -> AsyncIterator[Block | Interruption]:
    """Skip the first second: an audio server's first blocks arrive in a burst."""
    async for block in blocks:
        if isinstance(block, Interruption) or block.end_frame > 16_000:  # noqa: PLR2004
            yield block


def _print(**record: object) -> None:
    print(json.dumps(record), flush=True)


def main(times: int) -> None:
    """Unplug, plug in, and evaluate what the child prints."""
    with tempfile.TemporaryDirectory() as folder, SoundServer(Path(folder)) as server:
        plug = server.plug()
        child = subprocess.Popen(
            [sys.executable, "-m", "scripts.faults.microphone", "--child"],
            env={**server.environment, "PYTHONPATH": os.getcwd()},  # noqa: PTH109
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None  # noqa: S101 - requested above
        assert child.stdout is not None  # noqa: S101
        records: list[dict[str, float | str]] = []
        reader = threading.Thread(target=lambda: records.extend(map(json.loads, child.stdout or ())), daemon=True)
        reader.start()

        def wait_for(what: str, reported: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 60
            while not reported():
                if time.monotonic() > deadline or child.poll() is not None:
                    raise SystemExit(f"{what} was not reported")
                time.sleep(0.05)

        def until(state: str, count: int) -> None:
            wait_for(
                f"{state} number {count}", lambda: sum(row.get("state") == state for row in list(records)) >= count
            )

        wait_for("audio", lambda: any("behind_s" in row for row in list(records)))
        time.sleep(PLUGGED_S)
        resources = psutil.Process(child.pid)
        before = 0, 0
        for number in range(1, times + 1):
            server.unplug(plug)
            until("stalled", number)
            time.sleep(UNPLUGGED_S)
            plug = server.plug()
            until("resumed", number)
            time.sleep(PLUGGED_S)
            if number == 1:  # helper threads are made when they are first needed
                before = resources.num_threads(), resources.num_fds()
        after = resources.num_threads(), resources.num_fds()
        child.stdin.write("\n")
        child.stdin.close()
        child.wait(30)
        reader.join(10)
    behind_s = [float(row["behind_s"]) for row in records if "behind_s" in row]
    stalled = sum(row.get("state") == "stalled" for row in records)
    resumed = sum(row.get("state") == "resumed" for row in records)
    if os.environ.get("TRACE"):
        Path(os.environ["TRACE"]).write_text("\n".join(map(json.dumps, records)))
    worst_s = max(abs(value) for value in _steady(records))
    print_result(
        "microphone",
        held=stalled == resumed == times and worst_s <= MAX_DRIFT_S and after[0] <= before[0] and after[1] <= before[1],
        times=times,
        stalled=stalled,
        resumed=resumed,
        worst_s=worst_s,
        last_s=behind_s[-1],
        threads=[before[0], after[0]],
        descriptors=[before[1], after[1]],
    )


def _steady(records: list[dict[str, float | str]]) -> list[float]:
    """Return the drift of media time between interruptions: the smallest of each segment, as blocks are only late."""
    segments: list[list[float]] = [[]]
    for row in records:
        if "state" in row:
            segments.append([])
        elif "behind_s" in row:
            segments[-1].append(float(row["behind_s"]))
    return [min(segment) for segment in segments if segment]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        asyncio.run(_run_child())
    else:
        main(arguments.times)
