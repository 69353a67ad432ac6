"""AudioHook sessions, after the protocol reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.audio.g711 import MU_LAW
from stream.server.protocols.audiohook import NULL_UUID, AudioHookProtocol
from stream.server.protocols.base import Action, EndOfAudio, RejectReason, SendMessage
from tests.server.protocols.exchanges import audio, closed, feed, kinds, opened, replies, spans, violation
from tests.server.protocols.messages import AGENT_CHANNEL, AUDIOHOOK_OPEN, AUDIOHOOK_SESSION, BOTH_CHANNELS
from tests.support import examples


class Client:
    """A client that numbers its messages and checks the server's numbers."""

    def __init__(self, tested: AudioHookProtocol) -> None:
        self.tested, self.seq, self.server_seq = tested, 0, 0

    def send(self, kind: str, parameters: Any = None, **changed: Any) -> list[Action]:
        self.seq += 1
        message = {"version": "2", "type": kind, "seq": self.seq, "serverseq": self.server_seq, "id": AUDIOHOOK_SESSION}
        actions = feed(
            self.tested,
            {**message, "position": "PT0S", "parameters": {} if parameters is None else parameters, **changed},
        )
        return self.check(actions)

    def check(self, actions: list[Action]) -> list[Action]:
        for reply in replies(actions):
            assert reply["seq"] == self.server_seq + 1, "the server's numbers increase by one"
            assert (reply["version"], reply["id"]) == ("2", AUDIOHOOK_SESSION)
            self.server_seq = reply["seq"]
        return actions


def open_session() -> Client:
    client = Client(AudioHookProtocol(session=AUDIOHOOK_SESSION))
    client.send("open", AUDIOHOOK_OPEN)
    return client


def test_a_whole_session() -> None:
    client = Client(AudioHookProtocol(session=AUDIOHOOK_SESSION, organization=AUDIOHOOK_OPEN["organizationId"]))
    actions = client.send("open", AUDIOHOOK_OPEN)
    stream = opened(actions)
    assert (stream.name, stream.tracks, stream.events) == (
        AUDIOHOOK_OPEN["conversationId"],
        ("customer", "agent"),
        True,
    )
    (answer,) = replies(actions)
    assert (answer["type"], answer["clientseq"]) == ("opened", 1)
    assert answer["parameters"] == {"startPaused": False, "media": [BOTH_CHANNELS]}
    frames = np.arange(400, dtype=np.int64).astype(np.uint8).reshape(-1, 2)
    actions = feed(client.tested, frames.tobytes())
    for track in (0, 1):
        assert np.array_equal(audio(actions, track) * 32_768, MU_LAW[frames[:, track]])
    (pong,) = replies(client.send("ping", {"rtt": "PT0.1S"}))
    assert (pong["type"], pong["clientseq"]) == ("pong", 2)
    assert replies(client.send("update", {"language": "es"}))[0]["type"] == "updated"
    assert kinds(client.send("close", {"reason": "end"})) == [EndOfAudio]
    last = client.check(client.tested.audio_finished())
    assert [reply["type"] for reply in replies(last)] == ["closed"]
    assert closed(last).code == 1000


def test_events_are_sent_as_entities_with_the_calls_figures() -> None:
    client = open_session()
    assert not client.tested.encode_event(examples.event(examples.alert()))
    assert not client.tested.encode_event(examples.event(examples.turn(1, "start")))
    assert not client.tested.encode_event(examples.event(examples.turn(1)))
    assert not client.tested.encode_event(examples.event(examples.emotion()))
    (event,) = replies(client.check(client.tested.encode_event(examples.event(examples.call()))))
    assert event["type"] == "event"
    entities = event["parameters"]["entities"]
    assert [one["type"] for one in entities] == ["tonewatch"] * 3
    assert [one["data"]["type"] for one in entities] == ["alert", "turn", "call"]
    client.tested.encode_event(examples.event(examples.turn(2)))
    client.send("close", {"reason": "end"})
    rest = replies(client.check(client.tested.audio_finished()))
    assert [message["type"] for message in rest] == ["event", "closed"]


