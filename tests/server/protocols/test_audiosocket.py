"""AudioSocket, byte by byte."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.server.protocols.audiosocket import RATES_HZ, AudioSocketProtocol
from stream.server.protocols.base import EndOfAudio, SendMessage, SetRate
from tests.server.protocols.exchanges import closed, feed, kinds, opened, spans

NAME = uuid.UUID("046c4321-1f3d-4d4c-8f0a-6b3f6b2e9a11")
HELLO = b"\x01\x00\x10" + NAME.bytes
SOUND = b"\x10\x01\x40" + np.arange(160, dtype="<i2").tobytes()
BYE = b"\x00\x00\x00"


def test_a_whole_call() -> None:
    actions = feed(AudioSocketProtocol(), HELLO, SOUND, b"\x03\x00\x015", SOUND, BYE)
    made = opened(actions)
    assert (made.name, made.tracks, made.leg) == (str(NAME), (None,), True)
    assert SetRate(8_000) in actions
    assert spans(actions) == [(0, 160), (160, 320)]
    assert isinstance(actions[-1], EndOfAudio)


@given(cuts=st.lists(st.integers(1, 60), max_size=40))
def test_it_does_not_matter_how_the_bytes_come(cuts: list[int]) -> None:
    data = HELLO + SOUND + b"\x03\x00\x01#" + SOUND + BYE
    tested, pieces, place = AudioSocketProtocol(), [], 0
    for cut in cuts:
        pieces.append(data[place : place + cut])
        place += cut
    actions = feed(tested, *pieces, data[place:])
    whole = feed(AudioSocketProtocol(), data)
    assert kinds(actions) == kinds(whole)
    assert spans(actions) == spans(whole)


@pytest.mark.parametrize(("place", "rate_hz"), list(enumerate(RATES_HZ)))
def test_every_rate_has_its_type(place: int, rate_hz: int) -> None:
    actions = feed(AudioSocketProtocol(), HELLO, bytes((0x10 + place, 0, 2, 0, 0)))
    assert SetRate(rate_hz) in actions


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SOUND, "first packet must be a UUID"),
        (b"\x01\x00\x02ab", "16 bytes"),
        (HELLO + HELLO, "one UUID"),
        (HELLO + b"\x10\x00\x03", "whole samples"),
        (HELLO + b"\x77\x00\x00", "no packet of type 0x77"),
        (HELLO + b"\x03\x00\x02", "one digit"),
        (HELLO + SOUND + b"\x12\x00\x02\x00\x00", "rate changed"),
    ],
)
def test_what_cannot_be_is_answered_with_an_error_packet(data: bytes, words: str) -> None:
    actions = feed(AudioSocketProtocol(), data)
    assert words in closed(actions).reason
    assert SendMessage(b"\xff\x00\x01\x01\x00\x00\x00") in actions


def test_a_channel_that_fails_has_ended() -> None:
    assert kinds(feed(AudioSocketProtocol(), HELLO, b"\xff\x00\x01\x04")) == ["Open", "End"]
    assert kinds(feed(AudioSocketProtocol(), BYE)) == ["End"]
