"""The commands that serve a dashboard, as processes on loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from websockets.sync.client import connect

from stream.demo.conversation import AUDIO
from tests.support.command import run_command
from tests.support.mosquitto import Broker
from tests.support.small_models import TINY

pytestmark = pytest.mark.slow


class Process:
    """A `tonewatch` process and the address of its dashboard."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        command = [str(Path(sys.executable).with_name("tonewatch")), *arguments]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        self._errors = ""
        match = re.search(r"http://(\S+)/", self.read_line("http://"))
        assert match is not None
        self.address = match[1]

    def read_line(self, fragment: str) -> str:
        """Wait for a line on standard error that contains `fragment`, and return it."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors += line
            if fragment in line:
                return line
        raise AssertionError(self._errors)

    def message(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Open a page and return its first message that meets a condition."""
        with connect(f"ws://{self.address}/live", proxy=None) as page:
            while True:
                message: dict[str, Any] = json.loads(page.recv(timeout=60))
                if condition(message):
                    return message

    def stop(self) -> tuple[int, str, str]:
        """Send SIGTERM; returns exit code, standard output and standard error."""
        self._process.send_signal(signal.SIGTERM)
        out, errors = self._process.communicate(timeout=60)
        return self._process.returncode, out, self._errors + errors

    def kill(self) -> None:
        """Kill the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[Process]:
    process = Process(*arguments, **environment)
    try:
        yield process
    finally:
        process.kill()


def ended(message: dict[str, Any]) -> bool:
    return any(card["state"] == "ended" for card in message.get("cards", ()))


Exit = tuple[int, str, str]


@dataclass(frozen=True)
class FileRun:
    """What two pages of one node, and the page of a second process that reads its broker, received."""

    message: dict[str, Any]
    late_message: dict[str, Any]
    remote_message: dict[str, Any]
    exit: Exit
    remote_exit: Exit
    events_file: Path


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's first two turns."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    audio, rate_hz = soundfile.read(AUDIO, dtype="float32", frames=int(8.5 * 16_000))
    soundfile.write(path, audio, rate_hz)
    return path


@pytest.fixture(scope="module")
def file_run(talk: Path, tmp_path_factory: pytest.TempPathFactory) -> FileRun:
    """One run of a file with a dashboard, an MQTT sink and a file sink."""
    events_file = talk.with_suffix(".ndjson")
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        target = f"mqtt://127.0.0.1:{broker.port}/home"
        options = ("--port", "0", "--quiet", "--sink", target, "--sink", str(events_file), *TINY)
        with (
            running("dashboard", "--mqtt", target, "--port", "0") as remote,
            running("dashboard", str(talk), *options) as node,
        ):
            message = node.message(ended)
            node.read_line("the dashboard stays up")
            return FileRun(
                message=message,
                late_message=node.message(ended),
                remote_message=remote.message(ended),
                exit=node.stop(),
                remote_exit=remote.stop(),
                events_file=events_file,
            )


@pytest.mark.long
def test_dashboard_shows_a_file(file_run: FileRun) -> None:
    card = file_run.message["cards"][-1]
    assert (card["name"], card["end_s"]) == ("talk", 8.5)
    assert {share["name"] for share in card["shares"]} == {"S1", "S2"}


@pytest.mark.long
def test_dashboard_stays_up_after_the_file(file_run: FileRun) -> None:
    assert file_run.late_message["t"] == "snapshot"
    code, out, errors = file_run.exit
    assert (code, out) == (0, "")
    assert "Traceback" not in errors


@pytest.mark.long
def test_dashboard_of_a_broker_needs_no_models(file_run: FileRun) -> None:
    assert file_run.remote_message["cards"][-1]["name"] == "talk"
    code, out, errors = file_run.remote_exit
    assert (code, out) == (0, "")
    assert len(errors.splitlines()) == 1  # its address


@pytest.mark.long
def test_report_of_a_recorded_run(file_run: FileRun) -> None:
    result = run_command("report", file_run.events_file)
    assert (result.code, result.errors) == (0, "")
    assert str(file_run.events_file.with_suffix(".html")) in result.output
    assert "All 2 turns" in file_run.events_file.with_suffix(".html").read_text(encoding="utf-8")


@pytest.mark.long
def test_run_with_a_dashboard_ends_with_it() -> None:
    options = ("--realtime", "--dashboard", "--quiet", *TINY)
    with running("run", str(AUDIO), *options, TONEWATCH__DASHBOARD__PORT="0") as node:
        assert node.message(lambda message: message["t"] == "hello" and bool(message["commands"]))["levels"]
        speaking = node.message(lambda message: any(card["speaker"]["name"] for card in message.get("cards", ())))
        assert speaking["cards"][-1]["speaker"]["name"] == "S1"
        code, out, errors = node.stop()
    assert code == 128 + signal.SIGTERM
    assert json.loads(out.splitlines()[-1])["type"] == "health"  # events still go to standard output
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["dashboard", "--host", "0.0.0.0", "demo"], "dashboard.token"),  # noqa: S104 - it is rejected
        (["dashboard", "--mqtt", "http://x"], "invalid broker address"),
        (["dashboard", "--mqtt", "mqtt://x", "demo"], "leave out sources and --sink"),
        (["dashboard", "--port", "99999", "demo"], "less than or equal to 65535"),
        (["dashboard", "--port", "0", "nothing.wav"], "nothing.wav"),
        (["report", "nothing.ndjson"], "nothing.ndjson"),
    ],
)
def test_invalid_arguments_are_rejected_in_one_line(arguments: list[str], fragment: str) -> None:
    result = run_command(*arguments)
    assert result.code in (1, 2)
    message = result.errors.splitlines()[-1]
    assert message.startswith("tonewatch: ")
    assert fragment in message


@pytest.mark.long
def test_call_over_the_network_is_shown(talk: Path) -> None:
    environment = {"TONEWATCH__SERVE__PORT": "0", "TONEWATCH__SERVE__MAX_AHEAD_S": "60"}
    with running("serve", "--dashboard", "--quiet", *TINY, **environment) as node:
        hello = node.message(lambda message: message["t"] == "hello" and message["microphone"] is not None)
        assert hello["microphone"] == "/v1/stream"
        audio, rate_hz = soundfile.read(talk, dtype="int16")
        turn = int(4.85 * rate_hz)  # the first turn is the customer's, the second the agent's
        tracks = np.zeros((len(audio), 2), np.int16)
        tracks[:turn, 0], tracks[turn:, 1] = audio[:turn], audio[turn:]
        start = {
            "type": "start",
            "rate_hz": rate_hz,
            "channels": 2,
            "format": "s16le",
            "source": "desk",
            "call": "desk",
        }
        with connect(f"ws://{node.address}/v1/stream", proxy=None) as client:
            client.send(json.dumps(start | {"parties": ["customer", "agent"]}))
            for position in range(0, len(tracks), 8_000):
                client.send(tracks[position : position + 8_000].tobytes())
            client.send('{"type": "stop"}')
            for _ in client:  # a client that leaves answers unread waits for ten seconds to close
                pass
            card = node.message(ended)["cards"][-1]
        code, _, errors = node.stop()
    assert (card["kind"], card["name"]) == ("call", "desk")
    seconds = {share["name"]: share["seconds"] for share in card["shares"]}
    assert seconds["customer"] > 2
    assert seconds["agent"] > 2
    assert sum(seconds.values()) == pytest.approx(8.5, abs=0.1)
    assert (code, "Traceback" in errors) == (0, False)
