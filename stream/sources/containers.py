"""What a recording's container holds: its parts, what is lost between them, and whether the end is missing.

libsndfile reads a file that is as it should be. Recorders die before they write sizes, radio dumps are joined from
several streams, disks and transfers damage pages. Each parser here walks over the container and returns *runs*: byte
ranges (with a repaired header where one is needed) that libsndfile reads from beginning to end.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

CHUNK_BYTES = 1 << 20

UNKNOWN_SIZES = (0x7FFFF000, 0xFFFFF000)
"""Sizes in a WAV header from which the length is unknown: 0x7FFFFFFF, 0xFFFFFFFF and what encoders make of them."""

MAX_HEADER_BYTES = 1 << 16


class ByteReader:
    """Random access to a file's bytes through one cached chunk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self._start, self._chunk = 0, b""

    def get(self, start: int, length: int) -> bytes:
        """Return up to `length` bytes from `start` on."""
        offset = start - self._start
        if offset < 0 or offset + length > len(self._chunk):
            self._file.seek(start)
            self._start, self._chunk = start, self._file.read(max(length, CHUNK_BYTES))
            offset = 0
        return self._chunk[offset : offset + length]

    def find(self, wanted: bytes, start: int) -> int:
        """Return the place of `wanted` at or after `start`, or -1."""
        while start < self.size:
            chunk = self.get(start, CHUNK_BYTES)
            if (place := chunk.find(wanted)) >= 0:
                return start + place
            if len(chunk) < len(wanted):
                return -1
            start += len(chunk) - len(wanted) + 1
        return -1


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive audio: `parts` are bytes or ranges of the file, which a decoder reads one after the other.

    `lost_frames` are missing before it. In an Ogg stream `end_frame` is where it ends instead, counted from the start
    of its link, or None; `link` numbers the parts that were joined.
    """

    parts: tuple[bytes | tuple[int, int], ...]
    lost_frames: int = 0
    end_frame: int | None = None
    link: int = 0


@dataclass(slots=True)
class Container:
    """A recording's runs. `truncated`: its end is missing; `rate_hz` is that of the header, None if unknown."""

    runs: list[Run] = field(default_factory=list)
    truncated: bool = False
    rate_hz: int | None = None


def parse(reader: ByteReader) -> Container:
    """Return what a recording holds; a container without a parser here is one run."""
    head = reader.get(0, 12)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        container = _parse_wav(reader)
    elif head[:4] == b"OggS":
        container = _parse_ogg(reader)
    elif head[:8] == FLAC_START:
        container = _parse_flac(reader)
    else:
        container = Container()
    return container if container.runs else Container([Run(((0, reader.size),))], rate_hz=container.rate_hz)


def _parse_wav(reader: ByteReader) -> Container:
    """Find the samples of one WAV after the other, whatever their headers say about sizes."""
    found, start = Container(), 0
    while reader.get(start, 4) == b"RIFF" and reader.get(start + 8, 4) == b"WAVE":
        kept, place = b"", start + 12
        while (header := reader.get(place, 8))[:4] != b"data" and len(header) == 8:  # noqa: PLR2004
            size = struct.unpack("<I", header[4:])[0]
            if header[:4] in (b"fmt ", b"fact") and size <= MAX_HEADER_BYTES:
                kept += reader.get(place, 8 + size + size % 2)
            place += 8 + size + size % 2
        if header[:4] != b"data" or kept[:4] != b"fmt " or len(kept) < 24:  # noqa: PLR2004
            break
        if not found.runs:
            found.rate_hz = struct.unpack("<I", kept[12:16])[0]
        begin, size = place + 8, struct.unpack("<I", header[4:])[0]
        available = reader.size - begin
        if size > available and not any(limit <= size <= limit + 0xFFF for limit in UNKNOWN_SIZES):
            found.truncated = True
        if available > size and not _is_chunk(reader, begin + size + size % 2) and available - size > size:
            size = available  # the header was written at the beginning and never again
        size = min(size, available)
        body = b"WAVE" + kept + b"data" + struct.pack("<I", min(size, 0xFFFF_FFFF))
        header = b"RIFF" + struct.pack("<I", min(len(body) + size, 0xFFFF_FFFF)) + body
        found.runs.append(Run((header, (begin, begin + size)), link=len(found.runs)))
        start = begin + size + size % 2
        while start < reader.size and reader.get(start, 4) != b"RIFF" and _is_chunk(reader, start):
            start += 8 + struct.unpack("<I", reader.get(start + 4, 4))[0]
            start += start % 2
    return found


def _is_chunk(reader: ByteReader, place: int) -> bool:
    """Return whether a chunk that fits into the file begins at `place`, or the file ends there."""
    header = reader.get(place, 8)
    if len(header) < 8:  # noqa: PLR2004
        return place >= reader.size
    return (
        header[:4].isascii()
        and header[:4].decode("ascii").isprintable()
        and (place + 8 + struct.unpack("<I", header[4:])[0] <= reader.size or header[:4] == b"RIFF")
    )


