"""Hostile input for the decoder of network streams: recordings with defects, and answers of servers that lie.

Everything derives from the `Random` that is passed, so that a seed gives the same inputs again.
"""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from typing import Any

import av
import numpy as np
import soundfile

from stream.demo.conversation import AUDIO
from stream.types import SAMPLE_RATE_HZ, Samples

EXCERPT_S = 0.5
DATAGRAM_BYTES = 7 * 188
"""Packets of a transport stream have 188 bytes."""

WRITTEN = {
    "WAV": "PCM_16",
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "AIFF": "PCM_16",
    "AU": "ULAW",
    "W64": "FLOAT",
    "CAF": "ALAC_16",
}
"""Containers that libsndfile writes, with the codec."""

MUXED = {
    "adts": "aac",
    "mp4": "aac",
    "matroska": "libopus",
    "mpegts": "mp2",
    "asf": "wmav2",
    "flv": "libmp3lame",
    "ogg": "libopus",
}
"""Containers that FFmpeg writes, with the codec."""

SIGNS = (
    b"RIFF",
    b"fLaC",
    b"OggS",
    b"ID3\x04",
    b"\xff\xfb\x90\x00",
    b"\x1a\x45\xdf\xa3",
    b"#EXTM3U\n",
    b"caff",
    b"FLV\x01",
    b"\x47",
)
PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:{number}\n#EXT-X-TARGETDURATION:{number}\n#EXTINF:{number},\n{target}\n{end}"
TARGETS = (
    "file:///etc/passwd",
    "concat:a|b",
    "data:audio/wav;base64,AAAA",
    "/attack",
    "http://127.0.0.1:1/",
    "subfile,,start,0,end,9,,:x",
)
HEADERS = (
    "Content-Type: audio/mpeg",
    "Content-Type: application/vnd.apple.mpegurl",
    "Content-Length: 99999999999999999999",
    "Content-Length: -1",
    "Content-Encoding: gzip",
    "Transfer-Encoding: chunked",
    "Location: /attack",
    "icy-metaint: 3",
    "icy-metaint: 2147483647",
    "Set-Cookie: " + "a" * 9_000,
    "\xff\x00: \x01",
    "Content-Range: bytes 5-1/*",
    "Accept-Ranges: bytes",
    "Connection: keep-alive",
)
STATUSES = ("200 OK",) * 12 + ("206 Partial Content", "302 Found", "301", "401 Unauthorized", "503", "999 \xff", "")
DESCRIPTION = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\nm=audio 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 L16/16000/1\r\na=control:stream=0\r\n"
)
LINES = (
    "Transport: RTP/AVP/TCP;unicast;interleaved=0-1",
    "Session: 1;timeout=0",
    "Content-Base: rtsp://127.0.0.1:1/x/",
    "Content-Type: application/sdp",
    "RTP-Info: url=x;seq=1;rtptime=99999999999",
    "Public: OPTIONS, DESCRIBE, SETUP, PLAY",
)


def excerpts() -> dict[str, bytes]:
    """Return the start of the bundled conversation in many containers; `mp3` is one of them."""
    samples, rate_hz = soundfile.read(AUDIO, dtype="float32", frames=round(EXCERPT_S * SAMPLE_RATE_HZ), start=16_000)
    found = {"mp3": written(samples, rate_hz, "MP3", "MPEG_LAYER_III")}
    for container, codec in WRITTEN.items():
        found[container] = written(samples, rate_hz, container, codec)
    for container, codec in MUXED.items():
        found[f"{container} of FFmpeg"] = muxed(samples, rate_hz, container, codec)
    return found


