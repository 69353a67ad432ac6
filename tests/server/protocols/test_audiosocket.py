"""AudioSocket packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.server.protocols.audiosocket import RATES_HZ, AudioSocketProtocol
from stream.server.protocols.base import EndOfAudio, OpenStream, SendMessage, SetRate
from tests.server.protocols.exchanges import closed, feed, kinds, opened, spans
from tests.server.protocols.messages import AUDIO_PACKET, CALL_UUID, HANG_UP_PACKET, UUID_PACKET


def test_a_whole_call() -> None:
    actions = feed(AudioSocketProtocol(), UUID_PACKET, AUDIO_PACKET, b"\x03\x00\x015", AUDIO_PACKET, HANG_UP_PACKET)
    stream = opened(actions)
    assert (stream.name, stream.tracks, stream.leg) == (str(CALL_UUID), (None,), True)
    assert SetRate(8_000) in actions
    assert spans(actions) == [(0, 160), (160, 320)]
    assert isinstance(actions[-1], EndOfAudio)


@given(sizes=st.lists(st.integers(1, 60), max_size=40))
def test_packets_may_be_split_anywhere(sizes: list[int]) -> None:
    data = UUID_PACKET + AUDIO_PACKET + b"\x03\x00\x01#" + AUDIO_PACKET + HANG_UP_PACKET
    chunks, offset = [], 0
    for size in sizes:
        chunks.append(data[offset : offset + size])
        offset += size
    actions = feed(AudioSocketProtocol(), *chunks, data[offset:])
    whole = feed(AudioSocketProtocol(), data)
    assert kinds(actions) == kinds(whole)
    assert spans(actions) == spans(whole)


@pytest.mark.parametrize(("index", "rate_hz"), list(enumerate(RATES_HZ)))
def test_every_rate_has_its_packet_type(index: int, rate_hz: int) -> None:
    actions = feed(AudioSocketProtocol(), UUID_PACKET, bytes((0x10 + index, 0, 2, 0, 0)))
    assert SetRate(rate_hz) in actions


@pytest.mark.parametrize(
    ("data", "fragment"),
    [
        (AUDIO_PACKET, "first packet must be a UUID"),
        (b"\x01\x00\x02ab", "16 bytes"),
        (UUID_PACKET + UUID_PACKET, "one UUID"),
        (UUID_PACKET + b"\x10\x00\x03", "whole 2-byte samples"),
        (UUID_PACKET + b"\x77\x00\x00", "unknown packet type 0x77"),
        (UUID_PACKET + b"\x03\x00\x02", "one digit"),
        (UUID_PACKET + AUDIO_PACKET + b"\x12\x00\x02\x00\x00", "rate must not change"),
    ],
)
def test_a_violation_is_answered_with_an_error_packet(data: bytes, fragment: str) -> None:
    actions = feed(AudioSocketProtocol(), data)
    assert fragment in closed(actions).reason
    assert SendMessage(b"\xff\x00\x01\x01\x00\x00\x00") in actions


def test_an_error_or_a_hang_up_ends_the_audio() -> None:
    assert kinds(feed(AudioSocketProtocol(), UUID_PACKET, b"\xff\x00\x01\x04")) == [OpenStream, EndOfAudio]
    assert kinds(feed(AudioSocketProtocol(), HANG_UP_PACKET)) == [EndOfAudio]
