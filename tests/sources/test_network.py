"""Network streams, from servers on loopback: what is decoded, what is refused, and connections that end."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stream.app.registry import parse_source
from stream.demo.conversation import AUDIO
from stream.errors import AudioFormatError, DeviceLost, SourceError, SourceNotFound
from stream.settings import Settings, SourceSettings
from stream.settings.base import masked_address
from stream.sources.capture import WatchdogLimits
from stream.sources.network import NetworkSource
from stream.sources.network_recorder import record
from stream.sources.network_request import NetworkRequest
from stream.sources.recorder import HEADER, REQUEST_VARIABLE
from stream.types import AudioFormat, Block, Interruption
from tests.support.command import rejection

pytestmark = pytest.mark.slow

EXCERPT_S = 3
QUICK = WatchdogLimits(
    no_data_timeout_s=2.0, first_data_timeout_s=20.0, zeros_timeout_s=float("inf"), min_retry_pause_s=0.01
)


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The start of the bundled conversation, as MP3."""
    samples, rate_hz = soundfile.read(AUDIO, dtype="float32", frames=EXCERPT_S * 16_000)
    path = tmp_path_factory.mktemp("web") / "talk.mp3"
    soundfile.write(path, samples, rate_hz, format="MP3")
    return path.read_bytes()


class Pages(BaseHTTPRequestHandler):
    """Serves `files`; a path in `redirects` leads elsewhere, and `/radio` never ends."""

    files: ClassVar[dict[str, bytes]] = {}
    redirects: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        if self.path in self.redirects:
            self.send_response(302)
            self.send_header("Location", self.redirects[self.path])
            self.end_headers()
        elif self.path == "/radio":
            self.send_response(200)
            self.send_header("Content-Type", "audio/mpeg")
            self.end_headers()
            data = self.files["/talk.mp3"]
            part = len(data) // (10 * EXCERPT_S)
            try:
                for start in range(0, 100 * len(data), part):
                    at = start % len(data)
                    self.wfile.write(data[at : at + part])
                    time.sleep(0.1)  # a radio is as fast as its listeners
            except OSError:
                return
        elif self.path in self.files:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.files[self.path])))
            self.end_headers()
            self.wfile.write(self.files[self.path])
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def web(files: dict[str, bytes], redirects: dict[str, str] | None = None) -> Iterator[str]:
    """Serve files on loopback; yields the address."""
    Pages.files, Pages.redirects = files, redirects or {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def recorded(address: str, audio_format: AudioFormat | None = None) -> tuple[bool, AudioFormat, list[tuple[int, Any]]]:
    """Record an address in this process; returns whether it finished, its format and its blocks."""
    out = io.BytesIO()
    source = NetworkSource(settings=SourceSettings(target=address, connect_timeout_s=5.0, read_timeout_s=5.0))
    request = source._request(audio_format)
    finished = record(NetworkRequest.from_json(request.to_json()), out, threading.Event())
    out.seek(0)
    opened = AudioFormat(**json.loads(out.readline())["opened"])
    blocks = []
    while header := out.read(HEADER.size):
        start, frames, *_ = HEADER.unpack(header)
        samples = np.frombuffer(out.read(4 * frames * opened.channels), np.float32).reshape(-1, opened.channels)
        blocks.append((start, samples))
    return finished, opened, blocks


def test_a_recording_is_played_in_real_time_and_finishes(excerpt: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("stream.sources.network_recorder.time.sleep", slept.append)
    with web({"/talk.mp3": excerpt}, {"/here": "/talk.mp3"}) as address:
        finished, opened, blocks = recorded(f"{address}/here")
    assert finished
    assert opened == AudioFormat(16_000, 1)
    samples = np.concatenate([part for _, part in blocks])
    starts = [start for start, _ in blocks]
    assert starts == [0, *np.cumsum([len(part) for _, part in blocks])[:-1]]
    expected, _ = soundfile.read(AUDIO, dtype="float32", frames=EXCERPT_S * 16_000)
    assert abs(len(samples) - len(expected)) < 3_000
    level = [np.square(part[:40_000]).mean() for part in (samples[:, 0], expected)]
    assert level[0] == pytest.approx(level[1], rel=0.1)
    assert max(slept) > EXCERPT_S - 1


def test_an_address_that_is_opened_again_keeps_its_first_format(
    excerpt: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.sources.network_recorder.time.sleep", lambda _: None)
    with web({"/talk.mp3": excerpt}) as address:
        _, opened, blocks = recorded(f"{address}/talk.mp3", AudioFormat(48_000, 2))
    assert opened == AudioFormat(48_000, 2)
    assert blocks[0][1].shape[1] == 2
    assert sum(len(part) for _, part in blocks) == pytest.approx(EXCERPT_S * 48_000, abs=9_000)


def test_a_stream_whose_format_changes_is_played_to_its_end(excerpt: bytes) -> None:
    other = io.BytesIO()
    soundfile.write(other, np.random.default_rng(3).uniform(-0.1, 0.1, (88_200, 2)), 44_100, format="MP3")
    with web({"/joined.mp3": excerpt + other.getvalue() + excerpt}) as address:
        _, opened, blocks = recorded(f"{address}/joined.mp3")
    start, last = blocks[-1]
    assert (start + len(last)) / opened.rate_hz == pytest.approx(2 * EXCERPT_S + 2, abs=0.4)


def test_a_codec_that_is_not_known_is_said() -> None:
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as writer:
        audio = writer.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 9_600), np.int16), format="s16", layout="mono")
        frame.rate = 48_000
        writer.mux(audio.encode(frame))
        writer.mux(audio.encode(None))
    with (
        web({"/odd.mka": out.getvalue().replace(b"A_OPUS", b"A_NONE")}) as address,
        pytest.raises(AudioFormatError, match="has no audio"),
    ):
        recorded(f"{address}/odd.mka")


