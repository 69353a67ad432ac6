"""What a person types, and what a wrong word gets: one sentence, the right exit code, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from stream.cli.main import app
from stream.demo.conversation import AUDIO
from stream.events import from_json

RUNNER = CliRunner()
PATIENCE_S = 60


def tonewatch(*words: str, stdin: bytes | None = None, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "stream", *words],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )


def refusal(*words: str) -> tuple[int, str]:
    """Exit code and message of a command run in this process."""
    nowhere = ("--sink", "file:/dev/null") if words[0] == "run" and "--sink" not in words else ()
    result = RUNNER.invoke(app, [*words, *nowhere])
    assert "Traceback" not in result.output
    return result.exit_code, result.stderr.strip()


def wav(path: Path, samples: np.ndarray, rate: int = 16_000, subtype: str | None = None) -> str:
    soundfile.write(path, samples, rate, subtype=subtype)
    return str(path)


def speech(seconds: float = 6.0) -> np.ndarray:
    samples, _ = soundfile.read(AUDIO, stop=int(16_000 * seconds), dtype="float32")
    return np.asarray(samples)


def test_the_demo_prints_events_and_nothing_else() -> None:
    done = tonewatch("demo")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert {from_json(line).type for line in lines} == {"emotion", "speaker", "turn", "stream", "health"}
    account = done.stderr.decode()
    assert "real-time" in account
    assert "S1" in account


def test_quiet_says_nothing_beside_events() -> None:
    assert tonewatch("run", str(AUDIO), "--quiet").stderr == b""


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("absent.wav", None, "there is no file"),
        ("text.wav", b"hello, this is text", "cannot be read as sound"),
        ("empty.wav", b"", "cannot be read as sound"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, said = refusal("run", str(tmp_path / name))
    assert code == 1
    assert sentence in said
    assert said.count("\n") == 0


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    assert "is a folder" in refusal("run", str(tmp_path))[1]


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_too_short_a_recording_is_refused(tmp_path: Path, seconds: float) -> None:
    code, said = refusal("run", wav(tmp_path / "short.wav", speech(1)[: int(16_000 * seconds)]))
    assert code == 1
    assert f"{1000 * seconds:.0f} ms of sound; at least 100 ms" in said


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers_are_named(tmp_path: Path, value: float) -> None:
    samples = speech(3)
    samples[30_000] = value
    log = tmp_path / "events.ndjson"
    code, said = refusal("run", wav(tmp_path / "nan.wav", samples, subtype="FLOAT"), "--sink", str(log), "-q")
    assert code == 1
    assert "not a number (NaN or infinite) at 1.875 s" in said
    states = [json.loads(line).get("state") for line in log.read_text().splitlines()]
    assert "ended" in states, "what was heard before is told to its end"


def test_a_recording_cut_short_is_heard_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = Path(wav(tmp_path / "whole.wav", speech(6)))
    (tmp_path / "cut.wav").write_bytes(whole.read_bytes()[: 16_000 * 2 * 3])
    done = tonewatch("run", str(tmp_path / "cut.wav"))
    assert done.returncode == 0
    assert b"was cut short" in done.stderr
    assert b'"turn"' in done.stdout


def test_many_channels_at_a_high_rate_are_heard(tmp_path: Path) -> None:
    frames = np.repeat(np.repeat(speech(4), 6)[:, None], 8, axis=1)
    log = tmp_path / "events.ndjson"
    assert refusal("run", wav(tmp_path / "many.wav", frames, 96_000), "--sink", str(log), "-q") == (0, "")
    assert '"turn"' in log.read_text()


def test_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "has only 1" in refusal("run", wav(tmp_path / "mono.wav", speech(2)), "--channels", "3")[1]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("demo", "--set", "pool.wrokers=2"), 2, "there is no setting 'pool.wrokers'; beside it may stand workers"),
        (
            ("demo", "--set", "gate.on=7"),
            2,
            "the command line: gate.on: input should be less than or equal to 1, not 7",
        ),
        (("demo", "--set", "nonsense"), 2, "--set takes KEY=VALUE"),
        (("demo", "--preset", "huge"), 2, "the presets are compact, pretrained, wav2vec2"),
        (("demo", "--config", "/nowhere.toml"), 2, "there is no configuration file /nowhere.toml"),
        (("demo", "--speaker", "nobody"), 1, "there is no model called 'nobody'"),
        (("demo", "--speaker", "compact-emotion"), 2, "is a model for emotion, not for speaker"),
        (("demo", "--sink", "ftp://x"), 2, "there is no sink called 'ftp'"),
        (("demo", "--sink", "mqtt://user:secret@host/"), 2, "TONEWATCH__MQTT__PASSWORD"),
        (("demo", "--sink", "/no/such/folder/x.ndjson"), 1, "there is no folder /no/such/folder"),
        (("run",), 2, "there is nothing to listen to"),
        (("run", str(AUDIO), "--enroll", "Alice"), 2, "--enroll takes NAME=FILE"),
        (("run", str(AUDIO), "--enroll", "Alice=/no.wav"), 1, "there is no file /no.wav"),
    ],
)
def test_wrong_words_get_one_sentence(words: tuple[str, ...], code: int, sentence: str) -> None:
    given, said = refusal(*words)
    assert sentence in said
    assert given == code
    assert "secret" not in said


def test_a_config_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[pool\nworkers = 2")
    code, said = refusal("config", "check", str(broken))
    assert code == 2
    assert "broken.toml is not valid TOML" in said


def test_raw_pcm_is_heard() -> None:
    pcm = (speech(5) * 32_767).astype("<i2").tobytes()
    done = tonewatch("run", "-", "--quiet", stdin=pcm)
    assert done.returncode == 0
    assert b'"turn"' in done.stdout


@pytest.mark.parametrize(("stdin", "sentence"), [(b"", b"held no sound"), (b"a", b"less than a frame")])
def test_raw_pcm_that_holds_nothing_is_refused(stdin: bytes, sentence: bytes) -> None:
    done = tonewatch("run", "-", stdin=stdin)
    assert done.returncode == 1
    assert sentence in done.stderr


def test_an_enrolled_voice_is_called_by_its_name(tmp_path: Path) -> None:
    samples, rate = soundfile.read(AUDIO, dtype="float32")
    bob = wav(tmp_path / "bob.wav", samples[int(12.0 * rate) : int(16.0 * rate)], rate)
    log = tmp_path / "events.ndjson"
    assert refusal("run", str(AUDIO), "--enroll", f"Bob={bob}", "--sink", str(log), "-q") == (0, "")
    turns = [event for event in map(json.loads, log.read_text().splitlines()) if event["type"] == "turn"]
    assert {turn["speaker"] for turn in turns} == {"Bob", "S1", "S2"}


def test_too_little_speech_is_no_enrolment(tmp_path: Path) -> None:
    code, said = refusal("run", str(AUDIO), "--enroll", f"Bob={wav(tmp_path / 'b.wav', speech(1.5))}")
    assert code == 2
    assert "Bob needs 3 s at least" in said


def test_a_reader_that_goes_away_ends_the_run() -> None:
    command = f"{sys.executable} -m stream demo --quiet | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 141
    assert done.stderr.decode().strip().endswith("standard output was closed by its reader; nothing more can be told")
    assert b"Traceback" not in done.stderr


def test_a_full_disk_ends_the_run_with_a_sentence() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stream", "demo", "--quiet"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def start_paced() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "stream", "demo", "--realtime"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    for line in process.stdout:
        if b'"phase":"start"' in line:
            return process
    raise AssertionError("no turn was ever told")


def test_one_interrupt_ends_open_turns_and_says_so() -> None:
    process = start_paced()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    kinds = [
        (event.type, getattr(event, "phase", getattr(event, "state", ""))) for event in map(from_json, out.splitlines())
    ]
    assert ("turn", "end") in kinds
    assert ("stream", "ended") in kinds
    assert kinds[-1][0] == "health"
    assert b"Traceback" not in err


def test_a_writer_who_is_silent_does_not_keep_an_interrupt_waiting() -> None:
    words = [sys.executable, "-m", "stream", "run", "-", "--quiet"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write((speech(4) * 32_767).astype("<i2").tobytes())
        process.stdin.flush()
        while b'"phase":"start"' not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        out = process.stdout.read()  # standard input stays open all the while
        assert process.wait(PATIENCE_S) == 130
        assert b'"state":"ended"' in out
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_two_interrupts_leave_at_once() -> None:
    process = start_paced()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130


def test_an_interrupt_while_models_load_leaves() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "stream", "run", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # the handlers are in place once the loop runs; before that Python's own end the process, too
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (143, -signal.SIGTERM)


def test_help_is_quick_to_import() -> None:
    heavy = ("torch", "transformers", "numpy", "pydantic")
    code = f"import sys, stream.cli.main; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_models_are_listed_without_torch() -> None:
    result = RUNNER.invoke(app, ["models", "list", "--json"])
    rows = json.loads(result.stdout)
    assert {"compact-emotion", "compact-speaker", "emotion-wav2vec2-large", "speaker-wavlm"} <= {
        row["name"] for row in rows
    }


def test_schemas_are_printed() -> None:
    assert json.loads(RUNNER.invoke(app, ["schema"]).stdout)["title"] == "tonewatch event"
    assert "pool" in json.loads(RUNNER.invoke(app, ["config", "schema"]).stdout)["properties"]


def test_secrets_are_masked() -> None:
    os.environ["TONEWATCH__MQTT__PASSWORD"] = "hunter2"
    try:
        shown = RUNNER.invoke(app, ["config", "show"]).stdout
    finally:
        del os.environ["TONEWATCH__MQTT__PASSWORD"]
    assert "hunter2" not in shown
