"""Running unattended: vitals, systemd, probes, metrics, logs."""

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
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from stream.control.commands import NodeStatus, StreamStatus
from stream.errors import ListenError, SettingsError
from stream.events import HealthBody
from stream.monitoring.http import application, site
from stream.monitoring.liveness import StallDetector
from stream.monitoring.logs import JsonFormatter
from stream.monitoring.metrics import exposition
from stream.monitoring.node import NodeMonitor
from stream.monitoring.systemd import SystemdNotifier
from stream.settings import ServiceSettings, build
from stream.settings.loading import environment_layers
from tests.sinks import examples

PATIENCE_S = 60


def row(audio_s: float, *, state: Any = "listening", paced: bool = True) -> NodeStatus:
    stream = StreamStatus(source="room", stream="room", paced=paced, state=state, audio_s=audio_s, speech_s=0.0)
    return NodeStatus(up_s=audio_s, streams=(stream,))


class FakePipeline:
    def __init__(self) -> None:
        self.now = NodeStatus(up_s=0.0, streams=())

    def status(self) -> NodeStatus:
        return self.now

    def health(self) -> HealthBody:
        return examples.health()


def test_sound_that_stands_still_is_noticed() -> None:
    vitals = StallDetector(stall_timeout_s=10)
    assert vitals.stuck(row(1.0), 0.0) == ()
    assert vitals.stuck(row(1.0), 9.0) == ()
    assert vitals.stuck(row(1.0), 11.0) == ("room",)
    assert vitals.stuck(row(1.1), 12.0) == (), "it goes on"
    assert vitals.stuck(row(1.1), 23.0) == ("room",)


@pytest.mark.parametrize("reason", [{"state": "paused"}, {"state": "stalled"}, {"state": "ended"}, {"paced": False}])
def test_sound_may_stand_still_for_a_reason(reason: dict[str, Any]) -> None:
    vitals = StallDetector(stall_timeout_s=10)
    for now_s in (0.0, 20.0, 40.0):
        assert vitals.stuck(row(1.0, **reason), now_s) == ()
    assert vitals.stuck(row(1.0), 45.0) == (), "and is given time when the reason has gone"
    assert vitals.stuck(row(1.0), 56.0) == ("room",)


def test_systemd_is_told_ready_alive_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)

        def heard() -> list[str]:
            lines = []
            while True:
                try:
                    lines.append(manager.recv(1_000).decode())
                except BlockingIOError:
                    return lines

        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "9000000"}
        pipeline, now = FakePipeline(), [0.0]
        node = NodeMonitor(pipeline=pipeline, stall_timeout_s=10, notifier=SystemdNotifier(environment), clock=lambda: now[0])
        node.look()
        assert heard() == ["WATCHDOG=1"], "not ready before something is heard"
        pipeline.now = row(1.0)
        node.look()
        assert heard() == ["READY=1\nSTATUS=listening", "WATCHDOG=1"]
        now[0] = 11.0
        node.look()
        assert heard() == [], "the watchdog starves when sound stands still"

        async def run() -> None:
            async with node:
                pass

        asyncio.run(run())
        assert heard()[-1] == "STOPPING=1"


def test_a_watchdog_meant_for_another_process_is_not_ours() -> None:
    assert SystemdNotifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert SystemdNotifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 1.0
    SystemdNotifier({}).tell("READY=1")
    SystemdNotifier({"NOTIFY_SOCKET": "/nowhere/there"}).tell("READY=1")


def test_probes_say_what_there_is_and_ask_for_a_token() -> None:
    pipeline, now = FakePipeline(), [0.0]
    node = NodeMonitor(pipeline=pipeline, stall_timeout_s=10, notifier=SystemdNotifier({}), clock=lambda: now[0])
    with TestClient(application(node=node, token="")) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        pipeline.now = row(1.0)
        node.look()
        assert client.get("/readyz").text == "ready\n"
        now[0] = 11.0
        answer = client.get("/healthz")
        assert (answer.status_code, answer.text) == (503, "stuck: room\n")
        assert client.get("/other").status_code == 404
        assert client.post("/healthz").status_code == 405
    with TestClient(application(node=node, token="secret")) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_metrics_can_be_read_by_prometheus() -> None:
    page = exposition(examples.health(), row(3.0, state="paused")).decode()
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


def test_a_port_that_is_taken_or_open_to_all_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = NodeMonitor(pipeline=FakePipeline(), stall_timeout_s=10, notifier=SystemdNotifier({}))
        port = site(settings=ServiceSettings(port=taken.getsockname()[1]), node=node)
        with pytest.raises(ListenError, match=r"choose another service\.port"):
            asyncio.run(port.__aenter__())
    with pytest.raises(SettingsError, match="needs a token"):
        build([("it", {"service": {"port": 80, "host": "0.0.0.0"}})])  # noqa: S104 - that is refused


def test_logs_for_machines_are_one_object_a_line() -> None:
    record = logging.LogRecord("stream.x", logging.WARNING, "x.py", 1, "torn\nline %s", ("é",), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["message"]) == ("warning", "torn\nline é")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["time"])


def test_a_service_says_that_it_is_ready_answers_and_stops(tmp_path: Path) -> None:
    """The real program, as systemd and Prometheus see it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        more = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        words = ["-m", "stream", "demo", "--realtime", "--quiet", "--set", f"service.port={port}"]
        words += ["--set", "service.logs=json", "--sink", str(tmp_path / "events.ndjson"), "-v"]
        with subprocess.Popen(
            [sys.executable, *words], env={**os.environ, **more}, stderr=subprocess.PIPE, text=True
        ) as process:
            while manager.recv(1_000).decode() != "READY=1\nSTATUS=listening":
                pass
            assert manager.recv(1_000) == b"WATCHDOG=1"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S) as answer:
                assert answer.read() == b"ok\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
                assert b"tonewatch_audio_seconds_total" in answer.read()
            process.send_signal(signal.SIGTERM)
            while manager.recv(1_000).decode() != "STOPPING=1":
                pass
            _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 128 + signal.SIGTERM
        assert [json.loads(line)["message"] for line in errors.splitlines()] == [
            "stopping; a second SIGTERM stops at once"
        ]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1)


@pytest.mark.parametrize("name", ["tonewatch.service", "Dockerfile"])
def test_what_runs_it_names_settings_that_exist(name: str) -> None:
    text = (Path(__file__).parents[2] / "config" / "service" / name).read_text(encoding="utf-8")
    given = dict(re.findall(r"^\s*(TONEWATCH__\w+)=(\w+)", text, flags=re.MULTILINE))
    given |= {
        f"TONEWATCH__{key.upper().replace('.', '__')}": value for key, value in re.findall(r"--set (\S+?)=(\S+)", text)
    }
    assert given
    build(list(environment_layers(given)))
