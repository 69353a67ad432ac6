"""`tonewatch replay`: the same for a recording and for its events, narrowed, drawn, and refused in a sentence."""

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
from stream.tools.replay.display import DisplayPart, replayed_streams, print_streams
from stream.tools.replay.plot import ReplayedStream, write_plot
from tests.support.command import CommandResult, run_command
from tests.tools.replay.test_log import evening


def typed(*words: str | Path) -> CommandResult:
    return run_command("replay", *words)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "room.ndjson"
    path.write_text("".join(f"{events.to_json(event)}\n" for event in evening()))
    return path


def timeline_of(heard: ReplayedStream, *, terminal: bool = False, part: DisplayPart = DisplayPart()) -> str:  # noqa: B008 - frozen
    console = Console(width=95, file=io.StringIO(), force_terminal=terminal, color_system=None)
    print_streams([heard], part=part, explain=terminal, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_recording_and_its_events_are_explained_alike(tmp_path: Path) -> None:
    recording, log = tmp_path / "demo.wav", tmp_path / "demo.ndjson"
    soundfile.write(recording, soundfile.read(AUDIO, stop=160_000)[0], 16_000)
    assert run_command("run", recording, "-q", "--sink", log).code == 0
    live, recorded = typed(recording, "--explain"), typed(log, "--explain")
    assert live[0] == recorded[0] == 0
    lines = [text.split("model  ")[0] for text in (live[1], recorded[1])]
    assert lines[0] == lines[1], "but for what it took, the same sound tells the same"
    first = r"^00:01\.0–00:01\.5  ◌ somebody  too little speech in the window; 0\.4 s of speech$"
    assert re.search(first, lines[0], re.MULTILINE)


def test_it_is_narrowed(file: Path) -> None:
    code, said, _ = typed(file, "--explain", "--from", "00:02.5", "--to", "4.5")
    assert code == 0
    assert "too little speech" not in said
    assert "● S1" in said
    assert "is Alice" not in said
    assert "unknown " in said
    assert "not yet" not in said, "rows without anything to show are left out"


def test_a_row_a_speaker_and_the_reference_beside_it() -> None:
    (heard,) = replayed_streams(evening(), fold=True, reference={"x": [Segment(0.5, 3.0, "Alice"), Segment(3.0, 8.0, "Bob")]})
    rows = {line[:8].strip(): line[9:] for line in timeline_of(heard).splitlines()[1:] if line.strip()}
    assert list(rows) == ["S1", "Alice", "not yet", "unknown", "referenc", "Bob", ""]
    assert rows["S1"].strip() == "█" * 20
    assert rows["S1"].index("█") == 20
    assert rows["unknown"].strip() == "▒" * 10
    assert rows["Bob"].strip() == "━" * 50


def test_a_terminal_folds_reasons_below_themselves() -> None:
    (heard,) = replayed_streams(evening(), fold=True)
    lines = timeline_of(heard, terminal=True).splitlines()
    assert max(map(len, lines)) <= 95
    assert sum("nearest voice" in line for line in lines) == 3


@pytest.mark.parametrize("suffix", ["html", "svg", "png"])
def test_it_is_drawn_into_a_file(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"room.{suffix}"
    write_plot(out, replayed_streams(evening(), fold=True, reference={"room": [Segment(0.5, 3.0, "<Bob>")]}))
    content = out.read_bytes()
    if suffix == "png":
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        return
    text = content.decode()
    for words in ("told live", "= &lt;Bob&gt;", "S1", "too little speech in the window; 0.4 s of speech"):
        assert words in text
    assert not re.search(r"(?:src|href)=|url\(|<script|@import", text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("microphone",), "is no recording; listen to it with `tonewatch run microphone`"),
        (("/nowhere.wav",), "no such file '/nowhere.wav'"),
        (("/nowhere.ndjson",), "cannot be read: No such file"),
        (("demo", "--from", "noon"), "--from takes seconds, MM:SS or H:MM:SS, not 'noon'"),
        (("demo", "--from", "10", "--to", "00:05"), "00:05 is not behind 10"),
        (("demo", "--plot", "x.pdf"), "--plot draws .html, .png, .svg"),
        (("demo", "--plot", "/nowhere/x.png"), "there is no folder /nowhere"),
        (("demo", "--rttm", "/nowhere.rttm"), "/nowhere.rttm cannot be read"),
        (("FILE", "--enroll", "A=a.wav"), "holds events that models have made already; leave out --enroll"),
        (("FILE", "--from", "1:00"), "--from lies behind the end: room is 00:08.0 long"),
        (("FILE", "--source", "hall"), "nothing was heard of 'hall'; there is room"),
        (("EMPTY",), "holds no event"),
    ],
)
def test_what_cannot_be_is_refused(file: Path, tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    (tmp_path / "empty.ndjson").touch()
    places = {"FILE": str(file), "EMPTY": str(tmp_path / "empty.ndjson")}
    code, _, said = typed(*(places.get(word, word) for word in words))
    assert code
    assert sentence in said
    assert said.count("\n") == 0


def test_a_reference_of_somebody_else_is_refused(file: Path, tmp_path: Path) -> None:
    rttm = tmp_path / "r.rttm"
    rttm.write_text("SPEAKER a 1 0 1 <NA> <NA> x <NA> <NA>\nSPEAKER b 1 0 1 <NA> <NA> x <NA> <NA>\n")
    assert "the reference says nothing of room; it knows a, b" in typed(file, "--rttm", rttm)[2]


def test_a_reader_that_leaves_early_is_no_trouble(file: Path) -> None:
    command = f"{sys.executable} -m stream replay {file} --explain --no-fold | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("room\n", "")
