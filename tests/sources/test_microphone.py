"""Microphones: a fake capture for what is rare, PulseAudio's null sinks for what is real."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from stream.clock import steady_s
from stream.demo.conversation import AUDIO
from stream.settings import SourceSettings
from stream.sources.microphone import MicrophoneSource
from stream.sources.recorder import CaptureBlock, CaptureRequest
from stream.types import AudioFormat, Block, Interruption
from tests.support.pulseaudio import SoundServer

PATIENCE_S = 60


class FakeMicrophone:
    """Stands in for `Capture.open` and for the captures it gives; `opened` is the one that records now."""

    def __init__(self) -> None:
        self.wishes: list[CaptureRequest] = []
        self.opened: Any = None

    async def open(self, wish: CaptureRequest, wake: Callable[[], None]) -> Any:
        self.wishes.append(wish)
        self.opened = FakeCapture(wake)
        return self.opened


class FakeCapture:
    format = AudioFormat(16_000, 2)

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._pieces: list[CaptureBlock] = []
        self._frames = self.overflows = 0
        self.newest: CaptureBlock | None = None
        self.finished = self.closed = False

    @property
    def waiting(self) -> bool:
        return bool(self._pieces)

    def take(self) -> CaptureBlock:
        return self._pieces.pop(0)

    def finish(self) -> None:
        self.finished = True
        self._wake()

    async def why(self) -> str:
        return "the device was taken away"

    async def close(self) -> None:
        self.closed = True

    def speak(self, samples: np.ndarray, *, heard_s: float, overflow: bool = False, skip: int = 0) -> None:
        self.overflows += overflow
        self.newest = CaptureBlock(self._frames + skip, samples.astype(np.float32), self.overflows, heard_s)
        self._frames = self.newest.end_frame
        self._pieces.append(self.newest)
        self._wake()


def microphone(fake: FakeMicrophone, clock: Callable[[], float] = steady_s) -> MicrophoneSource:
    return MicrophoneSource(settings=SourceSettings(kind="microphone"), open_=fake.open, clock=clock)


def test_what_is_heard_comes_out_in_order() -> None:
    fake = FakeMicrophone()
    sound = np.random.default_rng(2).uniform(-0.5, 0.5, (5_120, 2)).astype(np.float32)

    async def listen() -> list[Any]:
        source, found = microphone(fake), []
        async with source.blocks() as blocks:
            for part in np.split(sound, 10):
                fake.opened.speak(part, heard_s=steady_s())
            source.stop()
            found += [block async for block in blocks]
        return found

    blocks = asyncio.run(listen())
    assert np.array_equal(np.concatenate([block.samples for block in blocks]), sound)
    assert all(0 <= time.monotonic() - block.captured_s < PATIENCE_S for block in blocks)
    assert fake.opened.closed


def test_a_device_that_goes_and_comes_back_leaves_a_gap_of_its_length() -> None:
    fake = FakeMicrophone()
    now = 100.0
    tone = np.full((512, 2), 0.1)

    async def listen() -> list[Any]:
        nonlocal now
        source, found = microphone(fake, lambda: now), []
        async with source.blocks() as blocks:
            fake.opened.speak(tone, heard_s=now)
            async for block in blocks:
                found.append(block)
                if isinstance(block, Interruption) and block.state == "resumed":
                    now += 5.0
                    fake.opened.speak(tone, heard_s=now)
                elif len(found) == 1:
                    fake.opened.finish()
                elif isinstance(block, Block):
                    source.stop()
        return found

    first, stalled, resumed, second = asyncio.run(listen())
    assert (stalled.state, stalled.reason) == ("stalled", "the device was taken away")
    assert resumed.state == "resumed"
    assert [wish.format for wish in fake.wishes] == [None, FakeCapture.format]
    assert second.start_frame == first.end_frame + 5 * 16_000 - 512


def test_sleep_is_a_gap_of_its_length() -> None:
    """The device gives sound at once on waking: only the clock tells."""
    fake = FakeMicrophone()
    now = 100.0
    tone = np.full((512, 2), 0.1)

    async def listen() -> list[Any]:
        nonlocal now
        source, found = microphone(fake, lambda: now), []
        async with source.blocks() as blocks:
            fake.opened.speak(tone, heard_s=now)
            async for block in blocks:
                found.append(block)
                if len(found) == 1:
                    now += 3_600.0
                    fake.opened.speak(tone, heard_s=now)
                elif isinstance(block, Interruption) and block.state == "resumed":
                    fake.opened.speak(tone, heard_s=now)
                elif isinstance(block, Block):
                    source.stop()
        return found

    first, stalled, resumed, second = asyncio.run(listen())
    assert "may have been asleep" in stalled.reason
    assert resumed.state == "resumed"
    assert second.start_frame == first.end_frame + 3_600 * 16_000 - 512


def test_sound_the_system_lost_is_a_gap_of_its_length() -> None:
    fake = FakeMicrophone()
    tone = np.full((512, 2), 0.1)

    async def listen() -> list[Any]:
        source, found = microphone(fake, lambda: 1.0), []
        async with source.blocks() as blocks:
            fake.opened.speak(tone, heard_s=0.0)
            fake.opened.speak(tone, heard_s=0.5 + 512 / 16_000, overflow=True)
            fake.opened.speak(tone, heard_s=0.5 + 1_024 / 16_000)
            source.stop()
            found += [block async for block in blocks]
        return found

    first, second, third = asyncio.run(listen())
    assert second.start_frame == first.end_frame + 8_000
    assert third.start_frame == second.end_frame, "one loss is one gap"


def test_a_loop_that_stood_still_takes_no_device_for_lost() -> None:
    """What waited in the pipe is old, and more is on its way: the process had no room to write."""
    fake = FakeMicrophone()
    now = 0.0
    tone = np.full((512, 2), 0.1)

    async def listen() -> list[Any]:
        nonlocal now
        source, found = microphone(fake, lambda: now), []
        async with source.blocks() as blocks:
            for number in range(4):
                fake.opened.speak(tone, heard_s=number * 0.032)
            async for block in blocks:
                found.append(block)
                now = 8.0
                if len(found) == 4:
                    rest = np.full((16_000 * 8 - 2_048, 2), 0.1)
                    asyncio.get_running_loop().call_soon(partial(fake.opened.speak, rest, heard_s=now))
                if len(found) == 5:
                    source.stop()
        return found

    blocks = asyncio.run(listen())
    assert [type(block) for block in blocks] == [Block] * 5
    assert [block.start_frame for block in blocks[1:]] == [block.end_frame for block in blocks[:-1]]


def test_sound_that_was_read_too_late_is_a_gap() -> None:
    fake = FakeMicrophone()
    tone = np.full((16_000, 2), 0.1)

    async def listen() -> list[Any]:
        source, found = microphone(fake, lambda: 1.0), []
        async with source.blocks() as blocks:
            fake.opened.speak(tone, heard_s=1.0)
            fake.opened.speak(tone, heard_s=13.0, skip=11 * 16_000)
            source.stop()
            found += [block async for block in blocks]
        return found

    first, second = asyncio.run(listen())
    assert second.start_frame == first.end_frame + 11 * 16_000


@pytest.mark.parametrize(("silent_s", "speaks", "reason"), [(2.0, False, "nothing for 1 s"), (0.5, True, "zeros")])
def test_a_device_that_gives_nothing_is_lost(silent_s: float, speaks: bool, reason: str) -> None:  # noqa: FBT001
    fake = FakeMicrophone()
    now = 0.0

    async def listen() -> Interruption:
        nonlocal now
        source = microphone(fake, lambda: now)
        async with source.blocks() as blocks:
            fake.opened.speak(np.full((512, 2), 0.1), heard_s=now)
            async for block in blocks:
                if isinstance(block, Interruption):
                    return block
                now += silent_s
                if speaks:
                    fake.opened.speak(np.zeros((512, 2)), heard_s=now)
        raise AssertionError

    lost = asyncio.run(listen())
    assert lost.state == "stalled"
    assert reason in lost.reason


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SoundServer]:
    with SoundServer(tmp_path / "pulse") as running:
        yield running


def follow(server: SoundServer, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stream", *words, "--quiet"],
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def until(process: subprocess.Popen[str], kind: str, **wanted: str) -> dict[str, Any]:
    """The next event of a kind with these values."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["type"] == kind and all(event[key] == value for key, value in wanted.items()):
            return event
    raise AssertionError(f"no {kind} {wanted} was told")