def written(samples: Samples, rate_hz: int, container: str, codec: str) -> bytes:
    """Return a recording by libsndfile."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format=container, subtype=codec)
    return out.getvalue()


def muxed(samples: Samples, rate_hz: int, container: str, codec: str) -> bytes:
    """Return a recording by FFmpeg."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as writer:
        rate = 48_000 if codec in ("libopus", "mp2") else 44_100
        stream: Any = writer.add_stream(codec, rate=rate, layout="mono", bit_rate=64_000)
        frame = av.AudioFrame.from_ndarray((samples[None] * 32_767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = rate_hz
        for packet in (*stream.encode(frame), *stream.encode(None)):
            writer.mux(packet)
    return out.getvalue()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return a recording with one kind of defect."""
    changed = bytearray(data)
    at = chance.randrange(len(data)) if chance.randrange(2) else chance.randrange(min(200, len(data)))
    match chance.randrange(7):
        case 0:
            del changed[at:]
        case 1:
            for _ in range(chance.choice((1, 4, 32, 256))):
                changed[chance.randrange(len(data))] = chance.randrange(256)
        case 2:
            for _ in range(chance.choice((1, 2, 8))):  # of the header
                changed[chance.randrange(min(200, len(data)))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        case 3:
            changed[at : at + chance.choice((0, 1, 2, 4, 700))] = chance.randbytes(chance.choice((0, 1, 3, 4, 4_000)))
        case 4:
            changed[at : at + 4] = chance.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\x00\x00\x00\x80")
            )
        case 5:
            changed = changed[at:] + changed[:at]
        case _:
            changed += changed[: at + 1] * chance.choice((1, 30))
    return bytes(changed)


def body(recordings: Mapping[str, bytes], chance: random.Random) -> bytes:
    """Return what a hostile server sends as audio."""
    names = sorted(recordings)
    kind = chance.randrange(20)
    if kind == 0:
        return chance.randbytes(chance.choice((0, 1, 40, 5_000, 100_000)))
    if kind == 1:
        return chance.choice(SIGNS) + chance.randbytes(chance.choice((3, 500, 9_000)))
    if kind == 2:  # noqa: PLR2004 - of the kinds
        end = chance.choice(("", "#EXT-X-ENDLIST\n"))
        number = chance.choice((0, -1, 3, 10**30))
        return PLAYLIST.format(number=number, target=chance.choice(TARGETS), end=end).encode()
    first, second = (recordings[chance.choice(names)] for _ in range(2))
    if kind == 3:  # noqa: PLR2004 - of the kinds
        return first[: chance.randrange(300)] + second[chance.randrange(300) :]
    return damaged(first, chance)


def http_answer(recordings: Mapping[str, bytes], chance: random.Random) -> bytes:
    """Return a whole answer to a GET request; a fifth begins with audio that can be played."""
    if not chance.randrange(5):
        return b"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n" + recordings["mp3"] + body(recordings, chance)
    lines = [f"HTTP/1.{chance.choice('1110')} {chance.choice(STATUSES)}"]
    lines += chance.sample(HEADERS, chance.choice((0, 0, 1, 1, 3, 8)))
    head = "\r\n".join(lines).encode("latin-1")
    whole = head + b"\r\n\r\n" + body(recordings, chance)
    return whole if chance.randrange(15) else whole[: chance.randrange(len(head) + 4)]


def rtsp_answer(request: bytes, chance: random.Random) -> bytes:
    """Return an answer to one RTSP request, mostly with a defect; after PLAY packets follow."""
    number = next((line[5:].strip() for line in request.split(b"\r\n") if line.lower().startswith(b"cseq:")), b"1")
    method, content = request[:4], b""
    lines = [line.encode() for line in LINES if chance.randrange(6)]
    if method == b"DESC":
        content = damaged(DESCRIPTION.encode(), chance) if chance.randrange(2) else DESCRIPTION.encode()
    head = b"\r\n".join((b"RTSP/1.0 200 OK", b"CSeq: " + number, *lines, b"Content-Length: %d" % len(content)))
    answer = head + b"\r\n\r\n" + content
    if method == b"PLAY":
        answer += b"".join(packet(chance) for _ in range(50))
    return answer if chance.randrange(4) else damaged(answer, chance)


def packet(chance: random.Random) -> bytes:
    """Return an interleaved RTP packet, often with a wrong length or header."""
    payload = chance.choice((b"\x80\x60", b"\x80\x60", b"\x9f\xff", b"\x00\x00")) + chance.randbytes(
        chance.choice((0, 10, 650))
    )
    length = len(payload) if chance.randrange(10) else chance.randrange(1 << 16)
    return b"$" + chance.choice((b"\0", b"\0", b"\0", b"\1", b"\7")) + length.to_bytes(2, "big") + payload


def datagrams(recording: bytes) -> list[bytes]:
    """Return the datagrams of an MPEG transport stream."""
    return [recording[start : start + DATAGRAM_BYTES] for start in range(0, len(recording), DATAGRAM_BYTES)]
