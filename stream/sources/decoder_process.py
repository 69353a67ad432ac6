"""A decoder in a process of its own, and the program that runs there.

    python -m stream.sources.decoder_process FILE|-

Decoders in C print messages on standard error, and a damaged file may crash them; both stay in the process. Standard
output carries a line of JSON (the format, or an error), then pieces: a `HEADER` followed by float32 samples. A header
without samples is the end; its first field is then 1 if the recording is truncated. With `-` the recording is read from
standard input, while it is still being written if FFmpeg decodes it.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from stream.errors import AudioFormatError
from stream.sources.containers import parse
from stream.sources.decoding import Decoder, NoAudio, Piece, SoundfileDecoder
from stream.sources.ffmpeg import FfmpegDecoder, is_available
from stream.sources.mpeg import is_mpeg, parse_mpeg
from stream.types import AudioFormat

HEADER = struct.Struct("<QI")
"""Frames lost before the samples, and frames."""

PROBE_BYTES = 16_384
BLOCK_S = 0.25


class ProcessDecoder:
    """Decodes a file, or what is written to `feed`, in a process. Raises `AudioFormatError`."""

    def __init__(self, path: str, *, name: str) -> None:
        self._name = name
        self.truncated = False
        self._process = subprocess.Popen(  # noqa: S603 - the arguments are our own
            [sys.executable, "-P", "-m", "stream.sources.decoder_process", path],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE if path == "-" else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - requested above
        self._out = self._process.stdout
        self.feed = self._process.stdin
        self._format: AudioFormat | None = None

    @property
    def format(self) -> AudioFormat:
        """Sample rate and channel count; waits until the process has opened the recording."""
        if self._format is None:
            line = self._out.readline()
            fields: dict[str, Any] = json.loads(line) if line else {"error": self._crash()}
            if "error" in fields:
                self.close()
                raise AudioFormatError(fields["error"].replace("{name}", repr(self._name)))
            self._format = AudioFormat(**fields)
        return self._format

    def read(self, frames: int) -> Piece | None:  # noqa: ARG002 - the process chooses
        """Return the next frames, None at the end."""
        channels = self.format.channels
        header = self._out.read(HEADER.size)
        if len(header) < HEADER.size:
            raise AudioFormatError(self._crash().replace("{name}", repr(self._name)))
        lost, count = HEADER.unpack(header)
        if not count:
            self.truncated = bool(lost)
            return None
        data = self._out.read(4 * count * channels)
        samples = np.frombuffer(data[: len(data) // (4 * channels) * 4 * channels], np.float32)
        return Piece(samples.reshape(-1, channels), lost)

    def stop(self) -> None:
        """End the process; a read that waits for it ends."""
        self._process.kill()

    def close(self) -> None:
        """End the process and release it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._out, self.feed):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _crash(self) -> str:
        return f"the decoder of {{name}} ended with code {self._process.wait()}; convert the recording to WAV or FLAC"


def open_decoder(file: BinaryIO, *, name: str) -> Decoder:
    """Open a recording, seekable or not, with the decoder that fits. Raises `AudioFormatError`."""
    if not file.seekable():
        if is_available():
            return FfmpegDecoder(file, name=name)
        file = io.BytesIO(file.read())
    head = file.read(PROBE_BYTES)
    file.seek(0)
    for parser in (parse_mpeg, parse) if is_mpeg(head) else (parse,):  # FLAC and AAC have tags of MPEG audio as well
        try:
            return SoundfileDecoder(file, name=name, parser=parser)
        except (NoAudio, soundfile.LibsndfileError):
            file.seek(0)
    return FfmpegDecoder(file, name=name)


def main(arguments: list[str]) -> None:
    """Decode a file or standard input to standard output."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print
    try:
        file = sys.stdin.buffer if arguments[0] == "-" else Path(arguments[0]).open("rb")  # noqa: SIM115
        decoder = open_decoder(file, name="{name}")
        frames = round(BLOCK_S * decoder.format.rate_hz)
        out.write(json.dumps({"rate_hz": decoder.format.rate_hz, "channels": decoder.format.channels}).encode() + b"\n")
    except (AudioFormatError, OSError) as error:
        with suppress(OSError):
            out.write(json.dumps({"error": str(error).replace("'{name}'", "{name}")}).encode() + b"\n")
            out.flush()
        os._exit(0)
    try:
        while (piece := decoder.read(frames)) is not None:
            out.write(HEADER.pack(piece.lost_frames, len(piece.samples)))
            out.write(np.ascontiguousarray(piece.samples, np.float32).tobytes())
            out.flush()
        out.write(HEADER.pack(decoder.truncated, 0))
        out.flush()
    except BrokenPipeError:  # the reader has stopped
        pass
    except (AudioFormatError, OSError):
        os._exit(1)  # the reader tells that the decoder failed
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