def _parse_flac(reader: ByteReader) -> Container:
    """Find the streams of a FLAC file, and fill in the length of those that were written into a pipe."""
    starts, place = [], 0
    while (place := reader.find(FLAC_START, place)) >= 0:
        starts.append(place)
        place += 1
    found = Container()
    for link, (start, end) in enumerate(zip(starts, [*starts[1:], reader.size], strict=True)):
        header = bytearray(reader.get(start, 42))
        if len(header) < 42:  # noqa: PLR2004
            found.truncated = True
            break
        if not link:
            found.rate_hz = int.from_bytes(header[18:21], "big") >> 4
        if not header[21] & 0x0F and not any(header[22:26]):
            samples = _flac_samples(reader, start, end, block_samples=int.from_bytes(header[8:10], "big"))
            header[21] |= samples >> 32 & 0x0F
            header[22:26] = (samples & 0xFFFF_FFFF).to_bytes(4, "big")
        found.runs.append(Run((bytes(header), (start + 42, end)), link=link))
    return found


def _flac_samples(reader: ByteReader, start: int, end: int, *, block_samples: int) -> int:
    """Return the length of a FLAC stream, which its last frame tells; 0 if that is not found."""
    tail_start = max(start + 42, end - CHUNK_BYTES)
    tail = reader.get(tail_start, end - tail_start)
    samples, place = 0, len(tail)
    while not samples and (place := tail.rfind(b"\xff", 0, place)) >= 0:
        samples = _flac_frame_end(tail[place : place + 16], block_samples=block_samples)
    return samples


def _flac_frame_end(header: bytes, *, block_samples: int) -> int:
    """Return the sample after the FLAC frame that begins with `header`, or 0 if it is none."""
    if len(header) < 6 or header[1] & 0xFE != 0xF8:  # noqa: PLR2004
        return 0
    block_code, rate_code = header[2] >> 4, header[2] & 0x0F
    length = 1 if header[4] < 0x80 else 8 - (~header[4] & 0xFF).bit_length()  # noqa: PLR2004
    number = header[4] & (0x7F if length == 1 else 0x7F >> length)
    for byte in header[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    place = 4 + length
    samples = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}}.get(block_code, 256 << max(0, block_code - 8))
    if block_code in (6, 7):
        samples = int.from_bytes(header[place : place + block_code - 5], "big") + 1
        place += block_code - 5
    place += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if place >= len(header) or _crc8(header[:place]) != header[place]:
        return 0
    return (number if header[1] & 1 else number * block_samples) + samples


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07 if value & 0x80 else value << 1) & 0xFF
    return value


FLAC_START = b"fLaC\x00\x00\x00\x22"
"""Signature, and the header of the first block."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
OGG_CODECS = {b"\x01vorbis": "vorbis", b"OpusHead": "opus", b"\x7fFLAC": "flac", b"Speex   ": "speex"}


@dataclass(frozen=True, slots=True)
class OggPage:
    """One page of an Ogg stream."""

    start: int
    end: int
    flags: int
    granule: int
    serial: int
    sequence: int

    @property
    def begins(self) -> bool:
        """Whether a stream begins with it."""
        return bool(self.flags & 2)

    @property
    def ends(self) -> bool:
        """Whether a stream ends with it."""
        return bool(self.flags & 4)


def ogg_pages(reader: ByteReader) -> Iterator[OggPage]:
    """Yield the undamaged pages of an Ogg file."""
    place = 0
    while (place := reader.find(b"OggS", place)) >= 0:
        header = reader.get(place, 27)
        table = reader.get(place + 27, header[26]) if len(header) == 27 else b""  # noqa: PLR2004
        end = place + 27 + len(table) + sum(table)
        page = reader.get(place, end - place)
        if len(header) < 27 or len(page) < end - place or _ogg_crc(page) != header[22:26]:  # noqa: PLR2004
            place += 4
            continue
        granule, serial, sequence = struct.unpack("<qII", header[6:22])
        yield OggPage(place, end, header[5], granule, serial, sequence)
        place = end


def _ogg_crc(page: bytes) -> bytes:
    """Return a page's checksum as it stands in its header: CRC-32 with the bits of all bytes the other way round."""
    zeroed = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(zeroed.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return mirrored.to_bytes(4, "big").translate(_REVERSED)


def _parse_ogg(reader: ByteReader) -> Container:
    """Find the links of a chained stream and the undamaged runs of each."""
    found, link = Container(), -1
    audio: OggPage | None = None  # first page of the link's audio stream
    headers: list[tuple[int, int]] = []
    pages: list[OggPage] = []
    last: OggPage | None = None

    def close_run() -> None:
        if pages and pages[-1].granule >= 0:
            ranges = [(page.start, page.end) for page in pages]
            found.runs.append(Run((*headers, *ranges), end_frame=pages[-1].granule, link=link))
        pages.clear()

    for page in ogg_pages(reader):
        if page.begins and reader.get(page.start + 28, 8)[:7] + b"" in {name[:7] for name in OGG_CODECS}:
            close_run()
            audio, headers, last, link = page, [(page.start, page.end)], page, link + 1
        elif audio is not None and page.serial == audio.serial:
            if last is not None and page.sequence != last.sequence + 1:
                close_run()
            last = page
            if page.granule == 0 and not pages and not any(run.link == link for run in found.runs):
                headers.append((page.start, page.end))
            else:
                pages.append(page)
    close_run()
    found.truncated = last is None or not last.ends
    return found
