"""Recordings as people have them: unfinished headers, damage, joined parts, odd names, every codec."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stream.demo.conversation import AUDIO
from stream.errors import AudioFormatError, SourceError, SourceNotFound
from stream.settings import SourceSettings
from stream.sources import ffmpeg
from stream.sources.decoder_process import open_decoder
from stream.sources.file import FileSource

RATE_HZ, LENGTH_S = 16_000, 10
VOICE = soundfile.read(AUDIO, frames=LENGTH_S * RATE_HZ, dtype="float32")[0]
RUBBISH = np.random.default_rng(1).bytes(3_000)


def read(path: Path | str) -> tuple[float, list[tuple[float, float]]]:
    """Return the end of a recording and its gaps (start, length), all in seconds."""

    async def collect() -> tuple[float, list[tuple[float, float]]]:
        source, end, gaps = FileSource(settings=SourceSettings(target=str(path))), 0, []
        async with source.blocks() as blocks:
            rate_hz = source.format.rate_hz
            async for block in blocks:
                if block.start_frame != end:
                    gaps.append((end / rate_hz, (block.start_frame - end) / rate_hz))
                end = block.end_frame
        return end / rate_hz, gaps

    return asyncio.run(collect())


def encoded(path: Path, **options: Any) -> bytes:
    soundfile.write(path, VOICE, RATE_HZ, **options)
    return path.read_bytes()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_sizes_of_a_header_that_was_never_finished_do_not_matter(tmp_path: Path) -> None:
    data = encoded(tmp_path / "a.wav")
    for riff, size in ((36, 0), (0, 0), (0xFFFF_FFFF, 0xFFFF_FFFF), (0x7FFF_FFFF, 0x7FFF_F000), (100, 64)):
        sizes = data[:4] + struct.pack("<I", riff) + data[8:40] + struct.pack("<I", size) + data[44:]
        assert read(write(tmp_path / "b.wav", sizes)) == (LENGTH_S, []), (riff, size)


def test_what_follows_the_samples_is_not_audio(tmp_path: Path) -> None:
    data = encoded(tmp_path / "a.wav")
    tail = b"LIST" + struct.pack("<I", 10) + b"INFOISFT\0\0" + b"\0\1\2" * 30
    assert read(write(tmp_path / "b.wav", data + tail)) == (LENGTH_S, [])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_joined_recordings_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    data = encoded(tmp_path / f"a.{suffix}")
    tagged = b"ID3\x04\0\0\0\0\0\x08" + bytes(8) if suffix == "mp3" else b""
    end_s, gaps = read(write(tmp_path / f"b.{suffix}", tagged + data + tagged + data))
    assert (round(end_s, 1), gaps) == (2 * LENGTH_S, [])


def test_joined_recordings_may_have_other_formats(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "b.wav", np.stack([VOICE, VOICE], 1), 48_000)
    joined = write(tmp_path / "c.wav", encoded(tmp_path / "a.wav") + (tmp_path / "b.wav").read_bytes())
    assert read(joined)[0] == pytest.approx(LENGTH_S * 4 / 3, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["flac", "ogg", "opus", "mp3"])
def test_damage_in_the_middle_is_a_gap(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    data = bytearray(encoded(tmp_path / f"a.{suffix}", **options))
    middle = len(data) // 2
    data[middle : middle + len(RUBBISH)] = RUBBISH
    end_s, gaps = read(write(tmp_path / f"b.{suffix}", bytes(data)))
    assert end_s == pytest.approx(LENGTH_S, abs=0.1), "what follows keeps its time"
    [(start_s, length_s)] = gaps
    assert 2 < start_s < 7
    assert 0.1 < length_s < 3
    assert "is damaged at" in caplog.text


@pytest.mark.parametrize("seed", range(12))
def test_what_follows_damage_of_a_flac_keeps_its_time(seed: int) -> None:
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as writer:  # blocks of 4,608 frames
        audio = writer.add_stream("flac", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.rint(VOICE[None] * 32_767).astype(np.int16), format="s16", layout="mono")
        frame.rate = RATE_HZ
        writer.mux([*audio.encode(frame), *audio.encode(None)])
    chance, data = random.Random(seed), bytearray(out.getvalue())
    start, length = chance.randrange(len(data) // 10, len(data) * 8 // 10), chance.choice((1, 20, 300, 3_000))
    data[start : start + length] = chance.randbytes(length)
    decoder = open_decoder(io.BytesIO(bytes(data)), name="a.flac")
    position = wrong = lost = 0
    while (piece := decoder.read(1_600)) is not None:
        lost += piece.lost_frames
        position += piece.lost_frames
        original = VOICE[position : position + len(piece.samples)]
        wrong += not np.allclose(piece.samples[:, 0], original, atol=1e-3)
        position += len(piece.samples)
    assert (position, decoder.truncated) == (len(VOICE), False)
    assert wrong <= 3, "blocks next to the damage"
    assert lost


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3", "aiff", "au"])
def test_a_truncated_recording_is_read_as_far_as_it_goes(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    data = encoded(tmp_path / f"a.{suffix}", **options)
    end_s, gaps = read(write(tmp_path / f"b.{suffix}", data[: round(0.7 * len(data))]))
    assert 5 < end_s < 8
    assert not gaps
    assert [record.getMessage().split(".", 1)[1] for record in caplog.records] == [
        f"{suffix} is truncated; what it contains was processed"
    ]


def test_a_flac_from_a_pipe_has_no_length(tmp_path: Path) -> None:
    data = bytearray(encoded(tmp_path / "a.flac"))
    data[12:18] = bytes(6)  # sizes of frames
    data[21] &= 0xF0
    data[22:42] = bytes(20)  # samples, and the checksum of all
    assert read(write(tmp_path / "b.flac", bytes(data))) == (LENGTH_S, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *(("WAV", one) for one in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW", "IMA_ADPCM")),
        *((one, "PCM_16") for one in ("WAVEX", "W64", "RF64", "AIFF", "AU", "CAF")),
    ],
)
def test_every_sample_format(tmp_path: Path, container: str, subtype: str) -> None:
    encoded(tmp_path / "a", format=container, subtype=subtype)
    end_s, gaps = read(tmp_path / "a")
    assert (round(end_s, 1), gaps) == (LENGTH_S, [])


def test_surround_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([VOICE] * 6, 1), 48_000, subtype="PCM_24")
    assert read(tmp_path / "a.wav")[0] == pytest.approx(LENGTH_S / 3, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", AudioFormatError, "is empty"),
        (b"hello world\n" * 99, AudioFormatError, "cannot read audio from"),
        (b"\xff" * 9_999, AudioFormatError, "cannot read audio from"),
        (None, SourceNotFound, "is a folder"),
    ],
)
def test_what_is_no_recording_gets_one_sentence(
    tmp_path: Path, content: bytes | None, error: type[SourceError], message: str
) -> None:
    path = tmp_path if content is None else write(tmp_path / "a.wav", content)
    with pytest.raises(error, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate_hz", [0, 1, 4_000_000_000])
def test_an_absurd_rate_gets_one_sentence(tmp_path: Path, rate_hz: int) -> None:
    data = encoded(tmp_path / "a.wav")
    with pytest.raises(AudioFormatError, match=f"claims a sample rate of {rate_hz} Hz"):
        read(write(tmp_path / "b.wav", data[:24] + struct.pack("<I", rate_hz) + data[28:]))


def test_a_name_need_not_be_utf8(tmp_path: Path) -> None:
    encoded(tmp_path / "a.wav")
    name = os.fsdecode(b"caf\xe9.wav")
    (tmp_path / "a.wav").rename(tmp_path / name)
    assert read(tmp_path / name) == (LENGTH_S, [])
    assert FileSource(settings=SourceSettings(target=str(tmp_path / name))).id == "caf\ufffd"


@pytest.mark.slow
def test_the_decoders_messages_stay_off_standard_error(tmp_path: Path) -> None:
    data = bytearray(encoded(tmp_path / "a.mp3"))
    data[9_000:9_400] = bytes(400)
    write(tmp_path / "b.mp3", bytes(data))
    code = "import sys; from tests.sources.test_decoding import read; read(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "b.mp3")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mpg123" not in done.stderr
    assert done.stderr.count("\n") <= 1, "at most the damage"


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    av = pytest.importorskip("av")
    codecs = {"m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "mka": ("matroska", "flac"), "mp4": ("mp4", "aac")}
    folder = tmp_path_factory.mktemp("ffmpeg")

    def write_audio(suffix: str) -> Path:
        path = folder / f"a.{suffix}"
        kind, codec = codecs[suffix]
        with av.open(str(path), "w", format=kind) as output:
            audio = output.add_stream(codec, rate=RATE_HZ, layout="mono")
            context = audio.codec_context
            frame = av.AudioFrame.from_ndarray(VOICE[None], format="fltp", layout="mono")
            frame.rate, frame.pts = RATE_HZ, 0
            resampler = av.AudioResampler(context.format, "mono", RATE_HZ, frame_size=context.frame_size or 1_024)
            if suffix == "mp4":
                video = output.add_stream("mpeg4", rate=5)
                video.width = video.height = 32
                video.pix_fmt = "yuv420p"
                image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                output.mux(video.encode(image))
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                output.mux(audio.encode(part))
            output.mux(audio.encode(None))
        return path

    return write_audio


class TestFfmpeg:
    """Containers that only FFmpeg reads."""

    @pytest.mark.slow
    @pytest.mark.parametrize("suffix", ["m4a", "aac", "mka", "mp4"])
    def test_formats(self, make: Callable[[str], Path], suffix: str) -> None:
        end_s, gaps = read(make(suffix))
        assert end_s == pytest.approx(LENGTH_S, abs=0.2)
        assert not gaps

    @pytest.mark.slow
    def test_damage_and_truncation(self, make: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
        path = make("m4a")
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 2_000] = RUBBISH[:2_000]
        end_s, gaps = read(write(path.with_name("b.m4a"), bytes(data)))
        assert end_s == pytest.approx(LENGTH_S, abs=0.2)
        assert len(gaps) == 1
        data = bytearray(make("mka").read_bytes())
        caplog.clear()
        assert read(write(path.with_name("b.mka"), bytes(data[: len(data) * 7 // 10])))[0] < 8
        assert "is truncated" in caplog.text

    @pytest.mark.slow
    def test_a_playlist_opens_no_other_file(self, make: Callable[[str], Path], tmp_path: Path) -> None:
        text = f"ffconcat version 1.0\nfile {make('m4a')}\n"
        with pytest.raises(AudioFormatError, match="cannot read audio"):
            read(write(tmp_path / "a.concat", text.encode()))

    def test_without_the_extra_one_sentence_says_how_to_get_it(
        self, make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = make("m4a")
        monkeypatch.setitem(sys.modules, "av", None)
        with path.open("rb") as file, pytest.raises(AudioFormatError, match=r"install `tonewatch\[network\]`"):
            ffmpeg.FfmpegDecoder(file, name="a.m4a")


def test_logging_is_quiet_for_a_sound_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="stream"):
        encoded(tmp_path / "a.flac")
        assert read(tmp_path / "a.flac") == (LENGTH_S, [])
    assert not [record for record in caplog.records if record.name.startswith("stream")]


def test_headers_that_end_early_get_one_sentence(tmp_path: Path) -> None:
    flac, wav = tmp_path / "voice.flac", tmp_path / "voice.wav"
    soundfile.write(flac, VOICE[:RATE_HZ], RATE_HZ)
    flac.write_bytes(flac.read_bytes() + flac.read_bytes()[:20])  # a second stream that ends within its header
    assert read(flac)[0] == pytest.approx(1.0, abs=0.3)
    wav.write_bytes(b"RIFF\x20\0\0\0WAVEfmt \x04\0\0\0\x01\0\x01\0data\x08\0\0\0" + bytes(8))
    with pytest.raises(AudioFormatError, match="cannot read audio"):
        read(wav)


def test_an_unknown_codec_gets_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    soundfile.write(path, VOICE[:RATE_HZ], RATE_HZ)
    data = bytearray(path.read_bytes())
    data[20:22] = b"\xfe\x7f"  # the codec of the header
    path.write_bytes(data)
    with pytest.raises(AudioFormatError, match="cannot read audio"):
        read(path)
