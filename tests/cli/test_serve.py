"""`tonewatch serve` as it is started, the example client of the docs, and signals."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.demo.conversation import AUDIO
from stream.events import from_json

HOME = Path(__file__).parent.parent.parent
CLIENT = HOME / "docs" / "examples" / "client.py"


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    words = [sys.executable, "-m", "stream", "serve", "--port", "0", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as node:
        try:
            assert node.stderr is not None
            line = next(line for line in node.stderr if "listening" in line)
            address = re.search(r"ws://[\w.]+:\d+/v1/", line)
            assert address is not None
            yield node, address[0]
        finally:
            if node.poll() is None:
                node.kill()


def recording(path: Path) -> Path:
    samples, rate = soundfile.read(AUDIO, stop=16_000 * 3, dtype="int16")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack([samples, np.zeros_like(samples)], axis=1).tobytes())
    return path


def test_the_client_of_the_docs_hears_its_call_and_a_signal_ends_the_node(tmp_path: Path) -> None:
    assert len(CLIENT.read_text().splitlines()) <= 45, "small enough to read"
    with serving("--quiet", "--sink", str(tmp_path / "events.ndjson")) as (node, address):
        url = f"{address}stream"
        words = [sys.executable, str(CLIENT), str(recording(tmp_path / "call.wav")), url, "customer", "agent"]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
        came = [json.loads(line) for line in done.stdout.splitlines()]
        node.send_signal(signal.SIGTERM)
        assert node.wait(20) == 0
    assert came[0]["type"] == "started"
    assert came[-1]["type"] == "stopped"
    assert (came[-2]["type"], came[-2]["phase"], came[-2]["end_s"]) == ("call", "final", 3.0)
    kept = [from_json(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    assert {event.source for event in kept} == {"example", "example-customer", "example-agent", "node"}


def test_a_signal_tells_clients_and_flushes(tmp_path: Path) -> None:
    with serving("--quiet") as (node, address):
        words = [sys.executable, str(CLIENT), str(recording(tmp_path / "call.wav")), f"{address}stream"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
            assert client.stdout is not None
            assert json.loads(client.stdout.readline())["type"] == "started"
            node.send_signal(signal.SIGTERM)
            rest = [json.loads(line) for line in client.stdout]
        told, _ = node.communicate(timeout=20)
    assert rest[-1]["code"] == "stopping"
    states = [event.state for line in told.splitlines() if (event := from_json(line)).type == "stream"]
    assert states == ["started", "ended"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "TONEWATCH__SERVE__TOKEN"),  # noqa: S104
        (["--host", "203.0.113.9", "--set", "serve.token=sixteen letters and more"], "cannot listen on 203.0.113.9:0"),
        (["--port", "99999"], "serve.port"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(options: list[str], words: str) -> None:
    command = [sys.executable, "-m", "stream", "serve", "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
