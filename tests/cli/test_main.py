"""The command line: events on standard output, one line for what is wrong, exit codes, signals.

A few tests start a process that loads models; the others run the command in this process, on the first seconds of the
demo.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
import pytest
import soundfile

from stream.cli.main import app, main
from stream.demo.conversation import AUDIO
from stream.events import Event, from_json
from stream.settings import Settings
from tests.support.command import run_command
from tests.support.demo import DemoRun
from tests.support.small_models import TINY
from tests.support.tones import wav

pytestmark = pytest.mark.slow

TIMEOUT_S = 60
Command = Callable[..., tuple[int, str, str]]
TONEWATCH = [sys.executable, "-m", "stream"]


@contextmanager
def unconfigured_logging() -> Iterator[None]:
    """Take pytest's handlers off the root logger, so that the command installs its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def tonewatch(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command with the small nets in this process; returns exit code, standard output and standard error."""

    def run(*words: object, stdin: BinaryIO | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stdin or io.BytesIO()))
        with pytest.raises(SystemExit) as end, unconfigured_logging():
            app([str(word) for word in (*words, *TINY)])
        output, errors = capfd.readouterr()
        assert "Traceback" not in errors
        assert isinstance(end.value.code, int)
        return end.value.code, output, errors

    return run


def refusal(*words: object) -> tuple[int, str]:
    """Return exit code and message of a command run in this process, with the small nets unless it names a preset."""
    sink = ("--sink", "file:/dev/null") if words[0] == "run" and "--sink" not in words else ()
    preset = () if "--preset" in words else TINY
    result = run_command(*words, *sink, *preset)
    return result.code, result.errors


def speech(seconds: float = 6.0, *, start_s: float = 0.0) -> np.ndarray:
    samples, _ = soundfile.read(
        AUDIO, start=int(16_000 * start_s), stop=int(16_000 * (start_s + seconds)), dtype="float32"
    )
    return np.asarray(samples)


def pcm(seconds: float = 5.0) -> bytes:
    return (speech(seconds) * 32_767).astype("<i2").tobytes()


def kinds(output: str | bytes | list[str]) -> list[tuple[str, str]]:
    """Return type and phase or state of each event."""
    events: list[Event] = [from_json(line) for line in (output if isinstance(output, list) else output.splitlines())]
    return [(event.type, getattr(event, "phase", getattr(event, "state", ""))) for event in events]


@pytest.mark.long
def test_the_demo_prints_events_and_nothing_else(demo_process: DemoRun) -> None:
    """With the default preset."""
    assert demo_process.code == 0
    assert {kind for kind, _ in kinds(demo_process.lines)} == {"emotion", "speaker", "turn", "stream", "health"}
    assert "real-time" in demo_process.errors
    assert "S1" in demo_process.errors


def test_the_demo_has_a_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, bool] = {}

    def run(_: Settings, **given: bool) -> int:
        options.update(given)
        return 0

    monkeypatch.setattr("stream.app.run.run_until_stopped", run)
    assert run_command("demo", "--dashboard", "--quiet").code == 0
    assert options == {"quiet": True, "dashboard": True, "keep_dashboard": True}


