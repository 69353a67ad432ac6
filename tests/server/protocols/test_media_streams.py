"""Plivo's and Exotel's dialects of media streams, by their documentation's messages."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from stream.audio.g711 import MU_LAW
from stream.server.protocols.base import EndOfAudio
from stream.server.protocols.exotel import ExotelProtocol
from stream.server.protocols.plivo import PlivoProtocol
from tests.server.protocols.exchanges import audio, closed, feed, opened, spans, violation
from tests.server.protocols.messages import EXOTEL_START, PLIVO_START, exotel_media, plivo_media

PCM = np.arange(160, dtype="<i2")


def plivo(*messages: Any, **parameters: str) -> list[Any]:
    return feed(PlivoProtocol(parameters=parameters), *messages)


def exotel(*messages: Any, **parameters: str) -> list[Any]:
    return feed(ExotelProtocol(parameters=parameters), {"event": "connected"}, *messages)


def test_plivo_stamps_both_tracks_with_the_time_of_day() -> None:
    media = [
        plivo_media(number, PCM.tobytes(), track=track) for number in (1, 2, 3) for track in ("inbound", "outbound")
    ]
    media[4]["media"]["timestamp"] = media[5]["media"]["timestamp"] = "1778597598071"
    numbered = [{**message, "sequenceNumber": number} for number, message in enumerate(media, 1)]
    actions = plivo(PLIVO_START, *numbered, {"event": "stop", "sequenceNumber": 7, "stop": {}})
    stream = opened(actions)
    assert (stream.name, stream.rate_hz, stream.tracks) == (
        "5401fd2e-6344-40df-a22c-c8ffea7a92e7", 8_000, ("customer", "agent"),
    )  # fmt: skip
    assert stream.labels == {"agent": "Grace"}
    assert [spans(actions, track) for track in (0, 1)] == [[(0, 160), (160, 320), (8_000, 8_160)]] * 2
    assert (audio(actions, 1)[:160] * 32_768).tolist() == PCM.tolist()
    assert isinstance(actions[-1], EndOfAudio)


@pytest.mark.parametrize(
    "text", ["inbound=agent,caller=492", "inbound=agent;caller=492", '{"X-PH-inbound": "agent", "X-PH-caller": "492"}']
)
def test_plivos_extra_headers(text: str) -> None:
    stream = opened(plivo({**PLIVO_START, "extra_headers": text}))
    assert (stream.tracks, stream.labels) == (("agent", "customer"), {"caller": "492"})


@pytest.mark.parametrize("text", [7, None, "{", "=" * 5_000, "a=b" * 5_000, '{"a": [{"b": 1}]}'])
def test_extra_headers_that_say_nothing_are_left_out(text: Any) -> None:
    assert opened(plivo({**PLIVO_START, "extra_headers": text})).labels == {}


def test_plivo_sends_mu_law_at_16_khz_or_8() -> None:
    start = {**PLIVO_START["start"], "tracks": ["inbound"]}
    start["mediaFormat"] = {"encoding": "audio/x-mulaw", "sampleRate": 8_000}
    data = np.arange(160, dtype=np.uint8)
    actions = plivo({**PLIVO_START, "start": start}, plivo_media(1, data.tobytes()), call="c9")
    assert (opened(actions).name, opened(actions).tracks) == ("c9", ("customer",))
    assert np.array_equal(audio(actions) * 32_768, MU_LAW[data])


def test_exotel_sends_the_callers_audio_as_linear_pcm() -> None:
    chunks = [exotel_media(number, np.full(800, number, "<i2").tobytes()) for number in (1, 2, 3)]
    actions = exotel(EXOTEL_START, *chunks, {"event": "stop", "sequence_number": "5", "stop": {"reason": "callended"}})
    stream = opened(actions)
    assert (stream.name, stream.rate_hz, stream.tracks) == ("CA7", 8_000, ("customer",))
    assert stream.labels == {"caller": "+919876543210", "called": "+918047491899", "queue": "sales"}
    assert spans(actions) == [(0, 800), (800, 1_600), (1_600, 2_400)], "the first chunk is stamped with 100 ms"
    assert isinstance(actions[-1], EndOfAudio)


@pytest.mark.parametrize("encoding", sorted(ExotelProtocol.encodings))
def test_exotels_names_of_encodings(encoding: str) -> None:
    media_format = {"encoding": encoding, "sample_rate": "16000", "bit_rate": "16"}
    start = {**EXOTEL_START["start"], "media_format": media_format}
    assert opened(exotel({**EXOTEL_START, "start": start})).rate_hz == 16_000


@pytest.mark.parametrize(
    ("actions", "fragment"),
    [
        (plivo({**PLIVO_START, "start": {"mediaFormat": {"encoding": "opus"}}}), "one of audio/x-l16, audio/x-mulaw"),
        (exotel({**EXOTEL_START, "start": {"media_format": {"encoding": "mp3"}}}), "encoding must be one of"),
        (exotel(exotel_media(1, bytes(320))), "media before start"),
    ],
)
def test_a_violation_before_the_call_closes_the_connection(actions: list[Any], fragment: str) -> None:
    assert fragment in closed(actions).reason


def test_an_odd_payload_is_left_out_of_an_open_call() -> None:
    odd = plivo_media(1, b"")
    odd["media"]["payload"] = base64.b64encode(bytes(3)).decode()
    assert "whole 2-byte samples" in violation(plivo(PLIVO_START, odd))
