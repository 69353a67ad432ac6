"""The program that records one microphone, in a process of its own; `capture` starts it.

PortAudio reads the list of devices once, when it starts, and starting it anew ends every stream of its process. So a
microphone is recorded by a process that lives as long as its device is there: a device that was plugged in again is
found by a fresh one, and no other microphone hears of it.

Standard output carries a line of JSON (`Opened`, or the error's name and sentence), then pieces: a `HEADER` and its
samples. PortAudio's thread calls `CaptureStream.hear`, which copies into a ring and wakes the main thread, nothing else (no
log, no exception: one would silently end the stream). A reader that does not read leaves the sound in the ring, which
keeps the last `RING_S`.

The process ends when its device does, or when its standard input does: then its owner is gone, or wants it to end, and
what was recorded is written first. A signal to the whole group or service is its owner's to act on.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np

from stream.audio.ring import Ring
from stream.clock import steady_s
from stream.errors import SourceError
from stream.sources import devices
from stream.types import AudioFormat, Samples

HEADER = struct.Struct("<QIId")
"""First frame, frames, overflows so far, and when the last frame was there, by `steady_s` (all processes' alike)."""

BLOCK_S = 0.032
RING_S = 30.0
LINGER_S = 1.0
"""How long the end may take before it is forced."""

MOST_CHANNELS = {"mix": 2, "split": 8}
"""Virtual devices offer dozens of channels that say the same; a mix needs no more than a stereo microphone has."""


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """Which device, and how; a device that comes back has the format it had before."""

    target: str
    channels: str
    format: AudioFormat | None = None

    def to_json(self) -> str:
        """As one word of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CaptureRequest:
        """What `to_json` wrote."""
        told = json.loads(text)
        return cls(**{**told, "format": told["format"] and AudioFormat(**told["format"])})


@dataclass(frozen=True, slots=True)
class CaptureBlock:
    """Sound as it came: `samples` (frames, channels) from `start_frame` on, the last of them there at `heard_s`."""

    start_frame: int
    samples: Samples
    overflows: int
    heard_s: float

    @property
    def end_frame(self) -> int:
        """The frame after the last one."""
        return self.start_frame + len(self.samples)


class CaptureStream:
    """One open PortAudio stream, its ring, and what its callback noticed."""

    def __init__(self, *, format: AudioFormat, woken: threading.Event) -> None:  # noqa: A002 - the field's own word
        self._ring = Ring(capacity=round(RING_S * format.rate_hz), channels=format.channels)
        self._format = format
        self._woken = woken
        self._overflows = 0
        self._finished = False

    def hear(self, data: Any, frames: int, times: Any, status: Any) -> None:  # noqa: ARG002 - PortAudio's signature
        """PortAudio's thread: copy and wake."""
        if status.input_overflow:
            self._overflows += 1
        self._ring.write(np.frombuffer(data, np.float32).reshape(-1, self._format.channels))
        self._woken.set()

    def finish(self) -> None:
        """PortAudio's thread: the stream has ended, asked for or not."""
        self._finished = True
        self._woken.set()

    def pieces(self, closing: threading.Event) -> Iterator[CaptureBlock]:
        """What is heard, until the stream ends or `closing` is set."""
        ring, taken, ended = self._ring, 0, False
        while not ended:
            self._woken.wait()
            self._woken.clear()
            ended = self._finished or closing.is_set()  # looked at before the ring: what came first is given
            if ring.committed > taken:
                # later than taken only if nobody read for `RING_S`; a second on, to keep off the callback
                start = max(taken, ring.oldest + self._format.rate_hz) if ring.oldest else taken
                samples = ring.read(start, ring.committed - start)
                taken = start + len(samples)
                yield CaptureBlock(start, samples, self._overflows, steady_s())


def record(
    backend: Any, wish: CaptureRequest, out: BinaryIO, *, woken: threading.Event, closing: threading.Event
) -> None:
    """Open the device, say so, and write what it gives. Raises `SourceError`, and `OSError` when nobody reads."""
    device = devices.find(backend, wish.target)
    format_ = wish.format or AudioFormat(
        rate_hz=devices.rate_of(backend, device),
        channels=min(device.channels, MOST_CHANNELS.get(wish.channels, 0)) or int(wish.channels),
    )
    recording = CaptureStream(format=format_, woken=woken)
    stream = devices.open_stream(backend, device, format_, recording, frames=round(BLOCK_S * format_.rate_hz))
    try:
        _say(out, opened=asdict(format_))
        for piece in recording.pieces(closing):
            header = HEADER.pack(piece.start_frame, len(piece.samples), piece.overflows, piece.heard_s)
            out.write(header)
            out.write(piece.samples.tobytes())
            out.flush()
    finally:
        devices.close_stream(stream)


def main(words: list[str]) -> None:
    """Record until device or owner go."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    woken, closing = threading.Event(), threading.Event()
    threading.Thread(target=_watch, args=(woken, closing), daemon=True).start()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - sound systems print what means nothing to anybody
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        record(devices.portaudio(), CaptureRequest.from_json(words[0]), out, woken=woken, closing=closing)
    except SourceError as error:
        _say(out, error=type(error).__name__, message=str(error))
    except OSError:  # nobody reads any more
        os._exit(0)


def _watch(woken: threading.Event, closing: threading.Event) -> None:
    """Wait for the owner's end; a main thread that hangs in the sound system does not outlive it for long."""
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    closing.set()
    woken.set()
    time.sleep(LINGER_S)
    os._exit(0)


def _say(out: BinaryIO, **told: Any) -> None:
    out.write(json.dumps(told).encode() + b"\n")
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
