"""The program that records: a fake PortAudio in this process."""

from __future__ import annotations

import builtins
import io
import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stream.errors import DeviceLost, PortAudioMissing, SourceNotFound
from stream.sources import devices
from stream.sources.recorder import HEADER, CaptureBlock, CaptureRequest, record
from stream.types import AudioFormat


class FakePortAudio:
    """As much of sounddevice as the source calls. `opened` is the stream that records now."""

    class PortAudioError(Exception):
        pass

    def __init__(self, names: list[str], *, takes_16k: bool = True) -> None:
        self.names = names
        self.takes_16k = takes_16k
        self.opened: Any = None
        self.closed = 0
        self.started: Callable[[], None] = lambda: None

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
                fake.started()

            def abort(self, *, ignore_errors: bool) -> None:
                pass

            def close(self, *, ignore_errors: bool) -> None:
                assert ignore_errors
                fake.closed += 1

        return Stream()

    def speak(self, samples: np.ndarray, *, overflow: bool = False) -> bool:
        status = SimpleNamespace(input_overflow=overflow)
        self.opened.callback(samples.astype(np.float32).tobytes(), len(samples), None, status)
        return True


ANY = CaptureRequest("", "mix")


def recorded(
    backend: FakePortAudio, play: Callable[[], object], wish: CaptureRequest = ANY
) -> tuple[dict[str, Any], list[CaptureBlock]]:
    """What the program writes while `play` goes on, and until its owner has enough."""
    out, woken, closing, opened = io.BytesIO(), threading.Event(), threading.Event(), threading.Event()
    backend.started = opened.set
    failed: list[BaseException] = []

    def run() -> None:
        try:
            record(backend, wish, out, woken=woken, closing=closing)
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)
            opened.set()

    thread = threading.Thread(target=run)
    thread.start()
    opened.wait()
    play()
    closing.set()
    woken.set()
    thread.join()
    if failed:
        raise failed[0]
    line, _, rest = out.getvalue().partition(b"\n")
    told, pieces = json.loads(line)["opened"], []
    while rest:
        start, frames, overflows, heard_s = HEADER.unpack_from(rest)
        end = HEADER.size + 4 * frames * told["channels"]
        samples = np.frombuffer(rest[HEADER.size : end], np.float32).reshape(-1, told["channels"])
        pieces.append(CaptureBlock(start, samples, overflows, heard_s))
        rest = rest[end:]
    return told, pieces


def test_what_is_heard_is_written_in_order() -> None:
    backend = FakePortAudio(["built-in", "USB"])
    sound = np.random.default_rng(2).uniform(-0.5, 0.5, (5_120, 2)).astype(np.float32)
    told, pieces = recorded(backend, lambda: [backend.speak(part) for part in np.split(sound, 10)])
    assert told == {"rate_hz": 16_000, "channels": 2}
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), sound)
    assert [piece.start_frame for piece in pieces[1:]] == [piece.end_frame for piece in pieces[:-1]]
    assert [piece.heard_s for piece in pieces] == sorted(piece.heard_s for piece in pieces)
    assert backend.closed == 1


def test_a_device_that_refuses_16_khz_gives_its_own_rate() -> None:
    told, _ = recorded(FakePortAudio(["raw"], takes_16k=False), lambda: None)
    assert told["rate_hz"] == 48_000


def test_a_device_that_comes_back_has_the_format_it_had() -> None:
    told, _ = recorded(
        FakePortAudio(["raw"]),
        lambda: None,
        CaptureRequest.from_json(CaptureRequest("", "mix", AudioFormat(44_100, 1)).to_json()),
    )
    assert told == {"rate_hz": 44_100, "channels": 1}
    with pytest.raises(SourceNotFound, match="raw has 2 channel"):
        recorded(FakePortAudio(["raw"]), lambda: None, CaptureRequest("", "mix", AudioFormat(16_000, 4)))


def test_sound_that_the_system_lost_is_counted() -> None:
    backend = FakePortAudio(["USB"])
    tone = np.full((512, 2), 0.1)
    _, pieces = recorded(backend, lambda: backend.speak(tone, overflow=True))
    assert pieces[-1].overflows == 1


def test_a_reader_that_does_not_read_loses_the_oldest_sound_only() -> None:
    backend = FakePortAudio(["USB"])
    second = np.full((16_000, 2), 0.1)

    class Slow(io.BytesIO):
        """A pipe that is full until the microphone has said all."""

        def flush(self) -> None:
            if len(self.getvalue()) > 1_000:
                spoken.wait()

    spoken = threading.Event()
    out, woken, closing = Slow(), threading.Event(), threading.Event()
    started = threading.Event()
    backend.started = started.set
    thread = threading.Thread(
        target=record, args=(backend, CaptureRequest("", "1"), out), kwargs={"woken": woken, "closing": closing}
    )
    thread.start()
    started.wait()
    backend.speak(second[:, :1])
    while len(out.getvalue()) < 1_000:
        threading.Event().wait(0.001)
    for _ in range(40):
        backend.speak(second[:, :1])
    spoken.set()
    closing.set()
    woken.set()
    thread.join()
    rest = out.getvalue().partition(b"\n")[2]
    first = HEADER.unpack_from(rest)
    second_piece = HEADER.unpack_from(rest[HEADER.size + 4 * first[1] :])
    assert second_piece[0] == 12 * 16_000 > first[0] + first[1]
    assert second_piece[0] + second_piece[1] == 41 * 16_000


def test_a_stream_that_ends_ends_the_recording() -> None:
    backend = FakePortAudio(["USB"])
    out, started = io.BytesIO(), threading.Event()
    backend.started = started.set
    events = {"woken": threading.Event(), "closing": threading.Event()}
    thread = threading.Thread(target=record, args=(backend, CaptureRequest("", "mix"), out), kwargs=events)
    thread.start()
    started.wait()
    backend.opened.finished_callback()
    thread.join()
    assert backend.closed == 1


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
    recording: Any = SimpleNamespace(hear=None, finish=None)
    with pytest.raises(DeviceLost, match="busy cannot be opened"):
        devices.open_stream(backend, device, AudioFormat(16_000, 1), recording, frames=512)


def test_without_portaudio_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PortAudioMissing, match="apt install libportaudio2"):
        devices.portaudio()
