"""Media streams as documented by Twilio and Telnyx."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import numpy as np
import pytest

from stream.audio.g711 import MU_LAW
from stream.server.protocols.base import MAX_MALFORMED, EndOfAudio
from stream.server.protocols.twilio import MAX_REORDERED_MESSAGES, TwilioProtocol
from tests.server.protocols.exchanges import audio, closed, feed, kinds, opened, spans, violation
from tests.server.telephone import StereoCall, twilio_messages

CALL = StereoCall(
    np.arange(1_600, dtype=np.int64).astype(np.uint8), np.arange(1_600, dtype=np.int64)[::-1].astype(np.uint8)
)
MESSAGES = twilio_messages(CALL, name="CA7")


def process(*messages: Any) -> list[Any]:
    return feed(TwilioProtocol(), *messages)


def test_a_whole_stream() -> None:
    actions = process(*MESSAGES)
    stream = opened(actions)
    assert (stream.name, stream.rate_hz, stream.tracks) == ("CA7", 8_000, ("customer", "agent"))
    assert isinstance(actions[-1], EndOfAudio)
    for track, data in enumerate((CALL.customer, CALL.agent)):
        assert np.array_equal(audio(actions, track) * 32_768, MU_LAW[data])
        assert spans(actions, track) == [(start, start + 160) for start in CALL.chunks()]


def test_messages_out_of_order_are_put_in_order() -> None:
    shuffled = MESSAGES[:1]
    for index in range(1, len(MESSAGES), 6):
        group = MESSAGES[index : index + 6]
        random.Random(index).shuffle(group)
        shuffled += group
    expected, actions = process(*MESSAGES), process(*shuffled, *shuffled[3:5])
    assert kinds(actions) == kinds(expected)
    assert np.array_equal(audio(actions, 1), audio(expected, 1))


def test_a_lost_chunk_is_a_gap_of_its_length() -> None:
    long = twilio_messages(StereoCall(np.tile(CALL.customer, 10), np.tile(CALL.agent, 10)))
    lost = [message for number, message in enumerate(long) if number not in (10, 12, 14, 16, 18)]
    before, after = spans(process(*long)), spans(process(*lost))
    assert set(before) - set(after) == {(160 * index, 160 * index + 160) for index in range(4, 9)}
    assert set(after) < set(before)
    waiting = process(*lost[: 10 + MAX_REORDERED_MESSAGES // 2])
    assert spans(waiting)[-1] == (480, 640), "later messages wait for the missing one"


def test_jitter_of_the_timestamps_is_no_gap() -> None:
    jittered = json.loads(json.dumps(MESSAGES))
    for number, message in enumerate(jittered):
        if message["event"] == "media":
            timestamp = int(message["media"]["timestamp"])
            message["media"]["timestamp"] = str(timestamp + (number * 7) % 40)
    assert spans(process(*jittered)) == spans(process(*MESSAGES))


def test_waiting_messages_are_processed_when_the_connection_breaks() -> None:
    tested = TwilioProtocol()
    feed(tested, *MESSAGES[:4], *MESSAGES[5:8])
    rest = tested.peer_closed()
    assert len(spans(rest, 0) + spans(rest, 1)) == 3


def test_telnyx_uses_snake_case() -> None:
    shape = {"encoding": "PCMU", "sample_rate": 8_000, "channels": 1}
    start = {"call_control_id": "v3:abc", "media_format": shape, "custom_parameters": {}}
    payload = base64.b64encode(bytes(160)).decode()
    media = {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": payload}
    actions = process(
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
    stream = opened(process(start))
    assert (stream.name, stream.tracks) == ("mine", ("agent", "customer"))


def test_one_track_is_a_call_of_one_party() -> None:
    start = json.loads(json.dumps(MESSAGES[1]))
    start["start"]["tracks"] = ["inbound"]
    assert opened(process(start)).tracks == ("customer",)


def test_a_stream_without_the_token_is_rejected() -> None:
    tested = TwilioProtocol(is_authorized=lambda parameters: parameters.get("token") == "open sesame")
    assert closed(feed(tested, *MESSAGES[:2])).code == 1008
    reordered = TwilioProtocol(is_authorized=lambda _: False)
    assert closed(feed(reordered, MESSAGES[3], MESSAGES[2], MESSAGES[1])).code == 1008, "with media waiting as well"
    tested = TwilioProtocol(is_authorized=lambda parameters: parameters.get("token") == "open sesame")
    start = json.loads(json.dumps(MESSAGES[1]))
    start["start"]["customParameters"] = {"token": "open sesame"}
    assert opened(feed(tested, start)).name == "CA7"


@pytest.mark.parametrize(
    ("message", "fragment"),
    [
        ({"event": "media", "sequenceNumber": "2", "media": {"timestamp": "0", "payload": "?"}}, "base64"),
        ({"event": "media", "sequenceNumber": "2", "media": {"timestamp": "x", "payload": ""}}, "whole number"),
        ({"event": "media", "sequenceNumber": "2", "media": {"timestamp": "0", "payload": 7}}, "payload is not text"),
        ({"event": "media", "sequenceNumber": "2", "media": {"track": "x", "timestamp": "0", "payload": ""}}, "track"),
        ({"event": "media", "sequenceNumber": "2", "media": {"timestamp": "9" * 9, "payload": "AA=="}}, "jumps"),
        ({"event": "start", "sequenceNumber": "2", "start": {}}, "repeated start"),
        ({"event": "party", "sequenceNumber": "2"}, "event must be"),
        ({"event": "media", "sequenceNumber": -2, "media": {}}, "sequenceNumber"),
        ({"event": "media", "sequenceNumber": "2"}, "media is missing"),
        (b"\0\1", "must be text"),
    ],
)
def test_a_malformed_message_is_left_out(message: Any, fragment: str) -> None:
    tested = TwilioProtocol()
    assert fragment in violation(feed(tested, *MESSAGES[:2], message))
    assert spans(feed(tested, *MESSAGES[2:10])), "the call goes on"


def test_a_flood_of_malformed_messages_ends_the_stream() -> None:
    tested = TwilioProtocol()
    feed(tested, *MESSAGES[:2])
    for _ in range(MAX_MALFORMED):
        assert not tested.receive("{")[1:]
    assert "too many malformed messages" in closed(tested.receive("{")).reason
