"""Microphones: a fake PortAudio for what is rare, PulseAudio's null sink for what is real."""

from __future__ import annotations

import asyncio
import builtins
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from stream.demo import AUDIO
from stream.errors import DeviceLost, PortAudioMissing, SourceNotFound
from stream.settings import SourceSettings
from stream.sources import devices
from stream.sources.microphone import MicrophoneSource
from stream.types import AudioFormat, Block, Interruption
from tests.pulseaudio import SoundServer

PATIENCE_S = 60


class FakePortAudio:
    """As much of sounddevice as the source calls. `opened` is the stream that records now."""

    class PortAudioError(Exception):
        pass

    def __init__(self, names: list[str], *, takes_16k: bool = True) -> None:
        self.names = names
        self.takes_16k = takes_16k
        self.refreshed = 0
        self.opened: Any = None

    def query_devices(self, kind: str | None = None) -> Any:
        rows = [
            {"index": index, "name": name, "max_input_channels": 2, "default_samplerate": 48_000.0}
            for index, name in enumerate(self.names)
        ]
        if kind is None:
            return rows
        if not rows:
            raise self.PortAudioError("no default")
        return rows[-1]

    def check_input_settings(self, **_: Any) -> None:
        if not self.takes_16k:
            raise self.PortAudioError("invalid sample rate")

    def RawInputStream(self, **options: Any) -> Any:  # noqa: N802 - sounddevice's name
        fake = self

        class Stream:
            def start(self) -> None:
                if not fake.names:
                    raise fake.PortAudioError("device unavailable")
                fake.opened = SimpleNamespace(**options)

            def abort(self, *, ignore_errors: bool) -> None:
                pass

            def close(self, *, ignore_errors: bool) -> None:
                pass

        return Stream()

    def _terminate(self) -> None:
        self.refreshed += 1

    def _initialize(self) -> None:
        pass

    def speak(self, samples: np.ndarray, *, overflow: bool = False) -> bool:
        status = SimpleNamespace(input_overflow=overflow)
        self.opened.callback(samples.astype(np.float32).tobytes(), len(samples), None, status)
        return True


def microphone(backend: Any, **options: Any) -> MicrophoneSource:
    clock = options.pop("clock", None)
    extra = {"clock": clock} if clock else {}
    return MicrophoneSource(settings=SourceSettings(kind="microphone", **options), backend=backend, **extra)


def test_what_is_heard_comes_out_in_order() -> None:
    backend = FakePortAudio(["built-in", "USB"])
    sound = np.random.default_rng(2).uniform(-0.5, 0.5, (5_120, 2)).astype(np.float32)

    async def listen() -> list[Any]:
        source, found = microphone(backend), []
        async with source.blocks() as blocks:
            thread = threading.Thread(target=lambda: list(map(backend.speak, np.split(sound, 10))))
            thread.start()
            async for block in blocks:
                found.append(block)
                if isinstance(block, Block) and block.end_frame == len(sound):
                    source.stop()
            thread.join()
        assert source.format.rate_hz == 16_000
        return found

    blocks = asyncio.run(listen())
    assert np.array_equal(np.concatenate([block.samples for block in blocks]), sound)


def test_a_device_that_refuses_16_khz_gives_its_own_rate() -> None:
    backend = FakePortAudio(["raw"], takes_16k=False)

    async def opened() -> int:
        source = microphone(backend)
        async with source.blocks():
            return source.format.rate_hz

    assert asyncio.run(opened()) == 48_000


def test_a_device_that_goes_and_comes_back_leaves_a_gap_of_its_length() -> None:
    backend = FakePortAudio(["USB"])
    now = 100.0
    tone = np.full((512, 2), 0.1)

    async def listen() -> list[Any]:
        nonlocal now
        source, found = microphone(backend, clock=lambda: now), []
        async with source.blocks() as blocks:
            backend.speak(tone)
            async for block in blocks:
                found.append(block)
                if isinstance(block, Interruption) and block.state == "resumed":
                    now += 5.0
                    backend.speak(tone)
                elif len(found) == 1:
                    backend.opened.finished_callback()
                elif isinstance(block, Block):
                    source.stop()
        return found

    first, stalled, resumed, second = asyncio.run(listen())
    assert (stalled.state, stalled.reason) == ("stalled", "the device was taken away")
    assert resumed.state == "resumed"
    assert backend.refreshed == 1
    assert second.start_frame == first.end_frame + 5 * 16_000 - 512


