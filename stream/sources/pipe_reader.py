"""The reading side of a pipe: recognises what it carries, and decodes it. It runs on a thread, and only waits."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from stream.audio.pcm import RAW_SAMPLE_BYTES, decode
from stream.errors import AudioFormatError
from stream.settings import SourceSettings
from stream.sources.decoder_process import ProcessDecoder
from stream.sources.decoding import require_rate
from stream.sources.sniffing import is_container, is_undecided, wav_format
from stream.types import AudioFormat, Samples

MAX_READ_S = 1.0
"""Maximum audio per read; smaller chunks of a live writer are passed on immediately."""

NAME = "standard input"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PipePiece:
    """Samples (frames, channels) as they arrived; the reader waited for them for `waited_s`."""

    samples: Samples = field(repr=False)
    arrived_s: float
    waited_s: float
    lost_frames: int = 0


class PipeReader:
    """Reads one pipe on its thread."""

    def __init__(self, stdin: BinaryIO, *, settings: SourceSettings, clock: Callable[[], float]) -> None:
        # unbuffered: a buffered reader holds a lock while it waits, which would break the exit
        unbuffered = getattr(stdin, "raw", stdin)
        self._read: Callable[[int], bytes] = getattr(unbuffered, "read1", unbuffered.read)
        self._settings, self._clock = settings, clock
        self._waited_s = 0.0
        self._is_stopped = False
        self._decoder: ProcessDecoder | None = None
        self.format = AudioFormat(rate_hz=settings.rate_hz, channels=settings.pcm_channels)
        self.has_header = False

    def stop(self) -> None:
        """End a decoder; a read that waits for the writer goes on waiting."""
        self._is_stopped = True
        if self._decoder is not None:
            self._decoder.stop()

    def run(self, deliver: Callable[[PipePiece], bool], opened: Callable[[], None]) -> None:
        """Read to the end. `deliver` takes a piece and returns whether more is wanted. Raises `AudioFormatError`."""
        head, settings = b"", self._settings
        while is_undecided(head) and (chunk := self._chunk(4_096)):
            head += chunk
        if wav := wav_format(head):
            require_rate(wav.rate_hz, NAME)
            self.format, self.has_header = AudioFormat(wav.rate_hz, wav.channels), True
            opened()
            self._read_pcm(head[wav.start :], wav.pcm_format, wav.channels, deliver, limit=wav.size)
        elif is_container(head):
            self._decoder = decoder = ProcessDecoder("-", name=NAME)
            threading.Thread(target=self._feed, args=(decoder, head), name="tonewatch-pipe-feed", daemon=True).start()
            self.format, self.has_header = decoder.format, True
            opened()
            self._read_decoded(decoder, deliver)
        else:
            opened()
            self._read_pcm(head, settings.pcm_format, settings.pcm_channels, deliver)

    def _chunk(self, max_bytes: int) -> bytes:
        """Read once, and note for how long that took."""
        start_s = self._clock()
        chunk = self._read(max_bytes)
        self._waited_s = self._clock() - start_s
        return chunk

    def _read_pcm(
        self,
        data: bytes,
        pcm_format: str,
        channels: int,
        deliver: Callable[[PipePiece], bool],
        limit: int | None = None,
    ) -> None:
        """Deliver raw samples that begin with `data`, `limit` bytes of them at most."""
        frame_bytes = RAW_SAMPLE_BYTES[pcm_format] * channels
        max_bytes = round(MAX_READ_S * self.format.rate_hz) * frame_bytes
        left, any_frame = limit if limit is not None else sys.maxsize, False
        chunk = data
        data = b""
        while chunk or not any_frame:
            data += chunk[:left]
            left -= min(left, len(chunk))
            whole = len(data) - len(data) % frame_bytes
            if whole:
                any_frame = True
                samples = decode(data[:whole], pcm_format=pcm_format, channels=channels)
                if not deliver(PipePiece(samples, self._clock(), self._waited_s)):
                    return
                data = data[whole:]
            chunk = self._chunk(max_bytes)
            if not chunk:
                break
        if data:
            log.warning("%s ended within a frame; %d byte(s) dropped", NAME, len(data))
        if not any_frame and not data:
            raise AudioFormatError(f"no audio on {NAME}; check the writing program")
        if not any_frame:
            raise AudioFormatError(
                f"less than a frame ({frame_bytes} bytes) on {NAME}; check --pcm-format, --pcm-channels"
            )

    def _read_decoded(self, decoder: ProcessDecoder, deliver: Callable[[PipePiece], bool]) -> None:
        """Deliver what the decoder makes of the pipe."""
        clock = self._clock
        try:
            while True:
                start_s = clock()
                if (piece := decoder.read(0)) is None:
                    break
                if not deliver(PipePiece(piece.samples, clock(), clock() - start_s, piece.lost_frames)):
                    return
            if decoder.truncated:
                log.warning("%s is truncated; what it contains was processed", NAME)
        except AudioFormatError:
            if not self._is_stopped:
                raise
        finally:
            decoder.close()

    def _feed(self, decoder: ProcessDecoder, head: bytes) -> None:
        """Pass the pipe on to the decoder; runs on a thread of its own."""
        feed = decoder.feed
        if feed is None:
            return
        with suppress(OSError, ValueError):  # the decoder has ended
            feed.write(head)
            feed.flush()
            while chunk := self._read(1 << 16):
                feed.write(chunk)
                feed.flush()
        with suppress(OSError, ValueError):
            feed.close()