def test_quiet_prints_nothing_beside_events(tmp_path: Path, tonewatch: Command) -> None:
    code, output, errors = tonewatch("run", wav(tmp_path / "demo.wav", speech()), "--quiet")
    assert (code, errors) == (0, "")
    assert ("turn", "end") in kinds(output)


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("absent.wav", None, "no such file"),
        ("text.wav", b"hello, this is text", "cannot read audio from"),
        ("empty.wav", b"", "is empty"),
    ],
)
def test_a_file_without_audio_is_refused(tmp_path: Path, name: str, content: bytes | None, fragment: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, message = refusal("run", str(tmp_path / name))
    assert code == 1
    assert fragment in message
    assert message.count("\n") == 0


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal("run", str(tmp_path))[1]


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_a_recording_that_is_too_short_is_refused(tmp_path: Path, seconds: float) -> None:
    code, message = refusal("run", wav(tmp_path / "short.wav", speech(1)[: int(16_000 * seconds)]))
    assert code == 1
    assert f"{1000 * seconds:.0f} ms of audio; at least 100 ms" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_located(tmp_path: Path, value: float) -> None:
    samples = speech(3)
    samples[30_000] = value
    log = tmp_path / "events.ndjson"
    code, message = refusal("run", wav(tmp_path / "nan.wav", samples, subtype="FLOAT"), "--sink", str(log), "-q")
    assert code == 1
    assert "at 1.875 s" in message
    states = [json.loads(line).get("state") for line in log.read_text().splitlines()]
    assert "ended" in states, "the audio before is processed to its end"


def test_a_truncated_recording_is_processed_as_far_as_it_goes(tmp_path: Path, tonewatch: Command) -> None:
    whole = wav(tmp_path / "whole.wav", speech())
    (tmp_path / "cut.wav").write_bytes(whole.read_bytes()[: 16_000 * 2 * 3])
    code, output, errors = tonewatch("run", str(tmp_path / "cut.wav"))
    assert code == 0
    assert "is truncated" in errors
    assert ("turn", "end") in kinds(output)


def test_many_channels_at_a_high_rate_are_processed(tmp_path: Path) -> None:
    frames = np.repeat(np.repeat(speech(4), 6)[:, None], 8, axis=1)
    log = tmp_path / "events.ndjson"
    assert refusal("run", wav(tmp_path / "many.wav", frames, rate_hz=96_000), "--sink", str(log), "-q") == (0, "")
    assert '"turn"' in log.read_text()


def test_a_missing_channel_is_refused(tmp_path: Path) -> None:
    assert "no channel 3" in refusal("run", wav(tmp_path / "mono.wav", speech(2)), "--channels", "3")[1]


@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        (("demo", "--set", "pool.wrokers=2"), 2, "unknown setting 'pool.wrokers'; valid keys: workers"),
        (
            ("demo", "--set", "gate.on=7"),
            2,
            "the command line: gate.on: input should be less than or equal to 1, not 7",
        ),
        (("demo", "--set", "nonsense"), 2, "--set takes KEY=VALUE"),
        (("demo", "--preset", "huge"), 2, "available: compact, pretrained, tiny, wav2vec2"),
        (("demo", "--config", "/nowhere.toml"), 2, "no configuration file /nowhere.toml"),
        (("demo", "--speaker", "nobody"), 1, "unknown model 'nobody'"),
        (("demo", "--speaker", "compact-emotion"), 2, "is a model for emotion"),
        (("demo", "--sink", "ftp://x"), 2, "unknown sink 'ftp'"),
        (("demo", "--sink", "mqtt://user:secret@host/"), 2, "TONEWATCH__MQTT__PASSWORD"),
        (("demo", "--sink", "/no/such/folder/x.ndjson"), 1, "no folder '/no/such/folder'"),
        (("run",), 2, "no source given"),
        (("run", str(AUDIO), "--enroll", "Alice"), 2, "--enroll takes NAME=FILE"),
        (("run", str(AUDIO), "--enroll", "Alice=/no.wav"), 1, "no such file '/no.wav'"),
    ],
)
def test_wrong_arguments_get_one_line(words: tuple[str, ...], code: int, fragment: str) -> None:
    given, message = refusal(*words)
    assert fragment in message
    assert given == code
    assert message.count("\n") == 0
    assert "secret" not in message


def test_raw_pcm_is_processed(tonewatch: Command) -> None:
    code, output, _ = tonewatch("run", "-", "--quiet", stdin=io.BytesIO(pcm()))
    assert code == 0
    assert ("turn", "end") in kinds(output)


@pytest.mark.parametrize(("stdin", "fragment"), [(b"", "no audio on standard input"), (b"a", "less than a frame")])
def test_raw_pcm_without_a_frame_is_refused(tonewatch: Command, stdin: bytes, fragment: str) -> None:
    code, _, errors = tonewatch("run", "-", stdin=io.BytesIO(stdin))
    assert code == 1
    assert fragment in errors


