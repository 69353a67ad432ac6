"""Media streams as Twilio and Telnyx write them down."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import numpy as np
import pytest

from stream.audio.g711 import MU_LAW
from stream.server.protocols.base import EndOfAudio
from stream.server.protocols.twilio import HELD, TwilioProtocol
from tests.server.protocols.exchanges import closed, feed, kinds, opened, sound, spans
from tests.server.telephone import StereoCall, twilio_messages

CALL = StereoCall(
    np.arange(1_600, dtype=np.int64).astype(np.uint8), np.arange(1_600, dtype=np.int64)[::-1].astype(np.uint8)
)
MESSAGES = twilio_messages(CALL, name="CA7")


def heard(*messages: Any) -> list[Any]:
    return feed(TwilioProtocol(), *messages)


def test_a_whole_stream() -> None:
    actions = heard(*MESSAGES)
    made = opened(actions)
    assert (made.name, made.rate_hz, made.tracks) == ("CA7", 8_000, ("customer", "agent"))
    assert isinstance(actions[-1], EndOfAudio)
    for track, data in enumerate((CALL.customer, CALL.agent)):
        assert np.array_equal(sound(actions, track) * 32_768, MU_LAW[data])
        assert spans(actions, track) == [(place, place + 160) for place in CALL.chunks()]


def test_messages_out_of_order_are_put_in_order() -> None:
    mixed = MESSAGES[:1]
    for place in range(1, len(MESSAGES), 6):
        some = MESSAGES[place : place + 6]
        random.Random(place).shuffle(some)
        mixed += some
    expected, actions = heard(*MESSAGES), heard(*mixed, *mixed[3:5])
    assert kinds(actions) == kinds(expected)
    assert np.array_equal(sound(actions, 1), sound(expected, 1))


def test_a_lost_chunk_is_a_gap_of_its_length_once_it_is_given_up() -> None:
    long = twilio_messages(StereoCall(np.tile(CALL.customer, 10), np.tile(CALL.agent, 10)))
    lost = [message for number, message in enumerate(long) if number not in (10, 12, 14, 16, 18)]
    before, after = spans(heard(*long)), spans(heard(*lost))
    assert set(before) - set(after) == {(160 * place, 160 * place + 160) for place in range(4, 9)}
    assert set(after) < set(before)
    waiting = heard(*lost[: 10 + HELD // 2])
    assert spans(waiting)[-1] == (480, 640), "it is waited for"


def test_jitter_of_the_stamps_is_no_gap() -> None:
    moved = json.loads(json.dumps(MESSAGES))
    for number, message in enumerate(moved):
        if message["event"] == "media":
            stamp = int(message["media"]["timestamp"])
            message["media"]["timestamp"] = str(stamp + (number * 7) % 40)
    assert spans(heard(*moved)) == spans(heard(*MESSAGES))


def test_what_was_held_back_is_heard_when_the_connection_breaks() -> None:
    tested = TwilioProtocol()
    feed(tested, *MESSAGES[:4], *MESSAGES[5:8])
    rest = tested.hung_up()
    assert len(spans(rest, 0) + spans(rest, 1)) == 3


def test_telnyx_writes_with_underscores() -> None:
    shape = {"encoding": "PCMU", "sample_rate": 8_000, "channels": 1}
    start = {"call_control_id": "v3:abc", "media_format": shape, "custom_parameters": {}}
    payload = base64.b64encode(bytes(160)).decode()
    media = {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": payload}
    actions = heard(
        {"event": "connected", "version": "1.0.0"},
        {"event": "start", "sequence_number": "1", "start": start, "stream_id": "s"},
        {"event": "media", "sequence_number": "2", "media": media, "stream_id": "s"},
        {"event": "dtmf", "sequence_number": "3", "dtmf": {"digit": "1"}, "stream_id": "s"},
        {"event": "stop", "sequence_number": "4", "stop": {}, "stream_id": "s"},
    )
    assert opened(actions).name == "v3:abc"
    assert spans(actions) == [(0, 160)]
    assert isinstance(actions[-1], EndOfAudio)


def test_the_inbound_track_may_be_the_agent() -> None:
    start = json.loads(json.dumps(MESSAGES[1]))
    start["start"]["customParameters"] = {"inbound": "agent", "call": "mine"}
    made = opened(heard(start))
    assert (made.name, made.tracks) == ("mine", ("agent", "customer"))


def test_one_track_is_a_call_of_one_party() -> None:
    start = json.loads(json.dumps(MESSAGES[1]))
    start["start"]["tracks"] = ["inbound"]
    assert opened(heard(start)).tracks == ("customer",)


def test_a_stream_without_the_token_is_turned_away() -> None:
    tested = TwilioProtocol(admits=lambda parameters: parameters.get("token") == "open sesame")
    assert closed(feed(tested, *MESSAGES[:2])).code == 1008
    shuffled = TwilioProtocol(admits=lambda _: False)
    assert closed(feed(shuffled, MESSAGES[3], MESSAGES[2], MESSAGES[1])).code == 1008, "also with media behind it"
    tested = TwilioProtocol(admits=lambda parameters: parameters.get("token") == "open sesame")
    start = json.loads(json.dumps(MESSAGES[1]))
    start["start"]["customParameters"] = {"token": "open sesame"}
    assert opened(feed(tested, start)).name == "CA7"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"event": "media", "sequenceNumber": "2", "media": {"timestamp": "0", "payload": "?"}}, "base64"),
        ({"event": "media", "sequenceNumber": "2", "media": {"timestamp": "x", "payload": ""}}, "whole number"),
        ({"event": "media", "sequenceNumber": "2", "media": {"timestamp": "0", "payload": 7}}, "payload is not text"),
        ({"event": "media", "sequenceNumber": "2", "media": {"track": "x", "timestamp": "0", "payload": ""}}, "track"),
        ({"event": "media", "sequenceNumber": "2", "media": {"timestamp": "9" * 9, "payload": "AA=="}}, "jumps"),
        ({"event": "start", "sequenceNumber": "2", "start": {}}, "second start"),
        ({"event": "party", "sequenceNumber": "2"}, "event must be"),
        ({"event": "media", "sequenceNumber": -2, "media": {}}, "sequenceNumber"),
        ({"event": "media", "sequenceNumber": "2"}, "media is missing"),
        (b"\0\1", "text messages"),
    ],
)
def test_what_cannot_be_ends_the_stream(message: Any, words: str) -> None:
    assert words in closed(heard(*MESSAGES[:2], message)).reason
