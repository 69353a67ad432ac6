"""What a pipe carries, by its first bytes: raw PCM, WAV with samples that need no decoder, or another container."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from stream.sources.containers import MAX_HEADER_BYTES
from stream.sources.mpeg import is_mpeg

MAX_HEAD_BYTES = 1 << 16
"""Bytes after which a WAV without samples is left to a decoder."""

MIN_HEAD_BYTES = 12
MPEG_HEAD_BYTES = 8_192
"""Bytes in which several frames of MPEG audio fit."""

SIGNATURES = (
    *((0, name) for name in (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff")),
    *((0, b"\x1aE\xdf\xa3"), (4, b"ftyp"), (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")),
)
"""Places and bytes: WAV, FLAC, Ogg, MP3, AIFF, AU, CAF, Matroska, MP4, ASF."""

PCM_TAGS = {(1, 8): "u8", (1, 16): "s16le", (1, 24): "s24le", (1, 32): "s32le", (3, 32): "f32le", (3, 64): "f64le"}
PCM_TAGS |= {(6, 8): "alaw", (7, 8): "mulaw"}
EXTENSIBLE = 0xFFFE


@dataclass(frozen=True, slots=True)
class WavFormat:
    """Samples of a WAV: their format, and where they start."""

    pcm_format: str
    rate_hz: int
    channels: int
    start: int
    size: int | None
    """Bytes of samples; None: until the end."""


def is_container(head: bytes) -> bool:
    """Return whether a container begins with these bytes."""
    if any(head[place : place + len(signature)] == signature for place, signature in SIGNATURES):
        return head[:4] not in (b"RIFF", b"FORM") or head[8:12].isalnum()
    return is_mpeg(head)


def is_undecided(head: bytes) -> bool:
    """Return whether more bytes are needed to tell."""
    if len(head) < MIN_HEAD_BYTES:
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return len(head) < MAX_HEAD_BYTES and b"data" not in head
    return head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and len(head) < MPEG_HEAD_BYTES  # noqa: PLR2004


def wav_format(head: bytes) -> WavFormat | None:
    """Return the format of a WAV's samples, or None if it needs a decoder."""
    place, described = 12, b""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    while len(header := head[place : place + 8]) == 8:  # noqa: PLR2004
        name, size = header[:4], struct.unpack("<I", header[4:])[0]
        if name == b"data":
            break
        if name == b"fmt ":
            described = head[place + 8 : place + 8 + size]
        place += 8 + min(size, MAX_HEADER_BYTES) + size % 2
    else:
        return None
    if len(described) < 16:  # noqa: PLR2004
        return None
    tag, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", described[:16])
    if tag == EXTENSIBLE and len(described) >= 26:  # noqa: PLR2004
        tag = struct.unpack("<H", described[24:26])[0]
    pcm_format = PCM_TAGS.get((tag, bits))
    if pcm_format is None or not channels:
        return None
    is_known = 0 < size < 0x7FFF_F000  # noqa: PLR2004 - larger ones mean that the writer did not know
    return WavFormat(pcm_format, rate_hz, channels, place + 8, size if is_known else None)