def test_a_real_microphone_is_heard_lost_and_found_again(server: SoundServer, tmp_path: Path) -> None:
    samples, rate = soundfile.read(AUDIO, stop=112_000, dtype="float32")
    soundfile.write(tmp_path / "talk.wav", samples, rate)
    module = server.plug()
    process = follow(server, "run", "microphone")
    try:
        until(process, "stream", state="started")
        playing = server.play(tmp_path / "talk.wav")
        turn = until(process, "turn", phase="start")
        assert turn["speaker"] == "S1"
        assert turn["latency_ms"] < 1_000
        server.unplug(module)
        until(process, "stream", state="stalled")
        playing.wait(PATIENCE_S)
        server.plug()
        until(process, "stream", state="resumed")
        gap = until(process, "stream", state="gap")
        assert gap["lost_s"] > 0
        playing = server.play(tmp_path / "talk.wav")
        until(process, "turn", phase="start")
        playing.wait(PATIENCE_S)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 143


def test_a_microphone_that_comes_back_is_found_while_another_goes_on(
    server: SoundServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PortAudio reads its list of devices at its start only, and a start ends every stream of its process."""
    noise = np.random.default_rng(3).uniform(-0.1, 0.1, 48_000 * 90)
    soundfile.write(tmp_path / "noise.wav", noise, 48_000)
    with SoundServer(tmp_path / "other") as other:  # one server would let a microphone take over for the other
        rc = tmp_path / "other" / ".asoundrc"
        rc.write_text(rc.read_text() + server.known_as("left") + other.known_as("right"))
        for name, value in other.environment.items():
            monkeypatch.setenv(name, value)
        module, _ = server.plug(), other.plug()
        playing = other.play(tmp_path / "noise.wav")
        try:
            left, right = asyncio.run(asyncio.wait_for(_listen_to_two(server, module), PATIENCE_S))
        finally:
            playing.terminate()
            playing.wait(PATIENCE_S)
    assert all(isinstance(block, Block) for block in right)
    assert [block.start_frame for block in right[1:]] == [block.end_frame for block in right[:-1]], "without a gap"
    sound = [block for block in left if isinstance(block, Block)]
    assert any(late.start_frame > early.end_frame for early, late in itertools.pairwise(sound))


async def _listen_to_two(server: SoundServer, module: str) -> tuple[list[Any], list[Any]]:
    """What `left` and `right` give while the server of `left` loses its microphone and gets it back."""
    heard: dict[str, list[Any]] = {"left": [], "right": []}
    changed = asyncio.Event()

    async def follow_one(source: MicrophoneSource) -> None:
        async with source.blocks() as blocks:
            async for block in blocks:
                heard[source.id].append(block)
                changed.set()

    async def until_heard(condition: Callable[[], bool]) -> None:
        while not condition():
            changed.clear()
            await changed.wait()

    def states() -> list[str]:
        return [block.state for block in heard["left"] if isinstance(block, Interruption)]

    sources = [MicrophoneSource(settings=SourceSettings(kind="microphone", id=name, target=name)) for name in heard]
    async with asyncio.TaskGroup() as group:
        for source in sources:
            group.create_task(follow_one(source))
        await until_heard(lambda: bool(heard["left"] and heard["right"]))
        server.unplug(module)
        await until_heard(lambda: states() == ["stalled"])
        server.plug()
        await until_heard(lambda: isinstance(heard["left"][-1], Block) and states() == ["stalled", "resumed"])
        for source in sources:
            source.stop()
    return heard["left"], heard["right"]


def test_a_recording_process_does_not_outlive_its_owner(server: SoundServer) -> None:
    server.plug()
    owner = (
        "import asyncio, os\n"
        "from stream.sources.microphone_process import Capture\n"
        "from stream.sources.recorder import Wish\n"
        "async def main():\n"
        "    capture = await Capture.open(Wish('', 'mix'), lambda: None)\n"
        "    print(capture._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", owner], env=server.environment, capture_output=True, timeout=PATIENCE_S, check=False
    )
    recorder = int(done.stdout)
    deadline = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(recorder) and psutil.Process(recorder).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it goes on without its owner"
        time.sleep(0.02)  # waiting for another process's end: there is nothing to be woken by


def test_an_unknown_microphone_is_refused(server: SoundServer) -> None:
    server.plug()
    words = [sys.executable, "-m", "stream", "run", "microphone:nobody", "--quiet"]
    done = subprocess.run(words, env=server.environment, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert b"tonewatch: there is no microphone 'nobody'; there are: " in done.stderr


def test_devices_are_listed_with_the_default_marked(server: SoundServer) -> None:
    server.plug()
    words = [sys.executable, "-m", "stream", "devices"]
    done = subprocess.run(words, env=server.environment, capture_output=True, timeout=PATIENCE_S, check=True)
    assert sum(line.startswith(b"*") for line in done.stdout.splitlines()) == 1
