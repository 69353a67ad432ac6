"""tonewatch's own protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.server.protocols.base import EndOfAudio, RejectReason
from stream.server.protocols.generic import GenericProtocol
from tests.server.protocols.exchanges import audio, closed, feed, kinds, opened, replies, spans, violation
from tests.server.protocols.messages import GENERIC_START
from tests.support import examples


def test_a_whole_exchange() -> None:
    tested = GenericProtocol()
    assert opened(feed(tested, GENERIC_START)).tracks == (None,)
    assert replies(tested.stream_opened("desk-2")) == [{"type": "started", "source": "desk-2", "schema": 2}]
    actions = feed(tested, np.arange(4, dtype="<i2").tobytes(), np.arange(2, dtype="<i2").tobytes())
    assert spans(actions) == [(0, 4), (4, 6)]
    assert replies(tested.encode_event(examples.event(examples.turn(1))))[0]["type"] == "turn"
    assert kinds(feed(tested, {"type": "stop"})) == [EndOfAudio]
    last = tested.audio_finished()
    assert replies(last) == [{"type": "stopped"}]
    assert closed(last).code == 1000
    assert not feed(tested, b"\0\0")


def test_a_call_has_a_track_per_party() -> None:
    tested = GenericProtocol()
    start = {"type": "start", "rate_hz": 8_000, "channels": 2, "call": "c7", "parties": ["agent", "customer"]}
    stream = opened(feed(tested, start))
    assert (stream.name, stream.tracks, stream.leg) == ("c7", ("agent", "customer"), False)
    actions = feed(tested, np.array([[1, 2], [3, 4]], "<i2").tobytes())
    assert (audio(actions, 0) * 32_768).tolist() == [1, 3]
    assert (audio(actions, 1) * 32_768).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"rate_hz": 100}, "rate_hz must be from"),
        ({"rate_hz": "48000"}, "rate_hz is not a whole number"),
        ({"rate_hz": True}, "rate_hz is not a whole number"),
        ({"channels": 2}, "channels must be 1"),
        ({"age_s": -1}, "age_s must be from 0 to 300"),
        ({"age_s": float("nan")}, "age_s must be from 0 to 300"),
        ({"age_s": True}, "age_s must be from 0 to 300"),
        ({"format": "mp3"}, "format must be s16le or f32le"),
        ({"format": []}, "format must be"),
        ({"source": "x" * 65}, "at most 64"),
        ({"parties": ["customer"]}, "call is missing"),
        ({"parties": ["customer", "customer"], "call": "x"}, "one or two different parties"),
        ({"parties": ["boss"], "call": "x"}, "must be customer or agent"),
        ({"volume": 11}, "unknown field 'volume'"),
        ({"type": "begin"}, "type must be start, call or stop"),
        ({"events": 1}, "events is not true or false"),
    ],
)
def test_an_invalid_start_is_answered_with_the_reason(change: dict[str, Any], fragment: str) -> None:
    actions = feed(GenericProtocol(), {**GENERIC_START, **change})
    (error,) = replies(actions)
    assert (error["type"], error["code"]) == ("error", "malformed")
    assert fragment in error["message"]
    assert closed(actions).code == 1003


@pytest.mark.parametrize(
    ("messages", "fragment"),
    [
        ((b"\0\0",), "audio before start"),
        (({"type": "stop"},), "stop before start"),
        ((GENERIC_START, GENERIC_START), "repeated start"),
        ((GENERIC_START, b"\0"), "whole frames"),
        (({**GENERIC_START, "format": "f32le"}, np.array([np.nan], "<f4").tobytes()), "samples must be numbers"),
        ((GENERIC_START, {"type": "stop"}, b"\0\0"), "no message may follow stop"),
        (("[1]",), "not a JSON object"),
        (("{",), "not JSON"),
        (("[" * 100_000,), "nested too deeply"),
    ],
)
def test_a_violation_ends_the_connection_unless_audio_flows(messages: tuple[Any, ...], fragment: str) -> None:
    tested = GenericProtocol()
    actions = feed(tested, *messages)
    assert fragment in violation(actions)
    if tested.closed:
        assert fragment in replies(actions)[-1]["message"]
        assert closed(actions).code == 1003
    else:
        assert tested.is_open
        assert replies(tested.left_out("odd")) == [{"type": "warning", "message": "odd"}]


@pytest.mark.parametrize(
    ("reason", "code"), [(RejectReason.TOO_BIG, 1009), (RejectReason.STOPPING, 1001), (RejectReason.IDLE, 1008)]
)
def test_reasons_have_their_close_codes(reason: RejectReason, code: int) -> None:
    tested = GenericProtocol()
    assert closed(tested.reject(reason, "why")).code == code
    assert not tested.reject(reason, "again"), "a connection is closed once"
