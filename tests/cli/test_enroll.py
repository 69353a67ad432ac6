"""`tonewatch enroll`: recordings, the microphone, and rejected input."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stream.app import registry
from stream.profiles.store import read_profiles
from stream.tools.enrolment import enrolment
from stream.types import AudioFormat
from tests.support.command import run_command
from tests.support.pulseaudio import SoundServer
from tests.support.requirements import ROOT
from tests.support.small_models import TINY
from tests.support.tones import wav
from tests.support.voices import demo_speech
from tests.tools.enrolment.models import ToneEnrolmentModels

pytestmark = pytest.mark.slow


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "profiles.sqlite"


def in_form(text: str) -> str:
    """Replace figures by `N`, but keep the required probability."""
    return re.sub(r"-?\d+(\.\d+)?(?! required)", "N", text)


@pytest.mark.long
def test_people_are_enrolled_from_recordings_and_recognised(database: Path, tmp_path: Path) -> None:
    parts: dict[str, list[Path]] = {}
    for name in ("Alice", "Bob", "Stranger_1"):
        halves = np.array_split(demo_speech(name), 2)
        parts[name] = [wav(tmp_path / f"{name}-{number}.wav", half) for number, half in enumerate(halves)]
    options = ("--profiles", database)
    alice = run_command("enroll", "Alice", "--from", parts["Alice"][0], "--note", "yes", *options)
    bob = run_command("enroll", "Bob", parts["Bob"][0], *options)
    match = run_command("profiles", "verify", parts["Alice"][1], *options)
    assert (alice.code, bob.code, match.code) == (0, 0, 0), (alice, bob, match)
    shown = in_form((ROOT / "docs" / "profiles.md").read_text(encoding="utf-8"))
    for result in (alice, bob, match):
        assert in_form(result.output) in shown, "the page shows what the command prints"
    other = run_command("profiles", "verify", parts["Stranger_1"][0], *options)
    assert (other.code, other.output.startswith("no match; closest is ")) == (1, True)
    refused = run_command("enroll", "Robert", parts["Bob"][1], *options)
    assert (refused.code, "nothing was stored: too alike: 'Bob' or 'Robert'" in refused.errors) == (1, True)
    similar = run_command("enroll", "Robert", parts["Bob"][1], "--allow-similar", *options)
    assert similar.code == 0
    assert "the voice is very similar to Bob" in similar.errors
    both = wav(tmp_path / "both.wav", np.concatenate([demo_speech(name)[: 5 * 16_000] for name in ("Alice", "Bob")]))
    mixed = run_command("enroll", "Eve", "--from", both, *options)
    assert (mixed.code, "people speak, for " in mixed.errors) == (1, True)
    assert [profile.name for profile in read_profiles(database)] == ["Alice", "Bob", "Robert"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("enroll", "Al"), 2, "name either recordings (--from FILE) or --microphone"),
        (("enroll", "Al", "--microphone", "--from", "a.wav"), 2, "name either recordings"),
        (("enroll", "Al", "--from", "a.wav", "--device", "USB"), 2, "--device needs --microphone"),
        (("enroll", "S1", "--from", "a.wav"), 1, "reserved for voices discovered in a stream"),
        (("enroll", "Al", "--from", "a.wav", "--note", "x" * 3_000), 1, "3000 letters, at most 2000"),
        (("enroll", "Al", "--from", "a.wav", "--profiles", ""), 2, "speakers.profiles is empty"),
    ],
)
def test_invalid_input_gives_one_line(words: tuple[str, ...], code: int, message: str) -> None:
    result = run_command(*words)
    assert (result.code, result.errors.count("\n")) == (code, 0)
    assert message in result.errors


def test_ctrl_c_stores_nothing(monkeypatch: pytest.MonkeyPatch, database: Path) -> None:
    @asynccontextmanager
    async def blocks() -> AsyncIterator[Any]:
        raise KeyboardInterrupt
        yield

    source = SimpleNamespace(format=AudioFormat(16_000, 1), blocks=blocks)
    monkeypatch.setattr(registry, "source", lambda settings: source)  # noqa: ARG005
    monkeypatch.setattr(enrolment, "EnrolmentModels", lambda settings: ToneEnrolmentModels())  # noqa: ARG005
    result = run_command("enroll", "Al", "--microphone", "--profiles", database)
    assert (result.code, result.errors) == (130, "tonewatch: cancelled; nothing was stored")
    assert not database.exists()


@pytest.mark.long
def test_a_person_is_enrolled_at_a_real_microphone(tmp_path: Path, database: Path) -> None:
    speech = wav(tmp_path / "speech.wav", np.tile(demo_speech("Bob"), 3))
    with SoundServer(tmp_path / "pulse") as server:
        server.plug()
        words = ["enroll", "Bob", "--microphone", "--profiles", str(database), *TINY]
        process = subprocess.Popen(
            [sys.executable, "-m", "stream", *words],
            env=server.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "Read this aloud" in process.stderr.readline()
        playing = server.play(speech)
        output, errors = process.communicate(timeout=120)
        playing.terminate()
        playing.wait()
        assert process.returncode == 0, errors
        assert output.startswith("Enrolled Bob: 10.")
        assert read_profiles(database)[0].recordings[0].kind == "microphone"
