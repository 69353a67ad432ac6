"""`tonewatch replay`: recordings and recorded events, parts, plots, and errors."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from rich.console import Console

from stream import events
from stream.demo.conversation import AUDIO
from stream.tools.evaluation.segments import Segment
from stream.tools.replay.display import DisplayPart, print_streams, replayed_streams
from stream.tools.replay.plot import ReplayedStream, write_plot
from tests.support.command import CommandResult, run_command
from tests.support.small_models import TINY
from tests.tools.replay.test_log import example_events

pytestmark = pytest.mark.slow


def replay(*words: str | Path) -> CommandResult:
    return run_command("replay", *words)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "room.ndjson"
    path.write_text("".join(f"{events.to_json(event)}\n" for event in example_events()))
    return path


def timeline_of(stream: ReplayedStream, *, terminal: bool = False, part: DisplayPart = DisplayPart()) -> str:  # noqa: B008 - frozen
    console = Console(width=95, file=io.StringIO(), force_terminal=terminal, color_system=None)
    print_streams([stream], part=part, explain=terminal, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.slow
def test_a_recording_and_its_events_have_equal_logs(tmp_path: Path) -> None:
    recording, log = tmp_path / "demo.wav", tmp_path / "demo.ndjson"
    soundfile.write(recording, soundfile.read(AUDIO, stop=160_000)[0], 16_000)
    assert run_command("run", recording, "-q", "--sink", log, *TINY).code == 0
    live, recorded = replay(recording, "--explain", *TINY), replay(log, "--explain")
    assert live[0] == recorded[0] == 0
    lines = [text.split("model  ")[0] for text in (live[1], recorded[1])]
    assert lines[0] == lines[1], "equal but for the processing figures"
    short = r"^00:05\.5–00:06\.0  ◌ tentative  too little speech in the window; 0\.3 s of speech$"
    assert re.search(short, lines[0], re.MULTILINE)


def test_a_part_is_shown(file: Path) -> None:
    code, output, _ = replay(file, "--explain", "--from", "00:02.5", "--to", "4.5")
    assert code == 0
    assert "too little speech" not in output
    assert "● S1" in output
    assert "is Alice" not in output
    assert "unknown " in output
    assert "not yet" not in output, "empty rows are omitted"


def test_a_row_per_speaker_and_per_reference_speaker() -> None:
    (stream,) = replayed_streams(
        example_events(), fold=True, reference={"x": [Segment(0.5, 3.0, "Alice"), Segment(3.0, 8.0, "Bob")]}
    )
    rows = {line[:8].strip(): line[9:] for line in timeline_of(stream).splitlines()[1:] if line.strip()}
    assert list(rows) == ["S1", "Alice", "not yet", "unknown", "referenc", "Bob", ""]
    assert rows["S1"].strip() == "█" * 20
    assert rows["S1"].index("█") == 20
    assert rows["unknown"].strip() == "▒" * 10
    assert rows["Bob"].strip() == "━" * 50


def test_long_explanations_wrap_on_a_terminal() -> None:
    (stream,) = replayed_streams(example_events(), fold=True)
    lines = timeline_of(stream, terminal=True).splitlines()
    assert max(map(len, lines)) <= 95
    assert sum("nearest voice" in line for line in lines) == 3


@pytest.mark.parametrize("suffix", ["html", "svg", "png"])
def test_plots(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"room.{suffix}"
    write_plot(out, replayed_streams(example_events(), fold=True, reference={"room": [Segment(0.5, 3.0, "<Bob>")]}))
    content = out.read_bytes()
    if suffix == "png":
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        return
    text = content.decode()
    for words in ("live", "= &lt;Bob&gt;", "S1", "too little speech in the window; 0.4 s of speech"):
        assert words in text
    assert not re.search(r"(?:src|href)=|url\(|<script|@import", text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("microphone",), "is not a recording; process it with `tonewatch run microphone`"),
        (("/nowhere.wav",), "no such file '/nowhere.wav'"),
        (("/nowhere.ndjson",), "cannot be read (No such file"),
        (("demo", "--from", "noon"), "invalid --from 'noon'; use seconds, MM:SS or H:MM:SS"),
        (("demo", "--from", "10", "--to", "00:05"), "--to 00:05 is not after --from 10"),
        (("demo", "--plot", "x.pdf"), "--plot takes .html, .png, .svg"),
        (("demo", "--plot", "/nowhere/x.png"), "folder /nowhere does not exist"),
        (("demo", "--rttm", "/nowhere.rttm"), "/nowhere.rttm cannot be read"),
        (("FILE", "--enroll", "A=a.wav"), "contains events that are already computed; omit --enroll"),
        (("FILE", "--from", "1:00"), "--from is after the end of room (00:08.0)"),
        (("FILE", "--source", "hall"), "no events of 'hall'; available: room"),
        (("EMPTY",), "has no events"),
    ],
)
def test_errors(file: Path, tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    (tmp_path / "empty.ndjson").touch()
    places = {"FILE": str(file), "EMPTY": str(tmp_path / "empty.ndjson")}
    code, _, message = replay(*(places.get(word, word) for word in words))
    assert code
    assert sentence in message
    assert message.count("\n") == 0


def test_a_reference_of_another_recording_is_rejected(file: Path, tmp_path: Path) -> None:
    rttm = tmp_path / "r.rttm"
    rttm.write_text("SPEAKER a 1 0 1 <NA> <NA> x <NA> <NA>\nSPEAKER b 1 0 1 <NA> <NA> x <NA> <NA>\n")
    assert "the reference has no recording 'room'; it has a, b" in replay(file, "--rttm", rttm)[2]


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(file: Path) -> None:
    command = f"{sys.executable} -m stream replay {file} --explain --no-fold | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("room\n", "")
