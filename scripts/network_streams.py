"""Network streams from real servers on loopback: `python -m scripts.network_streams [turns|outage|decoding]`.

* `turns`: the bundled conversation by RTSP (GStreamer), HTTP (Icecast), UDP and RTP (FFmpeg) against the file: are all
  turns there, by the same speakers, and how far are their times apart?
* `outage`: the servers of HTTP and RTSP are killed for 10 s, later frozen for 30 s (SIGSTOP); UDP goes on beside them.
* `decoding`: the share of the processor's cores that 32 streams need to be received and decoded, without models.

Prints one JSON line per measurement, and exits with 1 if a guarantee was violated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import soundfile

from scripts.network_servers import Icecast, Rtp, Rtsp, Server, Udp
from stream.demo.conversation import AUDIO
from stream.events import Event, StreamEvent, TurnEvent, from_json
from stream.settings import SourceSettings
from stream.sources.network import NetworkSource
from stream.sources.network_request import NetworkRequest
from stream.types import SAMPLE_RATE_HZ

LEAD_S, TAIL_S = 45.0, 4.0
"""Silence before the conversation, in which listeners connect, and after it."""

MAX_APART_S = 0.3
MATCH_S = 0.5
DOWN_S, FROZEN_S = 10.0, 30.0
MAX_DECODING_SHARE = 0.25
CONNECT_TIMEOUT_S, SETTLE_S = 180.0, 3.0
MODEL_SETTINGS = ("--profiles", "", "--quiet")


class Run:
    """One `tonewatch run` over several sources, with its events in a file."""

    def __init__(self, folder: Path, preset: str) -> None:
        self._folder, self._preset = folder, preset
        self._events = folder / "events.ndjson"

    def start(self, sources: Mapping[str, str], *, kind: str = "network") -> subprocess.Popen[bytes]:
        """Start it; `sources` are targets by name."""
        self._events.unlink(missing_ok=True)
        config = self._folder / "sources.toml"
        config.write_text(
            "".join(
                f'[[sources]]\nkind = "{kind}"\nid = "{name}"\ntarget = "{target}"\n'
                for name, target in sources.items()
            )
        )
        command = [sys.executable, "-m", "stream", "run", "--config", str(config), "--preset", self._preset]
        command += [*MODEL_SETTINGS, "--sink", f"file:{self._events}"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def events(self) -> list[Event]:
        """Return the events so far."""
        if not self._events.exists():
            return []
        lines = self._events.read_bytes().splitlines(keepends=True)
        return [from_json(line.decode()) for line in lines if line.endswith(b"\n")]

    def await_start(self, names: Iterable[str], timeout_s: float = 120.0) -> None:
        """Wait until streams are open. Raises `TimeoutError`."""
        missing, end_s = set(names), time.monotonic() + timeout_s
        while missing and time.monotonic() < end_s:
            time.sleep(0.5)
            missing -= {event.source for event in self.events()}
        if missing:
            raise TimeoutError(f"no stream {sorted(missing)}")


def turns(events: Iterable[Event], source: str) -> list[TurnEvent]:
    """Return the ended turns of a source."""
    found = (event for event in events if isinstance(event, TurnEvent) and event.phase == "end")
    return sorted((turn for turn in found if turn.source == source), key=lambda turn: turn.start_s)


def matches(expected: Sequence[TurnEvent], found: Sequence[TurnEvent]) -> list[tuple[TurnEvent, TurnEvent]]:
    """Pair the turns of a stream with those of the file, one to one, at the shift in time that pairs most.

    Turns of several people may start together: of those, the nearest in start and end are a pair.
    """
    best: list[tuple[TurnEvent, TurnEvent]] = []
    best_apart_s = 0.0
    for shift_s in {round(other.start_s - one.start_s, 3) for one in expected for other in found}:
        near = sorted(
            (abs(other.start_s - shift_s - one.start_s) + abs(other.end_s - shift_s - one.end_s), at, to)
            for at, one in enumerate(expected)
            for to, other in enumerate(found)
            if abs(other.start_s - shift_s - one.start_s) < MATCH_S
        )
        pairs: dict[int, int] = {}
        apart_s = 0.0
        for distance_s, at, to in near:
            if at not in pairs and to not in pairs.values():
                pairs[at] = to
                apart_s += distance_s
        if (len(pairs), -apart_s) > (len(best), -best_apart_s):
            best, best_apart_s = [(expected[at], found[to]) for at, to in sorted(pairs.items())], apart_s
    return best


def compare(expected: Sequence[TurnEvent], found: Sequence[TurnEvent], name: str) -> bool:
    """Print how the turns of a stream differ from those of the file, and return whether they agree."""
    pairs = matches(expected, found)
    shift_s = statistics.median([other.start_s - one.start_s for one, other in pairs] or [0.0])
    names: dict[str | None, str | None] = {}
    wrong = sum(names.setdefault(one.speaker, other.speaker) != other.speaker for one, other in pairs)
    starts = [abs(other.start_s - shift_s - one.start_s) for one, other in pairs] or [0.0]
    ends = [abs(other.end_s - shift_s - one.end_s) for one, other in pairs] or [0.0]
    apart_s = max(*starts, *ends)
    held = len(pairs) == len(expected) == len(found) and not wrong and apart_s <= MAX_APART_S
    figures: dict[str, object] = {
        "turns": len(found),
        "of": len(expected),
        "paired": len(pairs),
        "other_speaker": wrong,
    }
    figures |= {"apart_s": {"median": round(statistics.median(starts + ends), 3), "largest": round(apart_s, 3)}}
    print(json.dumps({"measured": "turns", "by": name, "held": held, **figures}), flush=True)
    return held


@contextmanager
def stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a run at the end, as Ctrl-C does."""
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure_turns(folder: Path, preset: str, kinds: Sequence[str]) -> bool:
    """Compare the conversation by each protocol, one after the other, with that of the file."""
    recording = folder / "talk.wav"
    voice, rate_hz = soundfile.read(AUDIO, dtype="float32")
    soundfile.write(recording, np.concatenate([soft_noise(LEAD_S), voice, soft_noise(TAIL_S)]), rate_hz)
    length_s = LEAD_S + len(voice) / rate_hz
    run = Run(folder, preset)
    run.start({"file": str(recording)}, kind="file").wait()
    expected = turns(run.events(), "file")
    held = []
    for name in kinds:
        with ExitStack() as stack:
            server = stack.enter_context(servers(recording, folder)[name])
            if isinstance(server, Rtsp):  # plays when asked
                server.start()
                stack.enter_context(stopping(run.start({name: server.address})))
            else:  # the listener connects while the silence is played
                stack.enter_context(stopping(run.start({name: server.address})))
                time.sleep(2)
                server.start()
            run.await_start([name])
            time.sleep(length_s + 2)
        held.append(compare(expected, turns(run.events(), name), name))
    return all(held)


