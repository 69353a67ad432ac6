"""The page as a person starts it: real processes on loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner
from websockets.sync.client import connect

from stream.cli.main import app
from stream.demo.conversation import AUDIO
from tests.support.mosquitto import Broker

Start = Callable[..., "Node"]


class Node:
    """A `tonewatch` of its own, and a look at its page."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        command = [str(Path(sys.executable).with_name("tonewatch")), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stderr is not None
        found = re.search(r"dashboard: http://(\S+)/", self.process.stderr.readline())
        assert found is not None
        self.address = found[1]

    def look(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The page's messages up to the one that is waited for."""
        with connect(f"ws://{self.address}/live", proxy=None) as page:
            while True:
                message: dict[str, Any] = json.loads(page.recv(timeout=60))
                if wanted(message):
                    return message

    def stop(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Start]:
    nodes: list[Node] = []

    def starting(*arguments: str, **env: str) -> Node:
        nodes.append(Node(*arguments, env=env))
        return nodes[-1]

    yield starting
    for node in nodes:
        if node.process.poll() is None:
            node.process.kill()
            node.process.communicate()


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """The demo's first two turns."""
    sound, rate_hz = soundfile.read(AUDIO, dtype="float32", frames=8 * 16_000)
    soundfile.write(tmp_path / "talk.wav", sound, rate_hz)
    return tmp_path / "talk.wav"


def ended(message: dict[str, Any]) -> bool:
    return any(card["state"] == "ended" for card in message.get("cards", ()))


def test_a_file_is_shown_and_stays_when_it_has_ended(start: Start, talk: Path) -> None:
    node = start("dashboard", str(talk), "--port", "0", "--quiet")
    card = node.look(ended)["cards"][-1]
    assert (card["name"], round(card["end_s"])) == ("talk", 8)
    assert {part["who"] for part in card["shares"]} == {"S1", "S2"}
    again = node.look(ended)  # whoever comes later sees it, too
    assert again["t"] == "snapshot"
    code, out, err = node.stop()
    assert (code, out) == (0, "")
    assert "stays up until Ctrl-C" in err
    assert "Traceback" not in err


def test_a_run_shows_itself_and_takes_its_page_along(start: Start) -> None:
    node = start("run", str(AUDIO), "--realtime", "--dashboard", "--quiet", TONEWATCH__DASHBOARD__PORT="0")
    assert node.look(lambda message: message["t"] == "hello" and bool(message["commands"]))["levels"]
    speaking = node.look(lambda message: any(card["who"]["name"] for card in message.get("cards", ())))
    assert speaking["cards"][-1]["who"]["name"] == "S1"
    code, out, err = node.stop()
    assert code == 128 + signal.SIGTERM
    assert json.loads(out.splitlines()[-1])["type"] == "health"  # its own output is as ever
    assert "Traceback" not in err


def test_a_page_of_a_broker_needs_no_models(start: Start, tmp_path: Path, talk: Path) -> None:
    with Broker(tmp_path) as broker:
        target = f"mqtt://127.0.0.1:{broker.port}/home"
        page = start("dashboard", "--mqtt", target, "--port", "0")
        start("dashboard", str(talk), "--port", "0", "--quiet", "--sink", target)
        assert page.look(ended)["cards"][-1]["name"] == "talk"
        code, out, err = page.stop()
    assert (code, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dashboard", "--host", "0.0.0.0", "demo"], "dashboard.token must be set"),  # noqa: S104 - it is refused
        (["dashboard", "--mqtt", "http://x"], "invalid broker address"),
        (["dashboard", "--mqtt", "mqtt://x", "demo"], "the page only watches"),
        (["dashboard", "--port", "99999", "demo"], "less than or equal to 65535"),
        (["dashboard", "nothing.wav"], "nothing.wav"),
        (["report", "nothing.ndjson"], "cannot be read"),
    ],
)
def test_refusals_are_one_sentence(arguments: list[str], complaint: str) -> None:
    outcome = CliRunner().invoke(app, [*arguments, *(["--port", "0"] if "nothing.wav" in arguments else [])])
    assert outcome.exit_code in (1, 2)
    said = outcome.stderr.strip().splitlines()
    assert said[-1].startswith("tonewatch: ")
    assert complaint in said[-1]


def test_a_report_is_written_beside_its_file(tmp_path: Path, talk: Path) -> None:
    file = tmp_path / "talk.ndjson"
    assert CliRunner().invoke(app, ["run", str(talk), "--quiet", "--sink", str(file)]).exit_code == 0
    outcome = CliRunner().invoke(app, ["report", str(file)])
    assert outcome.stdout == f"wrote {tmp_path / 'talk.html'}\n"
    assert "All 2 turns" in (tmp_path / "talk.html").read_text(encoding="utf-8")


def test_a_call_that_comes_over_the_network_is_shown_where_it_arrives(start: Start, talk: Path) -> None:
    node = start("serve", "--dashboard", "--quiet", TONEWATCH__SERVE__PORT="0", TONEWATCH__SERVE__AHEAD_S="60")
    hello = node.look(lambda message: message["t"] == "hello" and message["microphone"] is not None)
    assert hello["microphone"] == "/v1/stream"
    sound, rate_hz = soundfile.read(talk, dtype="int16")
    turn = int(4.0 * rate_hz)  # the first turn is the customer's, the second the agent's
    tracks = np.zeros((len(sound), 2), np.int16)
    tracks[:turn, 0], tracks[turn:, 1] = sound[:turn], sound[turn:]
    hail = {"type": "start", "rate_hz": rate_hz, "channels": 2, "format": "s16le", "source": "desk", "call": "desk"}
    with connect(f"ws://{node.address}/v1/stream", proxy=None) as caller:
        caller.send(json.dumps(hail | {"parties": ["customer", "agent"]}))
        for place in range(0, len(tracks), 8_000):
            caller.send(tracks[place : place + 8_000].tobytes())
        caller.send('{"type": "stop"}')
        card = node.look(ended)["cards"][-1]
    assert (card["kind"], card["name"]) == ("call", "desk")
    seconds = {part["who"]: part["s"] for part in card["shares"]}
    assert seconds["customer"] > 2
    assert seconds["agent"] > 2
    assert sum(seconds.values()) == pytest.approx(8.0, abs=0.1)
    code, _, err = node.stop()
    assert (code, "Traceback" in err) == (0, False)
