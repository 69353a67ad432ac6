"""Forty kinds of files that are legal, or common although they are not: read to the end, or refused in one sentence."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.errors import SourceError
from stream.sources.ffmpeg import FfmpegDecoder
from tests.sources.test_decoding import LENGTH_S, RATE_HZ, VOICE, encoded, read, write

PCM = np.rint(VOICE * 32_000).astype("<i2").tobytes()
BIG_ENDIAN = np.frombuffer(PCM, "<i2").astype(">i2").tobytes()
ID3 = b"ID3\x03\0\0\0\0\x10\0" + bytes(0x10 << 7)
EXTENSION = struct.pack("<HHIH", 22, 20, 4, 1) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def described(tag: int = 1, *, bits: int = 16, more: bytes = b"") -> bytes:
    size = (bits + 7) // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, 1, RATE_HZ, RATE_HZ * size, size, bits) + more)


def wav(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


DATA = chunk(b"data", PCM)

BYTES = {
    "a chunk before the format": wav(chunk(b"JUNK", bytes(28)), described(), DATA),
    "a list of odd length": wav(described(), chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0"), DATA),
    "a format of 18 bytes": wav(described(more=b"\0\0"), DATA),
    "broadcast wave": wav(
        chunk(b"bext", bytes(602)), described(), chunk(b"fact", bytes(4)), DATA, chunk(b"cue ", bytes(4))
    ),
    "12 bits": wav(described(bits=12), DATA),
    "20 of 24 bits": wav(
        described(0xFFFE, bits=24, more=EXTENSION),
        chunk(b"data", np.insert(np.frombuffer(PCM, np.uint8), np.arange(0, len(PCM), 2), 0).tobytes()),
    ),
    "half a sample at the end": wav(described(), chunk(b"data", PCM + b"\1")),
    "RIFX": b"RIFX"
    + struct.pack(">I4s4sIHHIIHH", 36 + len(PCM), b"WAVE", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    + struct.pack(">4sI", b"data", len(PCM))
    + BIG_ENDIAN,
    "AU of unknown length": struct.pack(">4sIIIII", b".snd", 24, 0xFFFF_FFFF, 3, RATE_HZ, 1) + BIG_ENDIAN,
}

FORMATS = {
    **{name: (name, "PCM_16") for name in ("VOC", "IRCAM", "PAF", "SVX", "NIST", "MAT5", "HTK", "PVF", "AVR", "MPC2K")},
    "RF64 float": ("RF64", "FLOAT"),
    "W64 24 bits": ("W64", "PCM_24"),
    "AIFF float": ("AIFF", "FLOAT"),
    "AIFF ADPCM": ("AIFF", "IMA_ADPCM"),
    "CAF ALAC": ("CAF", "ALAC_16"),
    "AU G.723": ("AU", "G723_24"),
    "WAV GSM": ("WAV", "GSM610"),
    "WAV G.721": ("WAV", "G721_32"),
    "WAV Microsoft ADPCM": ("WAV", "MS_ADPCM"),
    "WAV NMS ADPCM": ("WAV", "NMS_ADPCM_32"),
}


@pytest.mark.parametrize("kind", BYTES)
def test_headers(tmp_path: Path, kind: str) -> None:
    assert read(write(tmp_path / "a.wav", BYTES[kind])) == (LENGTH_S, [])


@pytest.mark.parametrize("kind", FORMATS)
def test_containers(tmp_path: Path, kind: str) -> None:
    container, subtype = FORMATS[kind]
    encoded(tmp_path / "a", format=container, subtype=subtype)
    assert read(tmp_path / "a")[0] == pytest.approx(LENGTH_S, abs=0.3)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: write(folder / "-new\nline\x1b[31m.wav", wav(described(), DATA)),
        lambda folder: write(folder / os.fsdecode(b"\xff\xfe.wav"), wav(described(), DATA)),
        lambda folder: write(folder / f"{'a' * 251}.wav", wav(described(), DATA)),
        lambda folder: write(folder / "sound.mp3", wav(described(), DATA)),
    ],
    ids=["control characters", "not UTF-8", "long", "of another format"],
)
def test_names(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    assert read(make(tmp_path)) == (LENGTH_S, [])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp3", "flac"])
def test_tags_of_mpeg_audio(tmp_path: Path, suffix: str) -> None:
    """FLAC has such tags as well, larger than what is looked at first."""
    data = encoded(tmp_path / f"a.{suffix}")
    end_s, gaps = read(write(tmp_path / f"b.{suffix}", ID3 * 12 + data))
    assert end_s == pytest.approx(LENGTH_S, abs=0.2)
    assert not gaps


def test_the_delay_of_an_encoder_is_no_gap(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.wma"
    with av.open(str(path), "w", format="asf") as output:
        audio = output.add_stream("wmav2", rate=RATE_HZ, layout="mono", bit_rate=48_000)
        frame = av.AudioFrame.from_ndarray(VOICE[None], format="fltp", layout="mono")
        frame.rate, frame.pts = RATE_HZ, 0
        output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    with path.open("rb") as file:
        decoder = FfmpegDecoder(file, name="a.wma")
        pieces = iter(lambda: decoder.read(RATE_HZ), None)
        assert not any(piece.lost_frames for piece in pieces)


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def _link(folder: Path, target: str) -> Path:
    (folder / "link.wav").symlink_to(target)
    return folder / "link.wav"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_fifo, "is not a regular file; read it with `tonewatch run - < FILE`"),
        (lambda _: Path("/dev/zero"), "is not a regular file; read it with"),
        (lambda folder: folder, "is a folder; name a recording in it"),
        (lambda folder: _link(folder, "nowhere"), "no such file"),
        (lambda folder: _link(folder, "link.wav"), "no such file"),
        (lambda folder: folder / ("x" * 300), "no such file"),
        (lambda folder: folder / "a\0b", "no such file"),
        (lambda _: Path("/proc/version"), r"cannot read '/proc/version' \(Invalid argument\)"),
    ],
    ids=["FIFO", "device", "folder", "broken link", "circular link", "long", "null", "special"],
)
def test_what_is_no_recording(tmp_path: Path, make: Callable[[Path], Path], sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence) as caught:
        read(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "a.wav", wav(described(), DATA))
    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(SourceError, match=r"cannot open .* \(Permission denied\); check its permissions"):
        read(path)


def test_too_short_or_not_finite(tmp_path: Path) -> None:
    broken = VOICE.copy()
    broken[RATE_HZ] = np.nan
    for samples, sentence in ((VOICE[:0], "contains 0 ms"), (VOICE[:800], "contains 50 ms"), (broken, "non-finite")):
        soundfile.write(tmp_path / "a.wav", samples, RATE_HZ, subtype="FLOAT")
        with pytest.raises(SourceError, match=sentence):
            read(tmp_path / "a.wav")
