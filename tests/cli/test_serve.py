"""`tonewatch serve` as a process, with the example client of the docs, until a signal; and what it refuses to serve."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from stream.cli.main import app
from stream.demo.conversation import AUDIO
from stream.events import Event, from_json
from tests.support.small_models import TINY

pytestmark = pytest.mark.slow

HOME = Path(__file__).parent.parent.parent
CLIENT = HOME / "docs" / "examples" / "client.py"
TIMEOUT_S = 60


@dataclass(frozen=True)
class ServedRun:
    """What a node and two clients printed: one client's call ended, the other's was open when the node got SIGTERM."""

    finished: list[dict[str, Any]]
    interrupted: list[dict[str, Any]]
    exit_code: int
    printed: list[Event]
    written: list[Event]


def stereo_recording(path: Path) -> Path:
    samples, rate = soundfile.read(AUDIO, stop=16_000 * 3, dtype="int16")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack([samples, np.zeros_like(samples)], axis=1).tobytes())
    return path


def address_of(node: subprocess.Popen[str]) -> str:
    """Wait until the node listens; returns the address of its streams."""
    assert node.stderr is not None
    found = (re.search(r"ws://[\w.]+:\d+/v1/", line) for line in node.stderr)
    return next(match[0] for match in found if match) + "stream"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServedRun:
    folder = tmp_path_factory.mktemp("served")
    log = folder / "events.ndjson"
    client = [sys.executable, str(CLIENT), str(stereo_recording(folder / "call.wav"))]
    words = [
        sys.executable,
        "-m",
        "stream",
        "serve",
        "--port",
        "0",
        "--quiet",
        "--sink",
        "stdout",
        "--sink",
        str(log),
        *TINY,
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as node:
        try:
            url = address_of(node)
            done = subprocess.run(
                [*client, url, "customer", "agent"], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
            )
            with subprocess.Popen(
                [*client, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as open_:
                assert open_.stdout is not None
                first = open_.stdout.readline()
                node.send_signal(signal.SIGTERM)
                rest = open_.stdout.readlines()
            printed, _ = node.communicate(timeout=TIMEOUT_S)
        finally:
            node.kill()
    return ServedRun(
        finished=[json.loads(line) for line in done.stdout.splitlines()],
        interrupted=[json.loads(line) for line in (first, *rest)],
        exit_code=node.returncode,
        printed=[from_json(line) for line in printed.splitlines()],
        written=[from_json(line) for line in log.read_text().splitlines()],
    )


def test_the_example_client_is_short() -> None:
    assert len(CLIENT.read_text().splitlines()) <= 45


@pytest.mark.long
def test_the_example_client_gets_the_events_of_its_call(served: ServedRun) -> None:
    messages = served.finished
    assert messages[0]["type"] == "started"
    assert messages[-1]["type"] == "stopped"
    assert (messages[-2]["type"], messages[-2]["phase"], messages[-2]["end_s"]) == ("call", "final", 3.0)
    sources = {event.source for event in served.written}
    assert sources == {"example", "example-customer", "example-agent", "node"}


@pytest.mark.long
def test_a_signal_closes_connections_and_flushes_sinks(served: ServedRun) -> None:
    assert served.exit_code == 0
    assert served.interrupted[0]["type"] == "started"
    assert served.interrupted[-1]["code"] == "stopping"
    states: dict[str, list[str]] = {}
    for event in served.printed:
        if event.type == "stream":
            states.setdefault(event.source, []).append(event.state)
    assert states
    assert all(of_stream == ["started", "ended"] for of_stream in states.values())
    assert [event.seq for event in served.printed] == [event.seq for event in served.written]


@pytest.mark.parametrize(
    ("options", "token", "code", "fragment"),
    [
        (["--host", "0.0.0.0"], "", 2, "TONEWATCH__SERVE__TOKEN"),  # noqa: S104
        (["--host", "203.0.113.9"], "sixteen letters and more", 1, "cannot listen on 203.0.113.9:0"),
        (["--host", "0.0.0.0"], "short", 2, "serve.token: the token is too short"),  # noqa: S104
        (["--set", "serve.token=sixteen letters and more"], "", 2, "serve.token is a secret"),
        (["--port", "99999"], "", 2, "serve.port"),
    ],
)
def test_what_cannot_be_served_gets_one_line(options: list[str], token: str, code: int, fragment: str) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", "0", *options], env={"TONEWATCH__SERVE__TOKEN": token})
    assert result.exit_code == code
    assert fragment in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
