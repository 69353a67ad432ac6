"""Recording processes with real audio devices: null sinks of a private PulseAudio."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from stream.demo.conversation import AUDIO
from stream.errors import SourceNotFound
from stream.settings import SourceSettings
from stream.sources.microphone import MicrophoneSource
from stream.types import Block, Interruption
from tests.support.pulseaudio import SoundServer
from tests.support.small_models import TINY
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TIMEOUT_S = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SoundServer]:
    with SoundServer(tmp_path / "pulse") as running:
        yield running


def start_tonewatch(server: SoundServer, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stream", *arguments, "--quiet"],
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def next_event(process: subprocess.Popen[str], kind: str, **fields: str) -> dict[str, Any]:
    """Return the next event of a type with these fields."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["type"] == kind and all(event[key] == value for key, value in fields.items()):
            return event
    raise AssertionError(f"no {kind} event with {fields}")


def stop_playback(playing: subprocess.Popen[bytes]) -> None:
    playing.terminate()
    playing.wait(TIMEOUT_S)


@pytest.mark.long
def test_a_real_microphone_is_recorded_lost_and_reopened(server: SoundServer, tmp_path: Path) -> None:
    samples, rate = soundfile.read(AUDIO, stop=112_000, dtype="float32")
    soundfile.write(tmp_path / "speech.wav", samples, rate)
    module = server.plug()
    process = start_tonewatch(server, "run", "microphone", *TINY)
    try:
        next_event(process, "stream", state="started")
        playing = server.play(tmp_path / "speech.wav")
        turn = next_event(process, "turn", phase="start")
        assert turn["speaker"] == "S1"
        assert turn["latency_ms"] < 1_000
        server.unplug(module)
        next_event(process, "stream", state="stalled")
        stop_playback(playing)
        server.plug()
        next_event(process, "stream", state="resumed")
        gap = next_event(process, "stream", state="gap")
        assert gap["lost_s"] > 0
        playing = server.play(tmp_path / "speech.wav")
        next_event(process, "turn", phase="start")
        stop_playback(playing)
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 143


@pytest.mark.long
def test_a_microphone_is_reopened_while_another_records(
    server: SoundServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PortAudio lists devices only when it is initialised, which ends every stream of the process."""
    noise = np.random.default_rng(3).uniform(-0.1, 0.1, 48_000 * 90)
    soundfile.write(tmp_path / "noise.wav", noise, 48_000)
    with SoundServer(tmp_path / "other") as other:  # a single server would redirect one microphone to the other
        rc = tmp_path / "other" / ".asoundrc"
        rc.write_text(rc.read_text() + server.asoundrc_entry("left") + other.asoundrc_entry("right"))
        for name, value in other.environment.items():
            monkeypatch.setenv(name, value)
        module, _ = server.plug(), other.plug()
        playing = other.play(tmp_path / "noise.wav")
        try:
            left, right = asyncio.run(asyncio.wait_for(_record_two(server, module), TIMEOUT_S))
        finally:
            stop_playback(playing)
    assert all(isinstance(block, Block) for block in right)
    assert [block.start_frame for block in right[1:]] == [block.end_frame for block in right[:-1]], "without a gap"
    audio = [block for block in left if isinstance(block, Block)]
    assert any(late.start_frame > early.end_frame for early, late in itertools.pairwise(audio))


async def _record_two(server: SoundServer, module: str) -> tuple[list[Any], list[Any]]:
    """Return what `left` and `right` deliver while the server of `left` loses its microphone and gets it back."""
    received: dict[str, list[Any]] = {"left": [], "right": []}

    async def collect(source: MicrophoneSource) -> None:
        async with source.blocks() as blocks:
            async for block in blocks:
                received[source.id].append(block)

    def states() -> list[str]:
        return [block.state for block in received["left"] if isinstance(block, Interruption)]

    sources = [MicrophoneSource(settings=SourceSettings(kind="microphone", id=name, target=name)) for name in received]
    async with asyncio.TaskGroup() as group:
        for source in sources:
            group.create_task(collect(source))
        await wait_until(lambda: bool(received["left"] and received["right"]))
        server.unplug(module)
        await wait_until(lambda: states() == ["stalled"])
        server.plug()
        await wait_until(lambda: isinstance(received["left"][-1], Block) and states() == ["stalled", "resumed"])
        for source in sources:
            source.stop()
    return received["left"], received["right"]


def test_a_recording_process_does_not_outlive_its_owner(server: SoundServer) -> None:
    server.plug()
    owner = (
        "import asyncio, os\n"
        "from stream.sources.capture_process import CaptureProcess\n"
        "from stream.sources.recorder import CaptureRequest\n"
        "async def main():\n"
        "    capture = await CaptureProcess.open(CaptureRequest('', 'mix'), lambda: None)\n"
        "    print(capture._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", owner], env=server.environment, capture_output=True, timeout=TIMEOUT_S, check=False
    )
    recorder = int(done.stdout)

    def has_ended() -> bool:
        return not psutil.pid_exists(recorder) or psutil.Process(recorder).status() == psutil.STATUS_ZOMBIE

    asyncio.run(wait_until(has_ended))


def test_an_unknown_microphone_is_rejected(server: SoundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.plug()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)

    async def open_absent() -> None:
        async with MicrophoneSource(settings=SourceSettings(kind="microphone", target="absent")).blocks():
            pass

    with pytest.raises(SourceNotFound, match="unknown microphone 'absent'; available: "):
        asyncio.run(asyncio.wait_for(open_absent(), TIMEOUT_S))


def test_devices_are_listed_with_the_default_marked(server: SoundServer) -> None:
    server.plug()
    command = [sys.executable, "-m", "stream", "devices"]
    done = subprocess.run(command, env=server.environment, capture_output=True, timeout=TIMEOUT_S, check=True)
    assert sum(line.startswith(b"*") for line in done.stdout.splitlines()) == 1
