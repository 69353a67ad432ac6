"""The program that records one microphone in a process of its own; `capture_process` starts it.

PortAudio reads the list of devices once, when it is initialised, and initialising it again ends every stream of the
process. Therefore each microphone is recorded by a process that lives as long as its device: a device that was plugged
in again is found by a new process, and other microphones are not interrupted.

Standard output carries a line of JSON (the opened format, or the error's name and message), then blocks: a `HEADER`
followed by float32 samples. PortAudio's thread calls `CaptureStream.write`, which copies into a ring buffer and wakes
the main thread and does nothing else (no log, no exception: an exception would silently end the stream). While the
reader of standard output does not read, the ring keeps the last `RING_S`.

The process ends with its device, or with its standard input: the owner has exited or requests the end; recorded audio
is written first. Signals to the whole process group or service are ignored: the owner handles them.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np

from stream.audio.channels import PARTIES
from stream.audio.ring import Ring
from stream.clock import steady_s
from stream.errors import SourceError
from stream.sources import portaudio
from stream.types import AudioFormat, Samples

HEADER = struct.Struct("<QIId")
"""First frame, frames, overflows so far, and the time at which the last frame was recorded, by `steady_s`.

`steady_s` is the same clock in all processes."""

BLOCK_S = 0.032
RING_S = 30.0
EXIT_TIMEOUT_S = 1.0
"""How long the process may take to end before it exits without cleaning up."""

REQUEST_VARIABLE = "TONEWATCH_CAPTURE"
"""Environment variable with the request of a recording process, as JSON."""

FINISHED = 3
"""Exit code of a recording process whose source has come to its end."""

MAX_CHANNELS = {"mix": 2, "split": 8}
"""Channels recorded of a device, by channel layout: virtual devices offer dozens of identical channels."""


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """Which device to record, and how; a device that is opened again gets the `format` it had before."""

    program: ClassVar[str] = "stream.sources.recorder"
    open_timeout_message: ClassVar[str] = "the microphone did not open within 10 s; unplug it and plug it in again"

    target: str
    channels: str
    format: AudioFormat | None = None

    @property
    def open_timeout_s(self) -> float:
        """How long the process may take to open its source: a broken device may block forever."""
        return 10.0

    def to_json(self) -> str:
        """Encode as one command-line argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Decode the output of `to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "format": fields["format"] and AudioFormat(**fields["format"])})


@dataclass(frozen=True, slots=True)
class CaptureBlock:
    """Recorded audio: `samples` (frames, channels) from `start_frame` on.

    `overflows` counts the device's input overflows so far; `recorded_s` is the `steady_s` time of the last frame.
    """

    start_frame: int
    samples: Samples
    overflows: int
    recorded_s: float

    @property
    def end_frame(self) -> int:
        """The frame after the last one."""
        return self.start_frame + len(self.samples)


def needed_channels(channels: str) -> int:
    """Return how many channels of a device a channel layout needs, other than those in `MAX_CHANNELS`."""
    return len(PARTIES[channels]) if channels in PARTIES else max(map(int, channels.split(",")))


class CaptureStream:
    """Connects PortAudio's callbacks to the main thread through a ring buffer."""

    def __init__(self, *, format: AudioFormat, woken: threading.Event) -> None:  # noqa: A002 - the field's own word
        self._ring = Ring(capacity=round(RING_S * format.rate_hz), channels=format.channels)
        self._format = format
        self._woken = woken
        self._overflows = 0
        self._finished = False

    def write(self, data: Any, frames: int, times: Any, status: Any) -> None:  # noqa: ARG002 - PortAudio's signature
        """Copy audio into the ring and wake the main thread; called on PortAudio's thread."""
        if status.input_overflow:
            self._overflows += 1
        self._ring.write(np.frombuffer(data, np.float32).reshape(-1, self._format.channels))
        self._woken.set()

    def finish(self) -> None:
        """Mark the end of the PortAudio stream, requested or not; called on PortAudio's thread."""
        self._finished = True
        self._woken.set()

    def blocks(self, closing: threading.Event) -> Iterator[CaptureBlock]:
        """Yield recorded audio until the stream ends or `closing` is set."""
        ring, end_frame, ended = self._ring, 0, False
        while not ended:
            self._woken.wait()
            self._woken.clear()
            ended = self._finished or closing.is_set()  # read before the ring, so that earlier audio is not lost
            if ring.committed > end_frame:
                # oldest > 0 only after `RING_S` without a read; one second later keeps clear of the callback's writes
                start = max(end_frame, ring.oldest + self._format.rate_hz) if ring.oldest else end_frame
                samples = ring.read(start, ring.committed - start)
                end_frame = start + len(samples)
                yield CaptureBlock(start, samples, self._overflows, steady_s())


def record(
    backend: Any, request: CaptureRequest, out: BinaryIO, *, woken: threading.Event, closing: threading.Event
) -> None:
    """Open the device, then write its format and its audio to `out`.

    Raises `SourceError`, and `OSError` if `out` has no reader.
    """
    device = portaudio.find_input(backend, request.target)
    format_ = request.format or AudioFormat(
        rate_hz=portaudio.supported_rate_hz(backend, device),
        channels=min(device.channels, MAX_CHANNELS.get(request.channels, 0)) or needed_channels(request.channels),
    )
    capture = CaptureStream(format=format_, woken=woken)
    stream = portaudio.open_stream(
        backend,
        device,
        format_,
        on_audio=capture.write,
        on_finished=capture.finish,
        frames=round(BLOCK_S * format_.rate_hz),
    )
    try:
        write_line(out, opened=asdict(format_))
        for block in capture.blocks(closing):
            write_block(out, block)
    finally:
        portaudio.close_stream(stream)


def main() -> None:
    """Record until the device or the owner ends."""
    request = CaptureRequest.from_json(os.environ[REQUEST_VARIABLE])
    run_recorder(
        lambda out, woken, closing: record(portaudio.load_portaudio(), request, out, woken=woken, closing=closing)
    )


def run_recorder(record: Callable[[BinaryIO, threading.Event, threading.Event], None]) -> None:
    """Call `record` with standard output and the events `woken` and `closing`, which the owner's end sets.

    A `SourceError` goes to the owner. Libraries print into nowhere: messages without meaning for users.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    woken, closing = threading.Event(), threading.Event()
    threading.Thread(target=_exit_with_owner, args=(woken, closing), daemon=True).start()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        try:
            record(out, woken, closing)
        except SourceError as error:
            write_line(out, error=type(error).__name__, message=str(error))
    except OSError:  # standard output has no reader any more
        os._exit(0)


def _exit_with_owner(woken: threading.Event, closing: threading.Event) -> None:
    """Wait for the end of standard input, then exit, by force if the main thread hangs in the sound system."""
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    closing.set()
    woken.set()
    time.sleep(EXIT_TIMEOUT_S)
    os._exit(0)


def write_block(out: BinaryIO, block: CaptureBlock) -> None:
    """Write one block. Raises `OSError` if `out` has no reader."""
    out.write(HEADER.pack(block.start_frame, len(block.samples), block.overflows, block.recorded_s))
    out.write(block.samples.tobytes())
    out.flush()


def write_line(out: BinaryIO, **fields: Any) -> None:
    """Write one line of JSON. Raises `OSError` if `out` has no reader."""
    out.write(json.dumps(fields).encode() + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