def test_a_probe_is_answered_without_a_call() -> None:
    client = Client(AudioHookProtocol(session=AUDIOHOOK_SESSION))
    probe = {**AUDIOHOOK_OPEN, "conversationId": NULL_UUID, "participant": {"id": NULL_UUID}}
    actions = client.send("open", probe)
    assert kinds(actions) == [SendMessage]
    assert replies(actions)[0]["type"] == "opened"
    assert not feed(client.tested, bytes(320))
    last = client.send("close", {"reason": "end"})
    assert [reply["type"] for reply in replies(last)] == ["closed"]
    assert closed(last).code == 1000


def test_what_was_discarded_is_a_gap() -> None:
    client = open_session()
    first = feed(client.tested, bytes(1_600))
    client.send("discarded", {"start": "PT0.1S", "discarded": "PT1.5S"})
    second = feed(client.tested, bytes(1_600))
    client.send("paused", {})
    client.send("resumed", {"start": "PT1.7S", "discarded": "PT2S"})
    third = feed(client.tested, bytes(1_600))
    assert spans(first + second + third) == [(0, 800), (12_800, 13_600), (29_600, 30_400)]


def test_one_channel_is_a_call_of_one_party() -> None:
    client = Client(AudioHookProtocol())
    assert opened(client.send("open", {**AUDIOHOOK_OPEN, "media": [AGENT_CHANNEL]})).tracks == ("agent",)


def test_a_shutdown_of_the_server_is_a_disconnect() -> None:
    client = open_session()
    actions = client.check(client.tested.reject(RejectReason.STOPPING, "node is shutting down"))
    assert replies(actions)[0]["parameters"] == {"reason": "completed", "info": "node is shutting down"}
    assert closed(actions).code == 1001


@pytest.mark.parametrize(
    ("kind", "parameters", "changed", "fragment"),
    [
        ("ping", {}, {"seq": 1}, "seq must increase"),
        ("ping", {}, {"serverseq": 9}, "not sent"),
        ("ping", {}, {"id": "other"}, "does not match the session"),
        ("ping", {}, {"version": "1"}, "version must be 2"),
        ("ping", 3, {}, "parameters is not an object"),
        ("dance", {}, {}, "unknown message type"),
        ("open", AUDIOHOOK_OPEN, {}, "repeated open"),
        ("discarded", {"discarded": "2 s"}, {}, "ISO 8601 duration"),
        ("discarded", {"discarded": "PT99999999S"}, {}, "ISO 8601 duration"),
    ],
)
def test_a_malformed_message_is_left_out(kind: str, parameters: Any, changed: dict[str, Any], fragment: str) -> None:
    client = open_session()
    assert fragment in violation(client.send(kind, parameters, **changed))
    assert not client.tested.closed
    assert spans(feed(client.tested, bytes(320))), "the call goes on"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"media": []}, "error"),
        ({"media": [{**BOTH_CHANNELS, "format": "L16"}]}, "error"),
        ({"media": [{**BOTH_CHANNELS, "channels": [["x"], 1]}]}, "error"),
        ({"media": ["PCMU"]}, "error"),
        ({"organizationId": "another"}, "unauthorized"),
    ],
)
def test_an_open_that_cannot_be_served_is_a_disconnect(change: dict[str, Any], reason: str) -> None:
    client = Client(AudioHookProtocol(session=AUDIOHOOK_SESSION, organization=AUDIOHOOK_OPEN["organizationId"]))
    (answer,) = replies(client.send("open", {**AUDIOHOOK_OPEN, **change}))
    assert (answer["type"], answer["parameters"]["reason"]) == ("disconnect", reason)


def test_audio_outside_an_open_session_is_a_disconnect() -> None:
    assert closed(feed(AudioHookProtocol(), bytes(320))).code == 1003
    client = open_session()
    client.send("paused", {})
    assert "paused" in violation(feed(client.tested, bytes(320)))
    odd = feed(open_session().tested, bytes(321))
    assert "whole frames" in violation(odd)
    assert spans(odd) == [(0, 160)]
