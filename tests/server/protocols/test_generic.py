"""Our own protocol, message by message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.server.protocols.base import RejectReason
from stream.server.protocols.generic import GenericProtocol
from tests.server.protocols.exchanges import closed, feed, kinds, opened, replies, sound, spans
from tests.sinks import examples

START = {"type": "start", "rate_hz": 48_000, "channels": 1, "format": "s16le", "source": "desk", "events": True}


def test_a_whole_conversation() -> None:
    tested = GenericProtocol()
    (made,) = feed(tested, START)
    assert opened([made]).tracks == (None,)
    assert replies(tested.started("desk-2")) == [{"type": "started", "source": "desk-2", "schema": 1}]
    heard = feed(tested, np.arange(4, dtype="<i2").tobytes(), np.arange(2, dtype="<i2").tobytes())
    assert spans(heard) == [(0, 4), (4, 6)]
    assert replies(tested.tell(examples.event(examples.turn(1))))[0]["type"] == "turn"
    assert kinds(feed(tested, {"type": "stop"})) == ["End"]
    last = tested.finished()
    assert replies(last) == [{"type": "stopped"}]
    assert closed(last).code == 1000
    assert not feed(tested, b"\0\0")


def test_two_parties_are_told_apart() -> None:
    tested = GenericProtocol()
    start = {"type": "start", "rate_hz": 8_000, "channels": 2, "call": "c7", "parties": ["agent", "customer"]}
    made = opened(feed(tested, start))
    assert (made.name, made.tracks, made.leg) == ("c7", ("agent", "customer"), False)
    heard = feed(tested, np.array([[1, 2], [3, 4]], "<i2").tobytes())
    assert (sound(heard, 0) * 32_768).tolist() == [1, 3]
    assert (sound(heard, 1) * 32_768).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate_hz": 100}, "rate_hz must be from"),
        ({"rate_hz": "48000"}, "rate_hz is not a whole number"),
        ({"rate_hz": True}, "rate_hz is not a whole number"),
        ({"channels": 2}, "channels must be 1"),
        ({"format": "mp3"}, "format must be s16le or f32le"),
        ({"format": []}, "format must be"),
        ({"source": "x" * 65}, "64 letters"),
        ({"parties": ["customer"]}, "call is missing"),
        ({"parties": ["customer", "customer"], "call": "x"}, "one or two different parties"),
        ({"parties": ["boss"], "call": "x"}, "must be customer or agent"),
        ({"volume": 11}, "a start has no volume"),
        ({"type": "begin"}, "type must be start or stop"),
        ({"events": 1}, "events is not true or false"),
    ],
)
def test_a_bad_start_is_told_what_is_wrong(change: dict[str, Any], words: str) -> None:
    actions = feed(GenericProtocol(), {**START, **change})
    (error,) = replies(actions)
    assert (error["type"], error["code"]) == ("error", "malformed")
    assert words in error["message"]
    assert closed(actions).code == 1003


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ((b"\0\0",), "sound came before the start"),
        (({"type": "stop"},), "a stop came before"),
        ((START, START), "a second start"),
        ((START, b"\0"), "whole frames"),
        (({**START, "format": "f32le"}, np.array([np.nan], "<f4").tobytes()), "no numbers"),
        ((START, {"type": "stop"}, b"\0\0"), "nothing may follow a stop"),
        (("[1]",), "not a JSON object"),
        (("{",), "not JSON"),
        (("[" * 100_000,), "nested too deeply"),
    ],
)
def test_what_comes_out_of_turn_ends_it(messages: tuple[Any, ...], words: str) -> None:
    actions = feed(GenericProtocol(), *messages)
    assert words in replies(actions)[-1]["message"]
    assert closed(actions).code == 1003


@pytest.mark.parametrize(
    ("fault", "code"), [(RejectReason.TOO_BIG, 1009), (RejectReason.STOPPING, 1001), (RejectReason.IDLE, 1008)]
)
def test_limits_have_their_codes(fault: RejectReason, code: int) -> None:
    tested = GenericProtocol()
    assert closed(tested.refuse(fault, "why")).code == code
    assert not tested.refuse(fault, "again"), "once is enough"
