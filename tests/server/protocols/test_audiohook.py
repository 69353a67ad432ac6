"""AudioHook sessions after the protocol's own reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.audio.g711 import MU_LAW
from stream.server.protocols.audiohook import NULL_UUID, AudioHookProtocol
from stream.server.protocols.base import Action, RejectReason
from tests.server.protocols.exchanges import closed, feed, kinds, opened, replies, sound, spans
from tests.sinks import examples

SESSION = "30b0e395-84d3-4570-ac13-9a62d8f514c0"
BOTH = {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}
ONE = {**BOTH, "channels": ["internal"]}
OPEN = {
    "organizationId": "d7934305-0972-4844-938e-9060eef73d05",
    "conversationId": "090eaa2f-72fa-480a-83e0-8667ff89c0ec",
    "participant": {"id": "883efee8-3d6c-4537-b500-6d7ca4b92fa0", "ani": "+1", "aniName": "", "dnis": "+2"},
    "media": [ONE, BOTH],
    "language": "en-US",
}


class Client:
    """Numbers messages as a client does."""

    def __init__(self, tested: AudioHookProtocol) -> None:
        self.tested, self.seq, self.server_seq = tested, 0, 0

    def say(self, kind: str, parameters: Any = None, **changed: Any) -> list[Action]:
        self.seq += 1
        message = {"version": "2", "type": kind, "seq": self.seq, "serverseq": self.server_seq, "id": SESSION}
        actions = feed(
            self.tested,
            {**message, "position": "PT0S", "parameters": {} if parameters is None else parameters, **changed},
        )
        return self.heard(actions)

    def heard(self, actions: list[Action]) -> list[Action]:
        for reply in replies(actions):
            assert reply["seq"] == self.server_seq + 1, "the server counts up by one"
            assert (reply["version"], reply["id"]) == ("2", SESSION)
            self.server_seq = reply["seq"]
        return actions


def begun() -> Client:
    client = Client(AudioHookProtocol(session=SESSION))
    client.say("open", OPEN)
    return client


def test_a_whole_session() -> None:
    client = Client(AudioHookProtocol(session=SESSION, organization=OPEN["organizationId"]))  # type: ignore[arg-type]
    actions = client.say("open", OPEN)
    made = opened(actions)
    assert (made.name, made.tracks, made.events) == (OPEN["conversationId"], ("customer", "agent"), True)
    (answer,) = replies(actions)
    assert (answer["type"], answer["clientseq"]) == ("opened", 1)
    assert answer["parameters"] == {"startPaused": False, "media": [BOTH]}
    frames = np.arange(400, dtype=np.int64).astype(np.uint8).reshape(-1, 2)
    heard = feed(client.tested, frames.tobytes())
    for track in (0, 1):
        assert np.array_equal(sound(heard, track) * 32_768, MU_LAW[frames[:, track]])
    (pong,) = replies(client.say("ping", {"rtt": "PT0.1S"}))
    assert (pong["type"], pong["clientseq"]) == ("pong", 2)
    assert replies(client.say("update", {"language": "es"}))[0]["type"] == "updated"
    assert kinds(client.say("close", {"reason": "end"})) == ["End"]
    last = client.heard(client.tested.finished())
    assert [reply["type"] for reply in replies(last)] == ["closed"]
    assert closed(last).code == 1000


def test_findings_go_back_as_entities_at_most_once_a_second() -> None:
    client = begun()
    assert not client.tested.tell(examples.event(examples.alert()))
    assert not client.tested.tell(examples.event(examples.turn(1, "start")))
    assert not client.tested.tell(examples.event(examples.turn(1)))
    assert not client.tested.tell(examples.event(examples.emotion()))
    (event,) = replies(client.heard(client.tested.tell(examples.event(examples.call()))))
    assert event["type"] == "event"
    entities = event["parameters"]["entities"]
    assert [one["type"] for one in entities] == ["tonewatch"] * 3
    assert [one["data"]["type"] for one in entities] == ["alert", "turn", "call"]
    client.tested.tell(examples.event(examples.turn(2)))
    client.say("close", {"reason": "end"})
    rest = replies(client.heard(client.tested.finished()))
    assert [message["type"] for message in rest] == ["event", "closed"]


def test_a_probe_is_answered_without_a_call() -> None:
    client = Client(AudioHookProtocol(session=SESSION))
    probe = {**OPEN, "conversationId": NULL_UUID, "participant": {"id": NULL_UUID}}
    actions = client.say("open", probe)
    assert kinds(actions) == ["Reply"]
    assert replies(actions)[0]["type"] == "opened"
    assert not feed(client.tested, bytes(320))
    last = client.say("close", {"reason": "end"})
    assert [reply["type"] for reply in replies(last)] == ["closed"]
    assert closed(last).code == 1000


def test_what_was_discarded_is_a_gap() -> None:
    client = begun()
    first = feed(client.tested, bytes(1_600))
    client.say("discarded", {"start": "PT0.1S", "discarded": "PT1.5S"})
    second = feed(client.tested, bytes(1_600))
    client.say("paused", {})
    client.say("resumed", {"start": "PT1.7S", "discarded": "PT2S"})
    third = feed(client.tested, bytes(1_600))
    assert spans(first + second + third) == [(0, 800), (12_800, 13_600), (29_600, 30_400)]


def test_one_channel_is_a_call_of_one_party() -> None:
    client = Client(AudioHookProtocol())
    assert opened(client.say("open", {**OPEN, "media": [ONE]})).tracks == ("agent",)


def test_a_stop_of_ours_is_a_disconnect() -> None:
    client = begun()
    actions = client.heard(client.tested.refuse(RejectReason.STOPPING, "this node is stopping"))
    assert replies(actions)[0]["parameters"] == {"reason": "completed", "info": "this node is stopping"}
    assert closed(actions).code == 1001


@pytest.mark.parametrize(
    ("kind", "parameters", "changed", "words"),
    [
        ("ping", {}, {"seq": 7}, "seq must count up"),
        ("ping", {}, {"serverseq": 9}, "never sent"),
        ("ping", {}, {"id": "other"}, "of another connection"),
        ("ping", {}, {"version": "1"}, "version must be 2"),
        ("ping", 3, {}, "parameters is not an object"),
        ("dance", {}, {}, "no message of a client"),
        ("open", OPEN, {}, "second open"),
        ("discarded", {"discarded": "2 s"}, {}, "duration like"),
        ("discarded", {"discarded": "PT99999999S"}, {}, "duration like"),
    ],
)
def test_what_cannot_be_is_a_disconnect(kind: str, parameters: Any, changed: dict[str, Any], words: str) -> None:
    actions = begun().say(kind, parameters, **changed)
    last = replies(actions)[-1]
    assert (last["type"], last["parameters"]["reason"]) == ("disconnect", "error")
    assert words in last["parameters"]["info"]
    assert closed(actions).code == 1003


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"media": []}, "error"),
        ({"media": [{**BOTH, "format": "L16"}]}, "error"),
        ({"media": [{**BOTH, "channels": [["x"], 1]}]}, "error"),
        ({"media": ["PCMU"]}, "error"),
        ({"organizationId": "somebody else"}, "unauthorized"),
    ],
)
def test_an_open_that_does_not_fit_is_a_disconnect(change: dict[str, Any], reason: str) -> None:
    client = Client(AudioHookProtocol(session=SESSION, organization=str(OPEN["organizationId"])))
    (answer,) = replies(client.say("open", {**OPEN, **change}))
    assert (answer["type"], answer["parameters"]["reason"]) == ("disconnect", reason)


def test_sound_at_the_wrong_time_is_a_disconnect() -> None:
    assert closed(feed(AudioHookProtocol(), bytes(320))).code == 1003
    client = begun()
    client.say("paused", {})
    assert "paused" in closed(feed(client.tested, bytes(320))).reason
    assert "whole frames" in closed(feed(begun().tested, bytes(321))).reason