def test_an_enrolled_voice_is_reported_by_its_name(tmp_path: Path) -> None:
    bob = wav(tmp_path / "bob.wav", speech(4.0, start_s=12.0))
    start = wav(tmp_path / "start.wav", speech(7.4))
    log = tmp_path / "events.ndjson"
    assert refusal("run", start, "--enroll", f"Bob={bob}", "--sink", str(log), "-q") == (0, "")
    turns = [event for event in map(json.loads, log.read_text().splitlines()) if event["type"] == "turn"]
    assert {turn["speaker"] for turn in turns} == {"Bob", "S1"}


def test_too_little_speech_is_no_enrolment(tmp_path: Path) -> None:
    code, message = refusal("run", str(AUDIO), "--enroll", f"Bob={wav(tmp_path / 'b.wav', speech(1.5))}")
    assert code == 2
    assert "at least 3 s needed" in message


def test_a_reader_that_closes_ends_the_run() -> None:
    command = f"{sys.executable} -m stream demo --quiet {' '.join(TINY)} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 141
    assert b"standard output was closed by its reader" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.long
def test_a_full_disk_ends_the_run_with_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*TONEWATCH, "demo", "--quiet", *TINY], stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT_S, check=False
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.long
def test_one_interrupt_ends_open_turns_and_streams() -> None:
    with subprocess.Popen(
        [*TONEWATCH, "demo", "--realtime", *TINY], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(b'"phase":"start"' in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        published = kinds(process.stdout.read())
        errors = process.stderr.read()
        assert process.wait(TIMEOUT_S) == 130
    assert ("turn", "end") in published
    assert ("stream", "ended") in published
    assert published[-1][0] == "health"
    assert b"Traceback" not in errors


class SilentWriter(io.RawIOBase):
    """Standard input that brings some audio, sends interrupts to this process, and then neither audio nor an end."""

    def __init__(self, audio: bytes, *, interrupts: int) -> None:
        self._audio = io.BytesIO(audio)
        self._interrupts = interrupts
        self._closed = threading.Event()

    def read1(self, size: int) -> bytes:
        if piece := self._audio.read(size):
            return piece
        for _ in range(self._interrupts):
            signal.raise_signal(signal.SIGINT)
        self._closed.wait()
        return b""

    def __exit__(self, *_: object) -> None:
        self._closed.set()


def test_a_silent_writer_does_not_delay_an_interrupt(tonewatch: Command) -> None:
    with SilentWriter(pcm(4.0), interrupts=1) as writer:
        code, output, errors = tonewatch("run", "-", "--quiet", stdin=writer)
    assert code == 130
    assert ("stream", "ended") in kinds(output)
    assert errors == ""


def test_a_second_interrupt_exits_at_once(tonewatch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", leave)
    with SilentWriter(pcm(4.0), interrupts=2) as writer:
        code, output, _ = tonewatch("run", "-", "--quiet", stdin=writer)
    assert code == 130
    assert ("stream", "ended") not in kinds(output), "open turns and streams are not ended any more"


def test_a_signal_while_models_load_ends_the_process() -> None:
    process = subprocess.Popen([*TONEWATCH, "run", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    # the handlers are installed once the event loop runs; before, Python's own end the process as well
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode in (143, -signal.SIGTERM)


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("4", "4")])
def test_numpy_has_one_thread_unless_the_environment_says_otherwise(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", given or "")  # put back after the test
    if given is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    seen: list[str] = []
    monkeypatch.setattr("stream.cli.main.app", lambda: seen.append(os.environ["OPENBLAS_NUM_THREADS"]))
    main()
    assert seen == [used]


def test_help_is_quick_to_import() -> None:
    heavy = ("torch", "transformers", "numpy", "pydantic")
    code = f"import sys, stream.cli.main; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