def test_sleep_is_a_gap_of_its_length() -> None:
    """The device gives sound at once on waking: only the clock tells."""
    backend = FakePortAudio(["USB"])
    now = 100.0
    tone = np.full((512, 2), 0.1)

    async def listen() -> list[Any]:
        nonlocal now
        source, found = microphone(backend, clock=lambda: now), []
        async with source.blocks() as blocks:
            backend.speak(tone)
            async for block in blocks:
                found.append(block)
                if len(found) == 1:
                    now += 3_600.0
                    backend.speak(tone)
                elif isinstance(block, Interruption) and block.state == "resumed":
                    backend.speak(tone)
                elif isinstance(block, Block):
                    source.stop()
        return found

    first, stalled, resumed, second = asyncio.run(listen())
    assert "may have been asleep" in stalled.reason
    assert resumed.state == "resumed"
    assert second.start_frame == first.end_frame + 3_600 * 16_000 - 512


def test_sound_the_system_lost_is_a_gap_of_its_length() -> None:
    backend = FakePortAudio(["USB"])
    now = 0.0
    tone = np.full((512, 2), 0.1)

    async def listen() -> list[Any]:
        nonlocal now
        source, found = microphone(backend, clock=lambda: now), []
        async with source.blocks() as blocks:
            backend.speak(tone)
            async for block in blocks:
                found.append(block)
                if len(found) == 1:
                    now += 0.5 + 512 / 16_000
                    backend.speak(tone, overflow=True)
                elif len(found) == 2:
                    now += 512 / 16_000
                    backend.speak(tone)
                else:
                    source.stop()
        return found

    first, second, third = asyncio.run(listen())
    assert second.start_frame == first.end_frame + 8_000
    assert third.start_frame == second.end_frame, "one loss is one gap"


def test_a_loop_that_stood_still_loses_the_oldest_sound_only() -> None:
    backend = FakePortAudio(["USB"])
    second = np.full((16_000, 2), 0.1)

    async def listen() -> list[Any]:
        source, found = microphone(backend), []
        async with source.blocks() as blocks:
            backend.speak(second)
            async for block in blocks:
                found.append(block)
                if len(found) == 1:
                    for _ in range(40):
                        backend.speak(second)
                else:
                    source.stop()
        return found

    first, rest = asyncio.run(listen())
    assert rest.start_frame == 12 * 16_000 > first.end_frame
    assert rest.end_frame == 41 * 16_000


@pytest.mark.parametrize(("silent_s", "speaks", "reason"), [(2.0, False, "nothing for 1 s"), (0.5, True, "zeros")])
def test_a_device_that_gives_nothing_is_lost(silent_s: float, speaks: bool, reason: str) -> None:  # noqa: FBT001
    backend = FakePortAudio(["USB"])
    now = 0.0

    async def listen() -> Interruption:
        nonlocal now
        source = microphone(backend, clock=lambda: now)
        async with source.blocks() as blocks:
            backend.speak(np.full((512, 2), 0.1))
            async for block in blocks:
                if isinstance(block, Interruption):
                    return block
                now += silent_s
                if speaks:
                    backend.speak(np.zeros((512, 2)))
        raise AssertionError

    lost = asyncio.run(listen())
    assert lost.state == "stalled"
    assert reason in lost.reason


@pytest.mark.parametrize(
    ("names", "target", "sentence"),
    [
        (["built-in", "USB one", "USB two"], "usb", "fits several microphones"),
        (["built-in"], "Bluetooth", "there is no microphone 'Bluetooth'; there are: 0 built-in"),
        ([], "", "there is no microphone; plug one in"),
    ],
)
def test_a_wrong_name_lists_what_there_is(names: list[str], target: str, sentence: str) -> None:
    with pytest.raises(SourceNotFound, match=sentence):
        devices.find(FakePortAudio(names), target)


@pytest.mark.parametrize(("target", "index"), [("", 1), ("0", 0), ("USB", 1), ("built", 0)])
def test_a_device_is_found_by_index_or_name(target: str, index: int) -> None:
    assert devices.find(FakePortAudio(["built-in", "USB"]), target).index == index


def test_a_device_that_cannot_be_opened_says_so() -> None:
    backend = FakePortAudio([])
    device = devices.InputDevice(index=0, name="busy", channels=1, rate_hz=16_000, default=True)
    capture: Any = SimpleNamespace(hear=None, finish=None)
    with pytest.raises(DeviceLost, match="busy cannot be opened"):
        devices.open_stream(backend, device, AudioFormat(16_000, 1), capture, frames=512)


def test_without_portaudio_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PortAudioMissing, match="apt install libportaudio2"):
        devices.portaudio()


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
