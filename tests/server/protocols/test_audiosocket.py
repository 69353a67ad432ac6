"""AudioSocket packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.server.protocols.audiosocket import RATES_HZ, AudioSocketProtocol
from stream.server.protocols.base import MAX_RATE_HZ, EndOfAudio, OpenStream, SendMessage, SetRate
from tests.server.protocols.exchanges import closed, feed, kinds, opened, spans, violation
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
    if rate_hz > MAX_RATE_HZ:
        assert f"{rate_hz} Hz is left out" in violation(actions)
    else:
        assert SetRate(rate_hz) in actions


@pytest.mark.parametrize(
    ("data", "fragment"), [(AUDIO_PACKET, "first packet must be a UUID"), (b"\x01\x00\x02ab", "16 bytes")]
)
def test_a_connection_without_a_uuid_is_refused_with_a_hang_up_alone(data: bytes, fragment: str) -> None:
    actions = feed(AudioSocketProtocol(), data)
    assert fragment in closed(actions).reason
    assert [action.data for action in actions if isinstance(action, SendMessage)] == [HANG_UP_PACKET]


@pytest.mark.parametrize(
    ("packet", "fragment"),
    [
        (UUID_PACKET, "repeated UUID"),
        (b"\x02\x00\x06\x01\x35\x00\x00\x00\x00", "0x02 are skipped"),
        (b"\x77\xff\xff" + bytes(0xFFFF), "0x77 are skipped"),
        (b"\x10\x00\x03abc", "whole 2-byte samples"),
    ],
)
def test_a_call_goes_on_without_a_packet_that_is_not_understood(packet: bytes, fragment: str) -> None:
    tested = AudioSocketProtocol()
    actions = feed(tested, UUID_PACKET, AUDIO_PACKET, packet, AUDIO_PACKET)
    assert fragment in violation(actions)
    assert sum(end - start for start, end in spans(actions)) in (320, 321)
    assert not any(isinstance(action, SendMessage) for action in actions)


def test_a_change_of_the_sample_rate_is_resampled() -> None:
    tested = AudioSocketProtocol()
    feed(tested, UUID_PACKET, AUDIO_PACKET)
    wide = b"\x12\x02\x80" + bytes(640)
    actions = feed(tested, *[wide] * 50)
    assert "resampled" in violation(actions)
    assert sum(end - start for start, end in spans(actions)) == pytest.approx(50 * 160, abs=640)  # it holds some back


def test_skipped_packets_are_reported_once_by_type() -> None:
    tested = AudioSocketProtocol()
    feed(tested, UUID_PACKET)
    silence = b"\x02\x00\x00"
    assert len(feed(tested, silence * 5_000)) == 1
    assert not tested.closed


def test_an_error_or_a_hang_up_ends_the_audio() -> None:
    assert kinds(feed(AudioSocketProtocol(), UUID_PACKET, b"\xff\x00\x01\x04")) == [OpenStream, EndOfAudio]
    assert kinds(feed(AudioSocketProtocol(), HANG_UP_PACKET)) == [EndOfAudio]


@pytest.mark.parametrize("packet", [b"\x10\x00\x00", b"\x03\x00\x00", b"\x77\x00\x00", AUDIO_PACKET])
def test_every_packet_of_a_read_counts_as_a_message(packet: bytes) -> None:
    """So that `serve.messages_per_s` holds for packets of three bytes as well."""
    protocol = AudioSocketProtocol()
    feed(protocol, UUID_PACKET, 1_000 * packet, packet[:2], packet[2:])
    assert protocol.messages == 1_003  # a read of half a packet is one
