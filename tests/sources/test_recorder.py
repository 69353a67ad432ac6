"""The recording program, with a fake PortAudio in this process."""

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
from stream.sources import portaudio
from stream.sources.recorder import HEADER, CaptureBlock, CaptureRequest, record
from stream.types import AudioFormat


class FakePortAudio:
    """The part of sounddevice that the recorder uses. `opened` holds the options of the newest stream."""

    class PortAudioError(Exception):
        pass

    def __init__(self, names: list[str], *, supports_16k: bool = True) -> None:
        self.names = names
        self.supports_16k = supports_16k
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
        if not self.supports_16k:
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

    def deliver(self, samples: np.ndarray, *, overflow: bool = False) -> bool:
        status = SimpleNamespace(input_overflow=overflow)
        self.opened.callback(samples.astype(np.float32).tobytes(), len(samples), None, status)
        return True


DEFAULT_DEVICE = CaptureRequest("", "mix")


def recorded(
    backend: FakePortAudio, play: Callable[[], object], request: CaptureRequest = DEFAULT_DEVICE
) -> tuple[dict[str, Any], list[CaptureBlock]]:
    """Return the format and the blocks that the program writes while `play` runs."""
    out, woken, closing, opened = io.BytesIO(), threading.Event(), threading.Event(), threading.Event()
    backend.started = opened.set
    failed: list[BaseException] = []

    def run() -> None:
        try:
            record(backend, request, out, woken=woken, closing=closing)
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
    opened_format, blocks = json.loads(line)["opened"], []
    while rest:
        start, frames, overflows, recorded_s = HEADER.unpack_from(rest)
        end = HEADER.size + 4 * frames * opened_format["channels"]
        samples = np.frombuffer(rest[HEADER.size : end], np.float32).reshape(-1, opened_format["channels"])
        blocks.append(CaptureBlock(start, samples, overflows, recorded_s))
        rest = rest[end:]
    return opened_format, blocks


def test_recorded_audio_is_written_in_order() -> None:
    backend = FakePortAudio(["built-in", "USB"])
    samples = np.random.default_rng(2).uniform(-0.5, 0.5, (5_120, 2)).astype(np.float32)
    opened_format, blocks = recorded(backend, lambda: [backend.deliver(part) for part in np.split(samples, 10)])
    assert opened_format == {"rate_hz": 16_000, "channels": 2}
    assert np.array_equal(np.concatenate([block.samples for block in blocks]), samples)
    assert [block.start_frame for block in blocks[1:]] == [block.end_frame for block in blocks[:-1]]
    assert [block.recorded_s for block in blocks] == sorted(block.recorded_s for block in blocks)
    assert backend.closed == 1


def test_a_device_without_16_khz_is_recorded_at_its_own_rate() -> None:
    opened_format, _ = recorded(FakePortAudio(["raw"], supports_16k=False), lambda: None)
    assert opened_format["rate_hz"] == 48_000


def test_a_reopened_device_keeps_its_format() -> None:
    opened_format, _ = recorded(
        FakePortAudio(["raw"]),
        lambda: None,
        CaptureRequest.from_json(CaptureRequest("", "mix", AudioFormat(44_100, 1)).to_json()),
    )
    assert opened_format == {"rate_hz": 44_100, "channels": 1}
    with pytest.raises(SourceNotFound, match="'raw' has 2 channel"):
        recorded(FakePortAudio(["raw"]), lambda: None, CaptureRequest("", "mix", AudioFormat(16_000, 4)))


def test_input_overflows_are_counted() -> None:
    backend = FakePortAudio(["USB"])
    tone = np.full((512, 2), 0.1)
    _, blocks = recorded(backend, lambda: backend.deliver(tone, overflow=True))
    assert blocks[-1].overflows == 1


def test_a_reader_that_does_not_read_loses_only_the_oldest_audio() -> None:
    backend = FakePortAudio(["USB"])
    second = np.full((16_000, 2), 0.1)

    class Slow(io.BytesIO):
        """A pipe that is full until the device has delivered all audio."""

        def flush(self) -> None:
            if len(self.getvalue()) > 1_000:
                delivered.wait()

    delivered = threading.Event()
    out, woken, closing = Slow(), threading.Event(), threading.Event()
    started = threading.Event()
    backend.started = started.set
    thread = threading.Thread(
        target=record, args=(backend, CaptureRequest("", "1"), out), kwargs={"woken": woken, "closing": closing}
    )
    thread.start()
    started.wait()
    backend.deliver(second[:, :1])
    while len(out.getvalue()) < 1_000:
        threading.Event().wait(0.001)
    for _ in range(40):
        backend.deliver(second[:, :1])
    delivered.set()
    closing.set()
    woken.set()
    thread.join()
    rest = out.getvalue().partition(b"\n")[2]
    first = HEADER.unpack_from(rest)
    second_block = HEADER.unpack_from(rest[HEADER.size + 4 * first[1] :])
    assert second_block[0] == 12 * 16_000 > first[0] + first[1]
    assert second_block[0] + second_block[1] == 41 * 16_000


def test_the_end_of_the_stream_ends_the_recording() -> None:
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
    ("names", "target", "fragment"),
    [
        (["built-in", "USB one", "USB two"], "usb", "matches several microphones"),
        (["built-in"], "Bluetooth", "unknown microphone 'Bluetooth'; available: 0 built-in"),
        ([], "", "no microphone found; connect one"),
    ],
)
def test_an_unknown_or_ambiguous_name_lists_devices(names: list[str], target: str, fragment: str) -> None:
    with pytest.raises(SourceNotFound, match=fragment):
        portaudio.find_input(FakePortAudio(names), target)


@pytest.mark.parametrize(("target", "index"), [("", 1), ("0", 0), ("USB", 1), ("built", 0)])
def test_a_device_is_found_by_index_or_name(target: str, index: int) -> None:
    assert portaudio.find_input(FakePortAudio(["built-in", "USB"]), target).index == index


def test_a_device_that_cannot_be_opened_is_reported() -> None:
    backend = FakePortAudio([])
    device = portaudio.InputDevice(index=0, name="busy", channels=1, rate_hz=16_000, default=True)
    with pytest.raises(DeviceLost, match="cannot open 'busy'"):
        portaudio.open_stream(
            backend,
            device,
            AudioFormat(16_000, 1),
            on_audio=lambda *_: None,
            on_finished=lambda: None,
            frames=512,
        )


def test_a_missing_portaudio_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def import_without_sounddevice(name: str, *rest: Any, **options: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", import_without_sounddevice)
    with pytest.raises(PortAudioMissing, match="apt install libportaudio2"):
        portaudio.load_portaudio()