def test_a_process_whose_owner_is_gone_says_nothing() -> None:
    request = NetworkRequest("http://127.0.0.1:1/", "mix")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", request.program],
        env={**os.environ, REQUEST_VARIABLE: request.to_json()},
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/none", SourceNotFound),
        ("/text", SourceNotFound),
        ("/local", SourceError),
        ("/playlist.m3u8", SourceError),
        ("/concat", SourceError),
    ],
)
def test_what_is_no_stream_or_names_a_local_file_is_refused(path: str, error: type[Exception], tmp_path: Path) -> None:
    local = tmp_path / "secret.wav"
    soundfile.write(local, np.zeros(16_000), 16_000)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nfile://{local}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile '{local}'\n".encode()
    files = {"/text": b"no audio " * 1_000, "/playlist.m3u8": playlist, "/concat": concat}
    with web(files, {"/local": f"file://{local}"}) as address, pytest.raises(error) as raised:
        recorded(f"{address}{path}?token=secret")
    assert "token=secret" not in str(raised.value)


def test_the_process_of_a_stream_imports_no_settings() -> None:
    code = "import sys, stream.sources.network_recorder; print(*({'pydantic', 'stream.settings'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"\n"


def test_a_server_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeviceLost, match="cannot reach") as raised:
        recorded(f"http://ann:hush@127.0.0.1:{port}/x")
    assert "hush" not in str(raised.value)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SourceError, match=r"network streams need PyAV; run `pip install '.\[network\]'`"):
        recorded(f"http://127.0.0.1:{port}/x")


@pytest.mark.parametrize("address", ["file:///etc/hostname", "concat://a|b", "srt://host:1", "data://x", "http:///x"])
def test_other_schemes_are_refused(address: str) -> None:
    with pytest.raises(SourceNotFound, match="rtsp://"):
        NetworkSource(settings=SourceSettings(kind="network", target=address))


def test_addresses_are_sources_of_the_command_line() -> None:
    for address in ("rtsp://cam.lan/1", "https://host/x.mp3", "udp://239.0.0.1:5004"):
        assert parse_source(address) == {"kind": "network", "target": address}
    assert "cannot play 'foo://***@host'" in rejection("run", "foo://ann:hush@host", code=1)


@given(user=st.text("abc:", max_size=6), path=st.text("abc/=&", max_size=9), query=st.text("abc=&@", max_size=9))
def test_credentials_are_masked(user: str, path: str, query: str) -> None:
    shown = masked_address(f"rtsp://{user}SECRET@host:554/{path}?{query}SECRET")
    assert "SECRET" not in shown
    assert shown.startswith("rtsp://***@host:554/")


def test_the_settings_show_no_credentials() -> None:
    settings = Settings(sources=(SourceSettings(kind="network", target="rtsp://ann:hush@cam.lan/1?key=hush"),))
    assert settings.sources[0].target == "rtsp://ann:hush@cam.lan/1?key=hush"
    for shown in (repr(settings), settings.model_dump_json()):
        assert "cam.lan" in shown
        assert "hush" not in shown


@pytest.mark.long
def test_a_decoder_that_is_killed_is_started_again(excerpt: bytes) -> None:
    async def play(address: str) -> list[Block | Interruption]:
        settings = SourceSettings(kind="network", target=f"{address}/radio")
        source = NetworkSource(settings=settings, limits=QUICK)
        found: list[Block | Interruption] = []
        async with asyncio.timeout(30), source.blocks() as blocks:
            async for block in blocks:
                found.append(block)
                states = [one.state for one in found if isinstance(one, Interruption)]
                if len(found) == 3:
                    assert source._capture is not None
                    os.kill(source._capture._process.pid, signal.SIGKILL)
                if states[-1:] == ["resumed"] and isinstance(block, Block):
                    source.stop()
        return found

    with web({"/talk.mp3": excerpt}) as address:
        found = asyncio.run(play(address))
    interruptions = [one for one in found if isinstance(one, Interruption)]
    assert [one.state for one in interruptions] == ["stalled", "resumed"]
    blocks = [one for one in found if isinstance(one, Block)]
    starts, ends = [one.start_frame for one in blocks], [one.end_frame for one in blocks]
    assert all(start >= end for start, end in zip(starts[1:], ends[:-1], strict=True))
    assert any(start > end for start, end in zip(starts[1:], ends[:-1], strict=True)), "the loss is a gap"


def test_a_stream_without_audio_is_said() -> None:
    buffer = io.BytesIO()
    av = pytest.importorskip("av")
    with av.open(buffer, "w", format="matroska") as container:
        video = container.add_stream("mpeg4", rate=5)
        video.width = video.height = 32
        frame = av.VideoFrame(32, 32, "yuv420p")
        container.mux(video.encode(frame))
        container.mux(video.encode())
    with web({"/film.mkv": buffer.getvalue()}) as address, pytest.raises(AudioFormatError, match="has no audio"):
        recorded(f"{address}/film.mkv")
