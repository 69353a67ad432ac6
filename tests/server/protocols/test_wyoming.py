"""Frames, transcripts and the analysis of one utterance."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.server.protocols import wyoming
from stream.server.protocols.base import AudioChunk, CloseConnection, EndOfAudio, OpenStream, ProtocolViolation
from stream.server.protocols.wyoming import FrameReader, FrameTooBig, UtteranceProtocol

CHUNK = {"rate": 16_000, "width": 2, "channels": 1}


def frame(kind: str, data: dict[str, Any] | None = None, payload: bytes = b"", *, inline: bool = False) -> bytes:
    """Encode a frame; `inline` puts the data into the line, as old clients do."""
    data_bytes = b"" if inline or data is None else json.dumps(data).encode()
    header: dict[str, Any] = {"type": kind, "data_length": len(data_bytes), "payload_length": len(payload)}
    return json.dumps(header | ({"data": data} if inline else {})).encode() + b"\n" + data_bytes + payload


FRAMES = (
    frame("transcribe", {"language": "de"}, inline=True),
    frame("audio-chunk", CHUNK, b"\n{}\x00" * 8),
    b'{"type": "audio-stop"}\n',
    frame("x", {"a": "ä"}, b"{"),
)


@given(st.lists(st.sampled_from(FRAMES)), st.lists(st.integers(1, 40), min_size=1))
def test_frames_are_found_however_the_bytes_are_cut(sent: list[bytes], sizes: list[int]) -> None:
    reader, stream, found, position = FrameReader(max_bytes=1_000), b"".join(sent), [], 0
    while position < len(stream):
        size = sizes[position % len(sizes)]
        found += reader.feed(stream[position : position + size])
        position += size
    assert [one.raw for one in found] == sent
    assert reader.pending == b""


def test_data_is_read_from_the_line_and_from_behind_it() -> None:
    reader = FrameReader(max_bytes=1_000)
    inline, behind, without = reader.feed(b"".join(FRAMES[:3]))
    assert (inline.type, inline.data()) == ("transcribe", {"language": "de"})
    assert (behind.data(), behind.payload) == (CHUNK, b"\n{}\x00" * 8)
    assert without.data() == {}


@pytest.mark.parametrize(
    ("sent", "violation"),
    [
        (b"x" * 1_001, FrameTooBig),
        (b'{"type": "a", "payload_length": 1000}\n', FrameTooBig),
        (b'{"type": "a", "data_length": 99999999999999}\n', FrameTooBig),
        (b'{"type": "a", "data_length": -1}\n', ProtocolViolation),
        (b'{"type": "a", "payload_length": "many"}\n', ProtocolViolation),
        (b"GET / HTTP/1.1\r\n", ProtocolViolation),
        (b"[]\n", ProtocolViolation),
        (b"\xff\n", ProtocolViolation),
        (b'{"a":' * 70 + b"1" + b"}" * 70 + b"\n", ProtocolViolation),
    ],
)
def test_what_is_no_frame_is_a_violation(sent: bytes, violation: type[ProtocolViolation]) -> None:
    with pytest.raises(violation):
        FrameReader(max_bytes=1_000).feed(sent)


def test_data_that_is_no_object_is_a_violation() -> None:
    for sent in (b'{"type": "a", "data": 7}\n', b'{"type": "a", "data_length": 2}\n[]'):
        (found,) = FrameReader(max_bytes=1_000).feed(sent)
        with pytest.raises(ProtocolViolation):
            found.data()


def test_a_transcript_keeps_its_text_and_context() -> None:
    text = "Küche 照明 \ud83d"  # a lone surrogate, as JSON allows it
    (found,) = FrameReader(max_bytes=1_000).feed(frame("transcript", {"text": text, "context": {"id": 7}}))
    (told,) = FrameReader(max_bytes=1_000).feed(frame("transcript", {"text": "a"}))
    assert json.loads(wyoming.with_context(told, {"speaker": "Zoë"}).partition(b"\n")[2]) == {
        "text": "a",
        "context": {"speaker": "Zoë"},
    }
    sent = wyoming.with_context(found, {"speaker": "Zoë"}).partition(b"\n")[2].decode(errors="surrogatepass")
    assert json.loads(sent) == {"text": text, "context": {"id": 7, "speaker": "Zoë"}}


def test_an_utterance_is_a_stream_of_its_audio() -> None:
    protocol = UtteranceProtocol(source="assist", chunk={**CHUNK, "channels": 2})
    stereo = np.array([[100, 300], [-200, 0]], np.int16).tobytes()
    opened, audio = protocol.receive(stereo)
    assert opened == OpenStream("assist", 16_000, (None,), events=True)
    assert isinstance(audio, AudioChunk)
    assert np.allclose(audio.samples * 32_768, [200, -100])
    (more,) = protocol.receive(stereo + b"\x00")  # half a frame is left out
    assert isinstance(more, AudioChunk)
    assert more.start_frame == 2
    (end,) = protocol.receive(wyoming.AUDIO_STOP)
    assert isinstance(end, EndOfAudio)


@pytest.mark.parametrize("change", [{"width": 4}, {"channels": 0}, {"channels": 9}, {"rate": 0}, {"rate": None}])
def test_audio_of_another_format_is_not_analysed(change: dict[str, Any]) -> None:
    actions = UtteranceProtocol(source="assist", chunk={**CHUNK, **change}).receive(b"\0" * 8)
    assert isinstance(actions[-1], CloseConnection)
