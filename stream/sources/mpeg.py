"""Frames of MPEG audio (MP3): a file is walked over frame by frame, so that a decoder gets whole frames only.

Tags between frames are left out. A new run begins after damage, and with each part of a file that was joined from
several: a part has tags before it, or begins with an information frame (Xing, Info, VBRI), or has another format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from stream.sources.containers import ByteReader, Container, Run

BITRATES_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES_HZ = (44_100, 48_000, 32_000)
MIN_FIRST_FRAMES = 3
"""Frames in a row from which bytes without a tag count as MPEG audio."""


@dataclass(frozen=True, slots=True)
class MpegFrame:
    """One frame, by its header."""

    length: int
    samples: int
    rate_hz: int
    kind: tuple[int, int, int]
    """Version, layer and rate: equal throughout a part."""


def read_frame(header: bytes) -> MpegFrame | None:
    """Return the frame that begins with these four bytes, or None."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return None
    version_code, layer_code = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate_code, rate_code, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version_code == 1 or not layer_code or bitrate_code in (0, 15) or rate_code == 3:  # noqa: PLR2004
        return None
    layer, divisor = 4 - layer_code, {3: 1, 2: 2, 0: 4}[version_code]
    generation = 1 if divisor == 1 else 2
    bitrate = 1_000 * BITRATES_KBPS[(generation, layer if generation == 1 or layer == 1 else 2)][bitrate_code - 1]
    rate_hz = RATES_HZ[rate_code] // divisor
    samples = 384 if layer == 1 else 576 if layer == 3 and generation == 2 else 1_152  # noqa: PLR2004
    unit = 4 if layer == 1 else 1
    length = (samples // 8 // unit * bitrate // rate_hz + padding) * unit
    return MpegFrame(length, samples, rate_hz, (version_code, layer, rate_hz))


def is_mpeg(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is MPEG audio: it has a tag or frames in a row."""
    if head.startswith(b"ID3"):
        return True
    place = 0
    for _ in range(MIN_FIRST_FRAMES):
        frame = read_frame(head[place : place + 4])
        if frame is None:
            return False
        place += frame.length
    return True


def parse_mpeg(reader: ByteReader) -> Container:
    """Return the runs of whole frames in a file, empty if there are none."""
    walker = _Walker(reader)
    walker.walk()
    return walker.found


def count_frame(header: bytes, frames: int) -> bytes:
    """Return an information frame for `frames` frames like the one with this header: without it a decoder guesses."""
    coded = bytes((0xFF, header[1] | 1, header[2] & 0x0C | 0x80, header[3]))
    frame = read_frame(coded)
    if frame is None or frame.kind[1] != 3:  # noqa: PLR2004 - only layer 3 has such frames
        return b""
    is_mono, is_first = header[3] >> 6 == 3, frame.kind[0] == 3  # noqa: PLR2004
    side_bytes = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    return (coded + bytes(side_bytes) + b"Info" + struct.pack(">II", 1, frames)).ljust(frame.length, b"\0")


class _Walker:
    """Walks over a file."""

    def __init__(self, reader: ByteReader) -> None:
        self.found = Container()
        self._reader = reader
        self._run_start = self._run_frames = 0
        self._lost_frames = 0  # before the run
        self._kind: tuple[int, int, int] | None = None
        self._expected = 0  # frames that the part's information frame announces
        self._part_frames = 0
        self._link = 0
        self._begins_part = False  # the run has an information frame of its own

    def walk(self) -> None:
        """Collect the runs."""
        place, reader = 0, self._reader
        while place < reader.size:
            frame = read_frame(reader.get(place, 4))
            if frame is None or not self._is_followed(place, frame):
                place = self._skip(place)
                continue
            if place + frame.length > reader.size:
                self.found.truncated = True
                break
            information = self._information(place, frame)
            if self._kind is not None and (information is not None or frame.kind != self._kind):
                self._close(place)
                self._begin_part()
            if self._kind is None:
                self._expected, self._begins_part = information or 0, bool(information)
            if not self._run_frames:
                self._run_start = place
            self._kind, self.found.rate_hz = frame.kind, self.found.rate_hz or frame.rate_hz
            self._run_frames += 1
            self._part_frames += information is None
            place += frame.length
        self._close(min(place, reader.size))
        missing = self._expected - self._part_frames
        self.found.truncated |= missing > 1 and not any(run.lost_frames for run in self.found.runs)

    def _is_followed(self, place: int, frame: MpegFrame) -> bool:
        """Return whether another frame, a tag or the end follows; any two bytes may look like a header."""
        after = self._reader.get(place + frame.length, 4)
        following = read_frame(after)
        if following is not None or len(after) < 4 or after[:3] in (b"TAG", b"ID3", b"APE"):  # noqa: PLR2004
            return True
        return bool(self._run_frames) and frame.kind == self._kind  # the last frame before damage

    def _skip(self, place: int) -> int:
        """Return the place after a tag or after damage."""
        reader, head = self._reader, self._reader.get(place, 32)
        size = 0
        if head.startswith(b"ID3") and len(head) >= 10:  # noqa: PLR2004
            size = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        elif head.startswith(b"TAG"):
            size = 128
        elif head.startswith(b"APETAGEX"):
            size = 32 + struct.unpack("<I", head[12:16])[0]
        if size:
            self._close(place)
            if self._kind is not None and not self._is_tail(place + size):
                self._begin_part()
            return place + size
        after = place + 1
        while True:
            after = reader.find(b"\xff", after)
            if after < 0:
                after = reader.size
                break
            frame = read_frame(reader.get(after, 4))
            if frame is not None and read_frame(reader.get(after + frame.length, 4)) is not None:
                break
            after += 1
        self._close(place, damaged_bytes=after - place)
        return after

    def _is_tail(self, place: int) -> bool:
        """Return whether only tags follow."""
        return place >= self._reader.size or self._reader.get(place, 3) in (b"TAG", b"APE")

    def _information(self, place: int, frame: MpegFrame) -> int | None:
        """Return the number of frames that an information frame announces, or None for a frame of audio."""
        data = self._reader.get(place, min(frame.length, 64))
        for name in (b"Xing", b"Info"):
            at = data.find(name)
            if 0 < at <= 40 and len(data) >= at + 12:  # noqa: PLR2004
                return int(struct.unpack(">I", data[at + 8 : at + 12])[0]) if data[at + 7] & 1 else 0
        return int(struct.unpack(">I", data[50:54])[0]) if data[36:40] == b"VBRI" and len(data) >= 54 else None  # noqa: PLR2004

    def _begin_part(self) -> None:
        self._kind, self._expected, self._part_frames, self._lost_frames = None, 0, 0, 0
        self._link += 1

    def _close(self, end: int, *, damaged_bytes: int = 0) -> None:
        """End the run at `end`; damage after it is as long as the run's frames of that many bytes."""
        if self._run_frames and self._kind is not None:
            frame = read_frame(self._reader.get(self._run_start, 4))
            samples = frame.samples if frame is not None else 1_152
            count = () if self._begins_part else (count_frame(self._reader.get(self._run_start, 4), self._run_frames),)
            self._begins_part = False
            run = Run((*count, (self._run_start, end)), lost_frames=self._lost_frames, link=self._link)
            self.found.runs.append(run)
            mean_bytes = (end - self._run_start) / self._run_frames
            self._lost_frames = round(damaged_bytes / mean_bytes) * samples
        self._run_frames = 0
