"""Unattended operation: liveness, systemd, probes, metrics, logs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from stream.control.commands import NodeStatus, StreamStatus
from stream.errors import ListenError, SettingsError
from stream.events import HealthBody
from stream.events.health_bodies import BrokerHealth, SinkHealth
from stream.monitoring.http import application, probe_server
from stream.monitoring.liveness import StallDetector
from stream.monitoring.logs import MAX_KINDS, MAX_LINES_PER_MINUTE, JsonFormatter, RepetitionFilter
from stream.monitoring.metrics import exposition
from stream.monitoring.node import NodeMonitor
from stream.monitoring.systemd import SystemdNotifier
from stream.pipeline.live_stream import Progress, StreamState
from stream.pipeline.pipeline import Pipeline
from stream.settings import ServiceSettings, Settings, build
from stream.settings.loading import environment_layers
from stream.sources.push import PushSource
from tests.support import examples
from tests.support.fakes import FakeDetector, FakeModel, ListSink
from tests.support.node import network_node
from tests.support.small_models import TINY
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

MAX_WAIT_S = 60


@dataclass
class FakeStream:
    name: str = "room"
    paced: bool = True
    state: StreamState = "listening"
    progress: Progress = field(default_factory=lambda: Progress(advanced_s=0.0))


def status(*, state: StreamState) -> NodeStatus:
    stream = StreamStatus(source="room", stream="room", paced=True, state=state, audio_s=3.0, speech_s=0.0)
    return NodeStatus(up_s=3.0, streams=(stream,))


class FakePipeline:
    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.accepts_sources = False

    def status(self) -> NodeStatus:
        return NodeStatus(up_s=0.0, streams=())

    def health(self) -> HealthBody:
        return examples.health()


def monitor(
    pipeline: FakePipeline, environment: dict[str, str], clock: Callable[[], float] = lambda: 0.0
) -> NodeMonitor:
    notifier = SystemdNotifier(environment)
    return NodeMonitor(pipeline=pipeline, stall_timeout_s=10, notifier=notifier, clock=clock)


def test_a_stream_that_does_not_advance_is_stalled(caplog: pytest.LogCaptureFixture) -> None:
    detector, stream = StallDetector(stall_timeout_s=10), FakeStream()
    assert detector.stalled([stream], 9.0) == ()
    assert detector.stalled([stream], 11.0) == ("room",)
    stream.progress.advanced_s = 12.0
    assert detector.stalled([stream], 12.0) == ()
    assert detector.stalled([stream], 23.0) == ("room",)
    pipeline = FakePipeline()
    pipeline.streams.append(stream)
    node = monitor(pipeline, {}, lambda: 23.0)
    for _ in range(2):
        node.poll()
    assert caplog.messages == ["no audio progress: room"], "logged once"


@pytest.mark.parametrize("reason", [{"state": "paused"}, {"state": "stalled"}, {"state": "ended"}, {"paced": False}])
def test_a_stream_with_a_reason_not_to_advance_is_not_stalled(reason: dict[str, Any]) -> None:
    assert StallDetector(stall_timeout_s=10).stalled([FakeStream(**reason)], 40.0) == ()


def test_a_stream_has_the_full_timeout_after_a_pause_or_an_interruption() -> None:
    async def check() -> None:
        run = Pipeline(
            settings=Settings(),
            sources=[],
            models=[FakeModel()],
            detector=FakeDetector(),
            sinks={"list": ListSink()},
            keep_running=True,
        )
        running = asyncio.create_task(run.run())
        await asyncio.sleep(0)
        source = PushSource(source_id="room", channels="mix", rate_hz=16_000)
        run.add(source)
        await wait_until(lambda: bool(run.streams))
        (stream,) = run.streams
        detector, now_s = StallDetector(stall_timeout_s=10), time.monotonic()
        assert detector.stalled(run.streams, now_s + 9.0) == ()
        assert detector.stalled(run.streams, now_s + 60.0) == ("room",)
        stream.progress.advanced_s = 0.0
        await run.pause("room")
        assert detector.stalled(run.streams, now_s) == ()
        await run.resume("room")
        assert stream.progress.advanced_s >= now_s
        stream.progress.advanced_s = 0.0
        await stream.processor.interrupt("stalled", "")
        assert detector.stalled(run.streams, now_s) == ()
        await stream.processor.interrupt("resumed", "")
        assert stream.progress.advanced_s >= now_s
        run.stop()
        await running

    asyncio.run(check())


def test_systemd_is_notified_of_ready_alive_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)

        def received() -> list[str]:
            lines = []
            while True:
                try:
                    lines.append(manager.recv(1_000).decode())
                except BlockingIOError:
                    return lines

        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "9000000"}
        pipeline, now = FakePipeline(), [0.0]
        node = monitor(pipeline, environment, lambda: now[0])
        node.poll()
        assert received() == ["WATCHDOG=1"], "not ready before a stream is open"
        pipeline.streams.append(FakeStream())
        node.poll()
        assert received() == ["READY=1\nSTATUS=listening", "WATCHDOG=1"]
        now[0] = 11.0
        node.poll()
        assert received() == [], "no watchdog notification while a stream is stalled"

        async def run() -> None:
            async with node:
                pass

        asyncio.run(run())
        assert received()[-1] == "STOPPING=1"


def test_a_node_without_streams_is_ready_once_sources_may_join() -> None:
    pipeline = FakePipeline()
    node = monitor(pipeline, {})
    node.poll()
    assert not node.is_ready
    pipeline.accepts_sources = True
    node.poll()
    assert node.is_ready


@pytest.mark.parametrize("state", ["connected", "lost"])
def test_a_node_is_ready_once_its_broker_has_answered_or_failed_to(
    state: Literal["connected", "lost"], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = FakePipeline()
    pipeline.accepts_sources = True

    def broker(state: Literal["connecting", "connected", "lost"]) -> HealthBody:
        link = BrokerHealth(state=state, since=examples.SESSION_START)
        sink = SinkHealth(sink="mqtt://broker/home", sent=0, dropped=0, conflated=0, waiting=0, broker=link)
        return examples.health().model_copy(update={"sinks": (sink,)})

    node = monitor(pipeline, {})
    monkeypatch.setattr(pipeline, "health", lambda: broker("connecting"))
    node.poll()
    assert not node.is_ready
    monkeypatch.setattr(pipeline, "health", lambda: broker(state))
    node.poll()
    assert node.is_ready


def test_an_idle_listener_is_ready() -> None:
    async def check() -> None:
        async with network_node() as tested:
            await tested.pipeline.wait_until_accepting()
            assert tested.pipeline.accepts_sources

    asyncio.run(check())


def test_lines_of_one_kind_are_limited_per_minute() -> None:
    now = [0.0]
    limit = RepetitionFilter(clock=lambda: now[0])
    lines = logging.Handler()
    written: list[str] = []
    lines.emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    lines.addFilter(limit)
    logger = logging.Logger("door")  # noqa: LOG001 - of its own, unconnected
    logger.addHandler(lines)
    for number in range(1_000):
        logger.warning("refused %d", number)
    logger.warning("another kind")
    assert len(written) == MAX_LINES_PER_MINUTE + 1
    now[0] = 61.0
    logger.warning("refused %d", 1_000)
    assert written[-1] == f"refused 1000 ({1_000 - MAX_LINES_PER_MINUTE} more in the last minute)"
    for number in range(2 * MAX_KINDS):
        logger.warning(f"kind {number}")  # noqa: G004 - a kind each
    assert len(written) < MAX_KINDS + 20


def test_the_watchdog_of_another_process_is_ignored() -> None:
    assert SystemdNotifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert SystemdNotifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 1.0
    SystemdNotifier({}).notify("READY=1")
    SystemdNotifier({"NOTIFY_SOCKET": "/nowhere/there"}).notify("READY=1")


def test_probes_report_the_state_and_require_the_token() -> None:
    pipeline, now = FakePipeline(), [0.0]
    node = monitor(pipeline, {}, lambda: now[0])
    with TestClient(application(node=node, token="")) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        pipeline.streams.append(FakeStream())
        node.poll()
        assert client.get("/readyz").text == "ready\n"
        now[0] = 11.0
        answer = client.get("/healthz")
        assert (answer.status_code, answer.text) == (503, "stuck: room\n")
        assert client.get("/other").status_code == 404
        assert client.post("/healthz").status_code == 405
    with TestClient(application(node=node, token="secret")) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert "bearer token" in client.get(path).text
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_metrics_can_be_read_by_prometheus() -> None:
    page = exposition(examples.health(), status(state="paused")).decode()
    found = {family.name: family for family in text_string_to_metric_families(page)}
    cut = found["tonewatch_windows_cut"].samples[0]
    assert (cut.name, cut.labels, cut.value) == ("tonewatch_windows_cut_total", {"model": "fake"}, 10.0)
    states = {s.labels["state"]: s.value for s in found["tonewatch_stream_state"].samples}
    assert states == {"listening": 0.0, "paused": 1.0, "stalled": 0.0, "ended": 0.0}
    assert found["tonewatch_latency_p95_seconds"].samples[0].value == 0.04
    refused = found["tonewatch_connections_refused"].samples[0]
    assert (refused.labels, refused.value) == ({"protocol": "twilio", "reason": "unauthorized"}, 1.0)
    assert found["tonewatch_connections_open"].samples[0].value == 2.0
    assert found["tonewatch_received_lost_seconds"].samples[0].value == 0.5


def test_a_port_that_is_in_use_or_lacks_a_token_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = monitor(FakePipeline(), {})
        port = probe_server(settings=ServiceSettings(port=taken.getsockname()[1]), node=node)
        with pytest.raises(ListenError, match=r"choose another service\.port"):
            asyncio.run(port.__aenter__())
    with pytest.raises(SettingsError, match="needs a token"):
        build([("it", {"service": {"port": 80, "host": "0.0.0.0"}})])  # noqa: S104 - that is refused


def test_json_logs_are_one_object_per_line() -> None:
    record = logging.LogRecord("stream.x", logging.WARNING, "x.py", 1, "torn\nline %s", ("é",), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    logged = json.loads(line)
    assert (logged["level"], logged["message"]) == ("warning", "torn\nline é")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", logged["time"])


@pytest.mark.long
def test_a_service_notifies_answers_and_stops(tmp_path: Path) -> None:
    """The real program, as systemd and Prometheus see it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(MAX_WAIT_S)
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        arguments = ["-m", "stream", "demo", "--realtime", "--quiet", "--set", f"service.port={port}", *TINY]
        arguments += ["--set", "service.logs=json", "--sink", str(tmp_path / "events.ndjson"), "-v"]
        with subprocess.Popen(
            [sys.executable, *arguments], env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True
        ) as process:
            while manager.recv(1_000).decode() != "READY=1\nSTATUS=listening":
                pass
            assert manager.recv(1_000) == b"WATCHDOG=1"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=MAX_WAIT_S) as answer:
                assert answer.read() == b"ok\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=MAX_WAIT_S) as answer:
                assert b"tonewatch_audio_seconds_total" in answer.read()
            process.send_signal(signal.SIGTERM)
            while manager.recv(1_000).decode() != "STOPPING=1":
                pass
            _, errors = process.communicate(timeout=MAX_WAIT_S)
        assert process.returncode == 128 + signal.SIGTERM
        assert [json.loads(line)["message"] for line in errors.splitlines()] == [
            "shutting down; send SIGTERM again to exit immediately"
        ]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1)


@pytest.mark.parametrize("name", ["tonewatch.service", "tonewatch-serve.service", "Dockerfile"])
def test_deployment_files_name_settings_that_exist(name: str) -> None:
    text = (Path(__file__).parents[2] / "config" / "service" / name).read_text(encoding="utf-8")
    given = dict(re.findall(r"^\s*(TONEWATCH__\w+)=(\w+)", text, flags=re.MULTILINE))
    given |= {
        f"TONEWATCH__{key.upper().replace('.', '__')}": value for key, value in re.findall(r"--set (\S+?)=(\S+)", text)
    }
    assert given
    build(list(environment_layers(given)))
