"""A small Wyoming speech-to-text service, by the protocol's own library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from wyoming.asr import Transcript
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info

TEXT = "schalte das Licht in der Küche an – 照明"
SOURCE = Attribution(name="tests", url="https://example.org")
MODEL = AsrModel(
    name="small", attribution=SOURCE, installed=True, description="of the tests", version="1", languages=["de", "en"]
)
INFO = Info(
    asr=[
        AsrProgram(
            name="stt", attribution=SOURCE, installed=True, description="of the tests", version="1", models=[MODEL]
        )
    ]
)


class SpeechToText:
    """Answers `describe`, and every `audio-stop` with the transcript of the audio after `delay_s`."""

    def __init__(self, *, delay_s: float = 0.0, transcribe: Callable[[bytes], str] = lambda _: TEXT) -> None:
        self.delay_s, self._transcribe = delay_s, transcribe
        self.received: list[Event] = []
        self.connections = 0
        self.port = 0

    @property
    def address(self) -> str:
        """Address for `serve.wyoming_upstream`."""
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def audio(self) -> bytes:
        """All audio that has arrived."""
        return b"".join(event.payload or b"" for event in self.received if event.type == "audio-chunk")

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        audio = b""
        try:
            while (event := await async_read_event(reader)) is not None:
                self.received.append(event)
                audio += event.payload or b""
                if Describe.is_type(event.type):
                    await async_write_event(INFO.event(), writer)
                elif event.type == "audio-stop":
                    await asyncio.sleep(self.delay_s)
                    await async_write_event(Transcript(text=self._transcribe(audio), context={"id": 7}).event(), writer)
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def speech_to_text(
    *, delay_s: float = 0.0, transcribe: Callable[[bytes], str] = lambda _: TEXT
) -> AsyncIterator[SpeechToText]:
    """Run the service on loopback."""
    service = SpeechToText(delay_s=delay_s, transcribe=transcribe)
    server = await asyncio.start_server(service.handle, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
