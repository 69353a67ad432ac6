"""chan_websocket in both of its spellings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.server.protocols.asterisk import CODECS, AsteriskProtocol
from stream.server.protocols.base import SendMessage
from tests.server.protocols.exchanges import closed, feed, opened, sound, spans

PLAIN = "MEDIA_START connection_id:e226e283 channel:WebSocket/e226e283 format:ulaw optimal_frame_size:160"
JSON = {"event": "MEDIA_START", "connection_id": "media1", "channel": "WebSocket/media1/0x1", "format": "slin16"}


def test_the_plain_form() -> None:
    actions = feed(AsteriskProtocol(), PLAIN, bytes(160), "DTMF_END digit:5", bytes(160), "MEDIA_XOFF", bytes(80))
    made = opened(actions)
    assert (made.name, made.rate_hz, made.tracks, made.leg) == ("e226e283", 8_000, (None,), True)
    assert spans(actions) == [(0, 160), (160, 320), (320, 400)]


def test_the_json_form_and_linear_sound() -> None:
    tested = AsteriskProtocol(call="c9", party="agent")
    actions = feed(tested, JSON, {"event": "DTMF_END", "digit": "5"}, np.arange(4, dtype="<i2").tobytes())
    made = opened(actions)
    assert (made.name, made.rate_hz, made.tracks) == ("c9", 16_000, ("agent",))
    assert (sound(actions) * 32_768).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("codec", "rate_hz"), [(name, rate) for name, (_, rate) in CODECS.items()])
def test_every_codec_has_its_rate(codec: str, rate_hz: int) -> None:
    assert opened(feed(AsteriskProtocol(), {**JSON, "format": codec})).rate_hz == rate_hz


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ((bytes(160),), "before MEDIA_START"),
        (("MEDIA_START connection_id:x",), "format is missing"),
        (("MEDIA_START format:opus",), "codec must be one of"),
        ((PLAIN, PLAIN), "second MEDIA_START"),
        (("hello there",), "must be an event"),
        (("",), "must be an event"),
        ((JSON, b"\0"), "whole samples"),
        (({"event": 7},), "event is not text"),
    ],
)
def test_what_cannot_be_hangs_up(messages: tuple[Any, ...], words: str) -> None:
    actions = feed(AsteriskProtocol(), *messages)
    assert words in closed(actions).reason
    assert any(isinstance(action, SendMessage) and "HANGUP" in str(action.data) for action in actions)
