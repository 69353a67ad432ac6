"""A running node learns whom it knows: `enroll` and `reload`, as they come from outside."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import soundfile

from stream.events import SpeakerEvent, SpeakerResolvedEvent, TurnEvent
from stream.profiles.store import ProfileStore, profiles_in
from tests.profiles.examples import OTHER, recording
from tests.profiles.node import Node, Script, Step, second
from tests.sinks.mqtt.wires import sink, subscriber
from tests.support.fakes import ListSink
from tests.support.mosquitto import Broker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people" / "profiles.sqlite"


def hold(node: Node, *steps: Step, others: tuple[Step, ...] = ()) -> ListSink:
    """Run a node through a script, to its end."""
    told = ListSink()

    async def run() -> None:
        sources = [Script(*steps), Script(*others, name="hall")] if others else [Script(*steps)]
        await node.assemble(sources, {"sink": told})
        await node.pipeline.run()

    asyncio.run(run())
    return told


def speakers(told: ListSink, source: str = "room") -> list[str | None]:
    """Who spoke, each once, in order."""
    found = [event.speaker for event in told.events if isinstance(event, SpeakerEvent) and event.source == source]
    return [who for who in dict.fromkeys(found) if who is not None]


def test_the_current_speaker_is_enrolled_and_told_by_name_from_then_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    node, answers = Node(path), []

    async def ask() -> None:
        await node.heard("S1")
        answers.append(await node.ask(command="enroll", name="Alice", source="room", id="7"))

    told = hold(node, "aaaaaaa", ask, "aaa-bbb")
    (answer,) = answers
    assert answer["ok"], answer
    assert answer["id"] == "7"
    assert {key: answer["result"][key] for key in ("name", "source", "voice")} == {
        "name": "Alice",
        "source": "room",
        "voice": "S1",
    }
    assert answer["result"]["speech_s"] >= 4.0
    assert speakers(told) == ["S1", "Alice", "S2"]
    (resolved,) = [event for event in told.events if isinstance(event, SpeakerResolvedEvent)]
    assert (resolved.was, resolved.speaker, resolved.enrolled, resolved.start_s) == ("S1", "Alice", True, 0.0)
    first = next(event for event in told.events if isinstance(event, TurnEvent) and event.phase == "end")
    assert first.speaker == "Alice", "the open turn goes under the name, too"
    (profile,) = profiles_in(path)
    assert profile.name == "Alice"
    assert (profile.recordings[0].kind, profile.recordings[0].origin) == ("stream", "room")
    assert profile.recordings[0].speech_s == pytest.approx(answer["result"]["speech_s"], abs=0.001)
    assert "Alice" not in caplog.text
    again = hold(Node(path), "bbb-aaa")
    assert speakers(again) == ["S1", "Alice"], "the next run knows her, and the stranger is one again"


def test_all_streams_learn_a_name_and_forget_who_was_deleted(path: Path) -> None:
    node, answers, over = Node(path), [], asyncio.Event()

    async def enrol() -> None:
        await node.heard("S1")
        await node.heard("S1", source="hall", seconds=1.0)
        answers.append(await node.ask(command="enroll", name="Alice", source="room", voice="S1"))

    async def delete() -> None:
        await node.heard("Alice", source="hall")
        with ProfileStore(path) as store:
            store.delete("Alice")
        answers.append(await node.ask(command="reload"))
        assert node.pipeline.met("hall", "Alice") == ("hall", None)
        over.set()

    told = hold(node, "aaaaaaa", enrol, "aaaa", delete, "-aaa", others=("bbbbbb", over.wait, "b"))
    assert [answer["ok"] for answer in answers] == [True, True], answers
    assert answers[1]["result"]["people"] == 0
    assert speakers(told) == ["S1", "Alice", "S2"], "a voice is met anew when nobody is to know it any more"
    assert profiles_in(path) == ()


def test_whoever_is_stored_while_it_runs_is_known_after_a_reload(path: Path, tmp_path: Path) -> None:
    first = Node(path)

    async def enrol() -> None:
        await first.heard("S1")
        await first.ask(command="enroll", name="Alice", source="room")

    hold(first, "aaaaaaa", enrol, "a")
    away = path.rename(tmp_path / "away.sqlite")
    node, answers = Node(path), []

    async def reload() -> None:
        away.rename(path)
        answers.append(await node.ask(command="reload"))

    told = hold(node, "bb", reload, "-aaa")
    assert answers[0]["result"] == {"people": 1, "left_out": 0, "streams": 1}
    assert speakers(told) == ["S1", "Alice"]


def test_what_cannot_be_enrolled_is_refused_with_the_reason_and_nothing_is_stored(path: Path) -> None:
    node = Node(path)
    refused: dict[str, str] = {}

    async def early() -> None:
        await node.heard("S1", seconds=0.5)
        for why, command in {
            "short": {"name": "Al", "source": "room", "voice": "S1"},
            "nobody": {"name": "Al", "source": "room", "voice": "S9"},
            "nowhere": {"name": "Al", "source": "cellar"},
            "a stream's name": {"name": "S4", "source": "room"},
        }.items():
            refused[why] = (await node.ask(command="enroll", **command))["error"]

    hold(node, "aa", early)
    assert "S1 cannot be enrolled yet: there are" in refused["short"]
    assert "3 s are needed" in refused["short"]
    assert refused["nobody"] == "'room' has met no 'S9'"
    assert "no source 'cellar'" in refused["nowhere"]
    assert "what a stream calls" in refused["a stream's name"]
    assert not path.exists()


def test_a_node_without_a_file_of_profiles_says_so(path: Path) -> None:
    node, answers = Node(""), []

    async def ask() -> None:
        await node.heard("S1")
        answers.append(await node.ask(command="enroll", name="Alice", source="room"))
        answers.append(await node.ask(command="reload"))

    hold(node, "aaaaaa", ask)
    assert answers[0]["error"] == "this node keeps no profiles; set speakers.profiles"
    assert answers[1]["result"]["people"] == 0
    assert not path.exists()


def test_a_broken_file_is_answered_and_the_voices_stay(path: Path) -> None:
    node, answers = Node(path), []

    async def enrol() -> None:
        await node.heard("S1")
        await node.ask(command="enroll", name="Alice", source="room")
        path.write_bytes(b"no database " * 500)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        answers.append(await node.ask(command="reload"))

    told = hold(node, "aaaaaaa", enrol, "-aa")
    assert "is damaged" in answers[0]["error"]
    assert speakers(told) == ["S1", "Alice"]


def test_a_name_in_the_settings_goes_before_the_same_name_in_the_file(path: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "b.wav", second("b").repeat(1, axis=0).reshape(-1).tolist() * 5, 16_000)
    first = Node(path)

    async def enrol() -> None:
        await first.heard("S1")
        await first.ask(command="enroll", name="Alice", source="room")

    hold(first, "aaaaaaa", enrol, "a")
    told = hold(Node(path, enrolled={"Alice": str(tmp_path / "b.wav")}), "bbb-aaa")
    assert speakers(told) == ["Alice", "S1"]


def test_people_whom_other_models_heard_are_left_out_and_counted_without_their_names(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ProfileStore(path, create=True) as store:
        store.add("Mathilda", recording(model=OTHER))
    answers: list[dict[str, Any]] = []
    node = Node(path)

    async def ask() -> None:
        answers.append(await node.ask(command="reload"))

    hold(node, "aa", ask)
    assert answers[0]["result"] == {"people": 0, "left_out": 1, "streams": 1}
    assert "1 of 1 people in the file of profiles are not known to fake-speaker 0" in caplog.text
    assert "tonewatch profiles list" in caplog.text
    assert "Mathilda" not in caplog.text


def test_it_is_asked_over_a_real_broker(path: Path, tmp_path: Path) -> None:
    node = Node(path)

    async def talk() -> None:
        out = sink(broker.port, commands=["enroll", "reload"])
        async with subscriber(broker.port) as heard:
            topic = "home/kitchen/response"

            async def ask() -> None:
                await node.heard("S1")
                async with aiomqtt.Client("127.0.0.1", broker.port) as us:
                    await us.publish(
                        "home/kitchen/command", '{"command": "enroll", "name": "Alice", "source": "room"}', qos=1
                    )
                    await heard.until(lambda: len(heard.payloads(topic)) == 1)
                    await us.publish("home/kitchen/command", '{"command": "reload"}', qos=1)
                    await heard.until(lambda: len(heard.payloads(topic)) == 2)

            await node.assemble([Script("aaaaaaa", ask, "aa-a")], {"mqtt": out})
            out.attach(node.control.answer)
            await node.pipeline.run()
            replies = [json.loads(payload) for payload in heard.payloads(topic)]
            assert [reply["ok"] for reply in replies] == [True, True], replies
            assert replies[1]["result"] == {"people": 1, "left_out": 0, "streams": 1}
            corrected = "home/kitchen/room/speaker_resolved"
            await heard.until(lambda: bool(heard.payloads(corrected)))
            assert json.loads(heard.payloads(corrected)[0])["speaker"] == "Alice"

    with Broker(tmp_path) as broker:
        asyncio.run(talk())
