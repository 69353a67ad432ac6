"""chan_websocket in plain form and as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.server.protocols.asterisk import CODECS, AsteriskProtocol
from stream.server.protocols.base import SendMessage
from tests.server.protocols.exchanges import audio, feed, opened, spans, violation
from tests.server.protocols.messages import MEDIA_START, MEDIA_START_JSON


def test_the_plain_form() -> None:
    actions = feed(AsteriskProtocol(), MEDIA_START, bytes(160), "DTMF_END digit:5", bytes(160), "MEDIA_XOFF", bytes(80))
    stream = opened(actions)
    assert (stream.name, stream.rate_hz, stream.tracks, stream.leg) == ("e226e283", 8_000, (None,), True)
    assert spans(actions) == [(0, 160), (160, 320), (320, 400)]


def test_the_json_form_and_linear_pcm() -> None:
    tested = AsteriskProtocol(parameters={"call": "c9", "party": "agent"})
    actions = feed(tested, MEDIA_START_JSON, {"event": "DTMF_END", "digit": "5"}, np.arange(4, dtype="<i2").tobytes())
    stream = opened(actions)
    assert (stream.name, stream.rate_hz, stream.tracks) == ("c9", 16_000, ("agent",))
    assert (audio(actions) * 32_768).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("codec", "rate_hz"), [(name, rate) for name, (_, rate) in CODECS.items()])
def test_every_codec_has_its_rate(codec: str, rate_hz: int) -> None:
    assert opened(feed(AsteriskProtocol(), {**MEDIA_START_JSON, "format": codec})).rate_hz == rate_hz


@pytest.mark.parametrize(
    ("messages", "fragment"),
    [
        ((bytes(160),), "before MEDIA_START"),
        (("MEDIA_START connection_id:x",), "format is missing"),
        (("MEDIA_START format:opus",), "unsupported codec"),
        ((MEDIA_START, MEDIA_START), "repeated MEDIA_START"),
        (("hello there",), "chan_websocket event"),
        (("",), "chan_websocket event"),
        ((MEDIA_START_JSON, b"\0"), "whole 2-byte samples"),
        (({"event": 7},), "event is not text"),
    ],
)
def test_a_violation_hangs_up_before_the_call_and_is_left_out_of_it(messages: tuple[Any, ...], fragment: str) -> None:
    tested = AsteriskProtocol()
    actions = feed(tested, *messages)
    assert fragment in violation(actions)
    hung_up = any(isinstance(action, SendMessage) and "HANGUP" in str(action.data) for action in actions)
    assert hung_up == tested.closed != tested.is_open
