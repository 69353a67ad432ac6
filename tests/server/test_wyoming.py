"""The Wyoming door on loopback: a real client and service of the protocol's own library on its two sides."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, async_read_event
from wyoming.info import Describe, Info
from wyoming.wake import Detection

from stream.errors import SettingsError
from stream.events import SpeakerEvent, TurnEvent
from stream.server.announcement import SERVICE_TYPE, announced
from stream.tracking.voice import Voice
from stream.types import SAMPLE_RATE_HZ, Samples, Task
from tests.support.node import NetworkNode, network_node
from tests.support.speech_to_text import INFO, TEXT, SpeechToText, speech_to_text
from tests.support.tones import ToneModel, tone
from tests.support.waiting import wait_until

ALICE_HZ, STRANGER_HZ = 400.0, 1_900.0
MODELS = (ToneModel(Task.SPEAKER), ToneModel(Task.EMOTION))
CHUNK_SAMPLES = 512


def pcm(samples: Samples) -> bytes:
    return (samples * 32_767).astype("<i2").tobytes()


ALICE = pcm(tone(ALICE_HZ, 6.0, level=0.3))


@asynccontextmanager
async def proxy(service: SpeechToText | str, **serve: Any) -> AsyncIterator[NetworkNode]:
    """Run a node that knows Alice, in front of a service or an address."""
    upstream = service if isinstance(service, str) else service.address
    voice = Voice(
        name="Alice", exemplars=[MODELS[0]._values(tone(ALICE_HZ, 2.0, level=0.3))], enrolled=True, evidence_s=9.0
    )
    async with network_node(
        models=MODELS, enrolled=[voice], serve={"wyoming_port": 0, "wyoming_upstream": upstream, **serve}
    ) as node:
        yield node


async def say(
    port: int, audio: bytes = ALICE, *, before_stop: Callable[[], Awaitable[None]] | None = None
) -> list[Event]:
    """Send an utterance as Home Assistant does; return all events up to the transcript."""
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Transcribe(language="de").event())
        await client.write_event(AudioStart(rate=SAMPLE_RATE_HZ, width=2, channels=1).event())
        for start in range(0, len(audio), CHUNK_SAMPLES * 2):
            chunk = AudioChunk(SAMPLE_RATE_HZ, 2, 1, audio[start : start + CHUNK_SAMPLES * 2])
            await client.write_event(chunk.event())
        if before_stop is not None:
            await before_stop()
        await client.write_event(AudioStop().event())
        answers: list[Event] = []
        while (event := await client.read_event()) is not None:
            answers.append(event)
            if Transcript.is_type(event.type):
                break
        return answers


async def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def test_audio_and_transcript_pass_unchanged_and_the_speaker_is_published_before() -> None:
    async def check() -> None:
        async with speech_to_text() as service, proxy(service, wyoming_wait_s=5.0) as node:
            (answer,) = await say(node.listener.wyoming_port)
            (turn,) = [event for event in node.events if isinstance(event, TurnEvent) and event.phase == "end"]
            assert (turn.source, turn.speaker, turn.emotion) == ("assist", "Alice", "happy")
            assert service.audio == ALICE
            assert service.received[0].data == {"language": "de"}
            assert answer.data == {"text": TEXT, "context": {"id": 7}}
            (counted,) = node.gateway.statistics().protocols
            assert (counted.protocol, counted.accepted, counted.refused) == ("wyoming", 1, {})

    asyncio.run(check())


@pytest.mark.slow
def test_a_client_is_told_the_speaker_where_it_reads_that() -> None:
    async def check() -> None:
        tell = {"wyoming_tell": ["context", "detection"], "wyoming_wait_s": 5.0}
        async with speech_to_text() as service, proxy(service, **tell) as node:
            told, transcript = await say(node.listener.wyoming_port)
            assert Detection.from_event(told).speaker == "Alice"
            assert Transcript.from_event(transcript).text == TEXT
            context = transcript.data["context"]
            assert (context["id"], context["speaker"], context["emotion"]) == (7, "Alice", "happy")
            stranger = pcm(tone(STRANGER_HZ, 6.0, level=0.3))
            told, transcript = await say(node.listener.wyoming_port, stranger)
            assert Detection.from_event(told).speaker is None
            assert transcript.data["context"]["speaker"] is None

    asyncio.run(check())


def test_describe_is_answered_by_the_service() -> None:
    async def check() -> None:
        async with speech_to_text() as service, proxy(service) as node:
            async with AsyncTcpClient("127.0.0.1", node.listener.wyoming_port) as client:
                await client.write_event(Describe().event())
                answer = await client.read_event()
            assert answer is not None
            assert Info.from_event(answer) == INFO
            assert not node.events  # no audio, no stream

    asyncio.run(check())


def test_without_the_service_a_connection_ends_as_it_would() -> None:
    async def check() -> None:
        async with speech_to_text() as service:
            gone = service.address
        async with proxy(gone) as node:
            assert await exchange(node.listener.wyoming_port, b'{"type": "describe"}\n') == b""
            (counted,) = node.gateway.statistics().protocols
            assert "serve.wyoming_upstream" in counted.refusals[0].message

    asyncio.run(check())


def test_a_transcript_is_held_no_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    async def never(self: Any, timeout_s: float) -> None:  # noqa: ARG001
        held.append(timeout_s)

    monkeypatch.setattr("stream.server.utterance.UtteranceAnalysis.wait", never)

    async def check() -> None:
        async with speech_to_text() as service, proxy(service, wyoming_wait_s=0.02) as node:
            (answer,) = await say(node.listener.wyoming_port)
            assert answer.data["text"] == TEXT

    asyncio.run(check())
    assert held == [0.02]


def test_by_default_a_transcript_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: Any, timeout_s: float) -> None:
        raise AssertionError((self, timeout_s))

    monkeypatch.setattr("stream.server.utterance.UtteranceAnalysis.wait", never)

    async def check() -> None:
        async with speech_to_text() as service, proxy(service) as node:
            (answer,) = await say(node.listener.wyoming_port, pcm(tone(STRANGER_HZ, 1.0, level=0.3)))
            assert answer.data["text"] == TEXT

    asyncio.run(check())


def test_a_transcript_after_a_person_was_recognised_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: Any, timeout_s: float) -> None:
        raise AssertionError((self, timeout_s))

    monkeypatch.setattr("stream.server.utterance.UtteranceAnalysis.wait", never)

    async def check() -> None:
        async with speech_to_text() as service, proxy(service, wyoming_tell=["context"], wyoming_wait_s=5.0) as node:

            def recognised() -> bool:
                return any(isinstance(event, SpeakerEvent) and event.speaker == "Alice" for event in node.events)

            (transcript,) = await say(node.listener.wyoming_port, before_stop=lambda: wait_until(recognised))
            assert transcript.data["context"]["speaker"] == "Alice"

    asyncio.run(check())


def test_the_transcript_arrives_whatever_becomes_of_the_analysis() -> None:
    async def check() -> None:
        async with speech_to_text() as service, proxy(service, max_streams=1, max_ahead_s=1.0) as node:
            (answer,) = await say(node.listener.wyoming_port)  # 6 s of audio at once: the analysis is refused
            assert answer.data["text"] == TEXT
            assert service.audio == ALICE
            assert node.rejected["too_fast"] == 1

    asyncio.run(check())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "malformed"),
        (b'{"type": "describe", "payload_length": 70000}\n', "too_big"),
        (b"x" * 70_000, "too_big"),
        (b'{"type": "ping"}\n' * 3_000, "too_fast"),
    ],
)
def test_hostile_bytes_end_their_connection_only(sent: bytes, code: str) -> None:
    async def check() -> None:
        limits = {"messages_per_s": 1, "max_ahead_s": 30.0}
        async with speech_to_text() as service, proxy(service, **limits) as node:
            port = node.listener.wyoming_port
            silent, writer = await asyncio.open_connection("127.0.0.1", port)
            answer = await exchange(port, sent)
            if answer:  # a reset may overtake it
                _, _, data = answer.partition(b"\n")
                assert Error.from_event(Event("error", json.loads(data))).code == code
            await wait_until(lambda: node.rejected[code] == 1)
            assert service.connections == (code == "too_fast")  # what is no frame never reaches the service
            writer.write(b'{"type": "describe"}\n')
            answer_to_other = await async_read_event(silent)
            assert answer_to_other is not None
            assert Info.is_type(answer_to_other.type)
            await close(writer)

    asyncio.run(check())


def test_a_connection_without_a_frame_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.server.wyoming.PROOF_TIMEOUT_S", 0.05)

    async def check() -> None:
        async with speech_to_text() as service, proxy(service, idle_timeout_s=0.05) as node:
            port = node.listener.wyoming_port
            assert b"idle timeout" in await exchange(port, b'{"type": "desc')
            assert b"idle timeout" in await exchange(port, b'{"type": "ping"}\n')
            assert node.rejected["idle"] == 2

    asyncio.run(check())


def test_only_the_configured_networks_may_connect() -> None:
    async def check() -> None:
        async with speech_to_text() as service, proxy(service, wyoming_peers=["10.0.0.0/8"]) as node:
            assert await exchange(node.listener.wyoming_port, b'{"type": "describe"}\n') == b""
            assert node.rejected == {"unauthorized": 1}
            assert not service.connections

    asyncio.run(check())


def test_connections_of_one_address_are_limited() -> None:
    async def check() -> None:
        async with speech_to_text() as service, proxy(service, streams_per_peer=1) as node:
            _, first = await asyncio.open_connection("127.0.0.1", node.listener.wyoming_port)
            first.write(b'{"type": "ping"}\n')
            await wait_until(lambda: service.connections == 1)
            assert await exchange(node.listener.wyoming_port, b"") == b""
            assert node.rejected["too_many"] == 1
            await close(first)

    asyncio.run(check())


@pytest.mark.parametrize("address", ["", "whisper:10300", "tcp://whisper", "tcp://whisper:99999", "http://whisper:1"])
def test_an_address_that_is_none_is_found_at_the_start(address: str) -> None:
    async def check() -> None:
        async with proxy(address):
            pass

    with pytest.raises(SettingsError, match=r"serve\.wyoming_upstream"):
        asyncio.run(check())


@pytest.mark.slow
def test_the_port_is_announced_to_home_assistant() -> None:
    from zeroconf import ServiceBrowser, Zeroconf  # noqa: PLC0415

    class Found:
        def __init__(self) -> None:
            self.names: list[str] = []

        def add_service(self, _: Zeroconf, __: str, name: str) -> None:
            self.names.append(name)

        update_service = remove_service = add_service

    async def check() -> None:
        found = Found()
        browsing = Zeroconf(interfaces=["127.0.0.1"])
        ServiceBrowser(browsing, SERVICE_TYPE, found)  # type: ignore[arg-type]
        try:
            async with announced(host="127.0.0.1", port=10_300, name="assist", interfaces=["127.0.0.1"]):
                await wait_until(lambda: f"assist.{SERVICE_TYPE}" in found.names)
                service = await asyncio.to_thread(browsing.get_service_info, SERVICE_TYPE, f"assist.{SERVICE_TYPE}")
                assert service is not None
                assert (service.port, service.parsed_addresses()) == (10_300, ["127.0.0.1"])
        finally:
            await asyncio.to_thread(browsing.close)

    asyncio.run(check())


def test_a_port_of_this_machine_only_is_not_announced() -> None:
    async def check() -> None:
        async with announced(host="127.0.0.1", port=1, name="assist"):
            pass

    with pytest.raises(SettingsError, match=r"serve\.host"):
        asyncio.run(check())