def servers(recording: Path, folder: Path) -> dict[str, Server]:
    """Return a server of each protocol."""
    return {"rtsp": Rtsp(recording), "http": Icecast(recording, folder), "udp": Udp(recording), "rtp": Rtp(recording)}


def soft_noise(length_s: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return noise of -80 dBFS: a line is never silent."""
    noise = np.random.default_rng(3).normal(0, 1e-4, round(length_s * SAMPLE_RATE_HZ))
    return noise.astype(np.float32)


def measure_outage(folder: Path, preset: str, down_s: float, frozen_s: float) -> bool:
    """Kill and freeze the servers of two streams; a third one goes on."""
    recording = folder / "talk.wav"
    voice, rate_hz = soundfile.read(AUDIO, dtype="float32")
    soundfile.write(recording, np.tile(voice, 6), rate_hz)
    by_name = servers(recording, folder)
    broken, names = [by_name["http"], by_name["rtsp"]], ["http", "rtsp", "udp"]
    run = Run(folder, preset)
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(by_name[name]).start()
        stack.enter_context(stopping(run.start({name: by_name[name].address for name in names})))
        run.await_start(names)
        time.sleep(8)
        for server in broken:
            server.kill()
        time.sleep(down_s)
        for server in broken:
            server.start()
        time.sleep(20)
        for server in broken:
            server.signal(signal.SIGSTOP)
        time.sleep(frozen_s)
        for server in broken:
            server.signal(signal.SIGCONT)
        time.sleep(45)
    held = True
    for name in names:
        states = [event for event in run.events() if isinstance(event, StreamEvent) and event.source == name]
        seen = [event.state for event in states if event.state in ("stalled", "resumed", "gap")]
        lost = [round(event.lost_s, 1) for event in states if event.state == "gap"]
        expected = ["stalled", "resumed"] * 2 if name != "udp" else []
        is_held = [state for state in seen if state != "gap"] == expected and len(lost) == len(expected) // 2
        held &= is_held
        figures = {"states": seen, "gaps_s": lost, "killed_s": down_s, "frozen_s": frozen_s}
        print(json.dumps({"measured": "outage", "by": name, "held": is_held, **figures}), flush=True)
    return held


async def receive(source: NetworkSource, connected: asyncio.Event) -> None:
    """Receive a stream until it is stopped."""
    async with source.blocks() as blocks:
        async for _ in blocks:
            connected.set()


async def decode(address: str, streams: int, seconds: float) -> float:
    """Return the share of all cores that receiving and decoding these streams takes."""
    sources = [
        NetworkSource(settings=SourceSettings(kind="network", id=f"line{at}", target=address, connect_timeout_s=60))
        for at in range(streams)
    ]
    connected = [asyncio.Event() for _ in sources]
    receiving = [asyncio.create_task(receive(*both)) for both in zip(sources, connected, strict=True)]
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        for one in connected:
            await one.wait()
    await asyncio.sleep(SETTLE_S)
    started_s, before_s = time.monotonic(), used_s()
    await asyncio.sleep(seconds)
    share = (used_s() - before_s) / (time.monotonic() - started_s) / (os.cpu_count() or 1)
    for source in sources:
        source.stop()
    await asyncio.gather(*receiving)
    return share


def used_s() -> float:
    """Return the processor time of this process and of its decoders."""
    ticks, total = os.sysconf("SC_CLK_TCK"), time.process_time()
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        if NetworkRequest.program in Path(f"/proc/{pid}/cmdline").read_text():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def measure_decoding(folder: Path, streams: int, seconds: float) -> bool:
    """Measure the processor time of many streams of one radio."""
    with Icecast(Path(AUDIO), folder) as server:
        server.start()
        share = asyncio.run(decode(server.address, streams, seconds))
    held = share <= MAX_DECODING_SHARE
    figures = {"streams": streams, "cores": os.cpu_count(), "share_of_cores": round(share, 3)}
    print(json.dumps({"measured": "decoding", "held": held, **figures}), flush=True)
    return held


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], "turns", "outage", "decoding"], help="default: all")
    parser.add_argument("--preset", default="compact")
    parser.add_argument(
        "--by", nargs="*", default=["rtsp", "http", "udp", "rtp"], help="protocols whose turns to compare"
    )
    parser.add_argument("--down-s", type=float, default=DOWN_S)
    parser.add_argument("--frozen-s", type=float, default=FROZEN_S)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0, help="time over which decoding is measured")
    chosen = parser.parse_args()
    wanted = chosen.what or ["turns", "outage", "decoding"]
    held = []
    for what in wanted:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if what == "turns":
                held.append(measure_turns(folder, chosen.preset, chosen.by))
            elif what == "outage":
                held.append(measure_outage(folder, chosen.preset, chosen.down_s, chosen.frozen_s))
            else:
                held.append(measure_decoding(folder, chosen.streams, chosen.seconds))
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
