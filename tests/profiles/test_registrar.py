"""The commands `enroll` and `reload` on a running node."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from stream.events import ModelRef, SpeakerEvent, SpeakerResolvedEvent, TurnEvent
from stream.profiles.profile import EnrolledRecording, Exemplar, FittedCalibration
from stream.profiles.store import ProfileStore, read_profiles
from tests.profiles.examples import OTHER, recording
from tests.support.mosquitto import Broker
from tests.support.mqtt import mqtt_sink, subscriber
from tests.support.node import EnrolmentNode, ScriptedSource, Step
from tests.support.tones import tone, wav
from tests.support.waiting import wait_until

TONE_MODEL = ModelRef(name="tone-speaker", revision="7")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people" / "profiles.sqlite"


def run_script(node: EnrolmentNode, *steps: Step, hall: tuple[Step, ...] = ()) -> None:
    """Run a node to the end of its script; `hall` is the script of a second source."""

    async def run() -> None:
        sources = [ScriptedSource(*steps), *([ScriptedSource(*hall, name="hall")] if hall else [])]
        await node.assemble(*sources)
        await node.pipeline.run()

    asyncio.run(run())


def speakers(node: EnrolmentNode, source: str = "room") -> list[str]:
    """Return the names of the speakers, each once, in order."""
    names = [event.speaker for event in node.events if isinstance(event, SpeakerEvent) and event.source == source]
    return [name for name in dict.fromkeys(names) if name is not None]


def enrol_alice(path: Path) -> None:
    """Store a profile of voice `a` with a node of its own."""
    node = EnrolmentNode(path)

    async def enrol() -> None:
        await node.wait_voice("S1")
        assert (await node.ask(command="enroll", name="Alice", source="room"))["ok"]

    run_script(node, "aaaaaaa", enrol, "a")


def test_the_current_speaker_is_enrolled_and_named_in_later_events(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    node = EnrolmentNode(path)
    replies: list[dict[str, Any]] = []

    async def enrol() -> None:
        await node.wait_voice("S1")
        replies.append(await node.ask(command="enroll", name="Alice", source="room", id="7"))

    run_script(node, "aaaaaaa", enrol, "aaa-bbb")
    (reply,) = replies
    assert reply["ok"], reply
    assert reply["id"] == "7"
    assert {key: reply["result"][key] for key in ("name", "source", "voice")} == {
        "name": "Alice",
        "source": "room",
        "voice": "S1",
    }
    assert reply["result"]["speech_s"] >= 4.0
    assert speakers(node) == ["S1", "Alice", "S2"]
    (resolved,) = [event for event in node.events if isinstance(event, SpeakerResolvedEvent)]
    assert (resolved.previous, resolved.speaker, resolved.enrolled, resolved.start_s) == ("S1", "Alice", True, 0.0)
    first = next(event for event in node.events if isinstance(event, TurnEvent) and event.phase == "end")
    assert first.speaker == "Alice", "the open turn takes the name as well"
    (profile,) = read_profiles(path)
    assert profile.name == "Alice"
    assert (profile.recordings[0].kind, profile.recordings[0].origin) == ("stream", "room")
    assert profile.recordings[0].speech_s == pytest.approx(reply["result"]["speech_s"], abs=0.001)
    assert "Alice" not in caplog.text
    again = EnrolmentNode(path)
    run_script(again, "bbb-aaa")
    assert speakers(again) == ["S1", "Alice"], "the next run recognises the voice"


def test_all_streams_learn_a_name_and_lose_a_deleted_profile(path: Path) -> None:
    node, deleted = EnrolmentNode(path), asyncio.Event()
    replies: list[dict[str, Any]] = []

    async def enrol() -> None:
        await node.wait_voice("S1")
        await node.wait_voice("S1", source="hall", speech_s=1.0)
        replies.append(await node.ask(command="enroll", name="Alice", source="room", voice="S1"))

    async def delete() -> None:
        await node.wait_voice("Alice", source="hall")
        await wait_until(lambda: "Alice" in speakers(node))  # published in the room as well
        with ProfileStore(path) as store:
            store.delete("Alice")
        replies.append(await node.ask(command="reload"))
        assert node.pipeline.session_voice("hall", "Alice") == ("hall", None)
        deleted.set()

    run_script(node, "aaaaaaa", enrol, "aaaa", delete, "-aaa", hall=("bbbbbb", deleted.wait, "b"))
    assert [reply["ok"] for reply in replies] == [True, True], replies
    assert replies[1]["result"]["people"] == 0
    assert speakers(node) == ["S1", "Alice", "S2"], "a voice without a profile is discovered again"
    assert read_profiles(path) == ()


def test_a_profile_stored_during_the_run_is_known_after_a_reload(path: Path, tmp_path: Path) -> None:
    enrol_alice(path)
    moved = path.rename(tmp_path / "moved.sqlite")
    node = EnrolmentNode(path)
    replies: list[dict[str, Any]] = []

    async def reload() -> None:
        moved.rename(path)
        replies.append(await node.ask(command="reload"))

    run_script(node, "bb", reload, "-aaa")
    assert replies[0]["result"] == {"people": 1, "left_out": 0, "streams": 1}
    assert speakers(node) == ["S1", "Alice"]


def test_reload_applies_a_new_calibration_and_drops_a_cleared_one(path: Path) -> None:
    enrol_alice(path)
    node = EnrolmentNode(path)

    async def calibrate() -> None:
        await node.wait_voice("Alice")
        with ProfileStore(path) as store:
            store.set_calibration(FittedCalibration(TONE_MODEL, (20.0, 0.75, 0.0), 0.75, 40, 40))
        assert (await node.ask(command="reload"))["ok"]

    async def clear() -> None:
        with ProfileStore(path) as store:
            store.clear_calibration(TONE_MODEL)
        assert (await node.ask(command="reload"))["ok"]

    run_script(node, "aa", calibrate, "aaa", clear, "aa")
    scored = [event for event in node.events if isinstance(event, SpeakerEvent) and event.probability is not None]
    assert {event.threshold for event in scored} == {0.5, 0.75}
    assert (scored[0].threshold, scored[-1].threshold) == (0.5, 0.5)


def test_streams_that_open_after_a_reload_use_the_new_calibration(path: Path) -> None:
    enrol_alice(path)
    node = EnrolmentNode(path)

    async def reload() -> None:
        with ProfileStore(path) as store:
            store.set_calibration(FittedCalibration(TONE_MODEL, (20.0, 0.75, 0.0), 0.75, 40, 40))
        assert (await node.ask(command="reload"))["ok"]
        node.pipeline.add(ScriptedSource("aaa", name="late"))
        await wait_until(lambda: node.ended("late"))
        node.pipeline.stop()

    async def run() -> None:
        await node.assemble(ScriptedSource("-", reload), keep_running=True)
        await node.pipeline.run()

    asyncio.run(run())
    late = [event for event in node.events if isinstance(event, SpeakerEvent) and event.source == "late"]
    assert {event.threshold for event in late} == {0.75}
    assert speakers(node, "late") == ["Alice"]


def test_a_refused_enrolment_gives_the_reason_and_stores_nothing(path: Path) -> None:
    node = EnrolmentNode(path)
    errors: dict[str, str] = {}

    async def enrol_early() -> None:
        await node.wait_voice("S1", speech_s=0.5)
        for case, command in {
            "too short": {"name": "Al", "source": "room", "voice": "S1"},
            "no such voice": {"name": "Al", "source": "room", "voice": "S9"},
            "no such source": {"name": "Al", "source": "cellar"},
            "reserved name": {"name": "S4", "source": "room"},
        }.items():
            errors[case] = (await node.ask(command="enroll", **command))["error"]

    run_script(node, "aa", enrol_early)
    assert "cannot enrol 'S1' yet: " in errors["too short"]
    assert "at least 3 s needed" in errors["too short"]
    assert errors["no such voice"] == "'room' has no voice 'S9'"
    assert "source 'cellar'" in errors["no such source"]
    assert "reserved for voices discovered in a stream" in errors["reserved name"]
    assert not path.exists()


def test_without_a_recognised_speaker_enrolment_asks_for_a_retry(path: Path) -> None:
    node = EnrolmentNode(path)
    replies: list[dict[str, Any]] = []

    async def enrol() -> None:
        replies.append(await node.ask(command="enroll", name="Al", source="room"))

    run_script(node, "-", enrol)
    assert replies[0]["error"] == "no recognised voice is speaking in 'room'; retry while the person speaks"


def test_a_node_without_a_profile_database_refuses_enrolment(path: Path) -> None:
    node = EnrolmentNode("")
    replies: list[dict[str, Any]] = []

    async def ask() -> None:
        await node.wait_voice("S1")
        replies.append(await node.ask(command="enroll", name="Alice", source="room"))
        replies.append(await node.ask(command="reload"))

    run_script(node, "aaaaaa", ask)
    assert replies[0]["error"] == "this node keeps no profiles; set speakers.profiles"
    assert replies[1]["result"]["people"] == 0
    assert not path.exists()


def test_a_damaged_database_is_reported_and_the_voices_stay(path: Path) -> None:
    node = EnrolmentNode(path)
    replies: list[dict[str, Any]] = []

    async def damage() -> None:
        await node.wait_voice("S1")
        await node.ask(command="enroll", name="Alice", source="room")
        path.write_bytes(b"no database " * 500)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        replies.append(await node.ask(command="reload"))

    run_script(node, "aaaaaaa", damage, "-aa")
    assert "is damaged" in replies[0]["error"]
    assert speakers(node) == ["S1", "Alice"]


def test_a_voice_enrolled_under_another_name_is_refused_unless_allowed(path: Path) -> None:
    replies: list[dict[str, Any]] = []
    node = EnrolmentNode(path)

    async def enrol() -> None:
        await node.wait_voice("S1")
        with ProfileStore(path, create=True) as store:  # stored during the run, so that this node does not know it yet
            _, voice = node.pipeline.session_voice("room", "S1")
            assert voice is not None
            exemplars = tuple(Exemplar(vector, speech_s) for vector, speech_s in voice.recent)
            store.add("Alice", EnrolledRecording(TONE_MODEL, "stream", "hall", 6.0, exemplars))
        replies.append(await node.ask(command="enroll", name="Alice2", source="room"))
        replies.append(await node.ask(command="enroll", name="Alice2", source="room", allow_similar=True))

    run_script(node, "aaaaaaa", enrol, "a")
    assert replies[0]["error"].startswith("too alike: 'Alice' or 'Alice2'")
    assert replies[1]["ok"]


def test_a_run_starts_without_a_damaged_database_and_says_so(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    enrol_alice(path)
    data = bytearray(path.read_bytes())
    data[100] ^= 255  # the type of the first page
    path.write_bytes(data)
    node = EnrolmentNode(path, enrolled={"Bob": str(wav(tmp_path / "b.wav", tone(1_100.0, 5.0, level=0.3)))})
    run_script(node, "aaaa-bbb")
    assert speakers(node) == ["S1", "Bob"]
    assert "nobody with a stored profile is recognised" in caplog.text
    assert "is damaged" in caplog.text
    assert path.read_bytes() == data


def test_a_name_in_the_settings_takes_precedence_over_the_database(path: Path, tmp_path: Path) -> None:
    enrol_alice(path)
    file = wav(tmp_path / "b.wav", tone(1_100.0, 5.0, level=0.3))
    node = EnrolmentNode(path, enrolled={"Alice": str(file)})
    run_script(node, "bbb-aaa")
    assert speakers(node) == ["Alice", "S1"]


def test_profiles_of_other_models_are_counted_without_logging_their_names(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ProfileStore(path, create=True) as store:
        store.add("Mathilda", recording(model=OTHER))
    node = EnrolmentNode(path)
    replies: list[dict[str, Any]] = []

    async def reload() -> None:
        replies.append(await node.ask(command="reload"))

    run_script(node, "aa", reload)
    assert replies[0]["result"] == {"people": 0, "left_out": 1, "streams": 1}
    assert "1 of 1 profiles have no x-vectors of tone-speaker 7" in caplog.text
    assert "tonewatch profiles list" in caplog.text
    assert "run with `--preset tiny`" in caplog.text
    assert "Mathilda" not in caplog.text


def test_commands_arrive_through_an_mqtt_broker(path: Path, tmp_path: Path) -> None:
    node = EnrolmentNode(path)
    topic, corrections = "home/kitchen/response", "home/kitchen/room/speaker_resolved"

    async def run() -> None:
        sink = mqtt_sink(broker.port, commands=["enroll", "reload"])
        async with subscriber(broker.port) as received:

            async def request(**command: str) -> None:
                count = len(received.payloads(topic))
                async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                    await client.publish("home/kitchen/command", json.dumps(command), qos=1)
                await received.until(lambda: len(received.payloads(topic)) > count)

            async def ask() -> None:
                await node.wait_voice("S1")
                await request(command="enroll", name="Alice", source="room")
                await request(command="reload")

            await node.assemble(ScriptedSource("aaaaaaa", ask, "aa-a"), sinks={"mqtt": sink})
            sink.attach(node.dispatcher.answer)
            await node.pipeline.run()
            replies = [json.loads(payload) for payload in received.payloads(topic)]
            assert [reply["ok"] for reply in replies] == [True, True], replies
            assert replies[1]["result"] == {"people": 1, "left_out": 0, "streams": 1}
            await received.until(lambda: bool(received.payloads(corrections)))
            assert json.loads(received.payloads(corrections)[0])["speaker"] == "Alice"

    with Broker(tmp_path) as broker:
        asyncio.run(run())
