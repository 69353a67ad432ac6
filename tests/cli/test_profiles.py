"""`tonewatch enroll` and `tonewatch profiles`, as somebody types them; the microphone guide, with and without one."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from stream.app import registry
from stream.cli.main import app
from stream.demo.conversation import AUDIO
from stream.errors import EnrolmentRefused, SourceError
from stream.profiles.enrolment_audio import EnrolmentAudio
from stream.profiles.store import ProfileStore, profiles_in
from stream.settings import Settings
from stream.tools.enrolment import enrolment, guide
from stream.types import AudioFormat, Block, Interruption, Samples
from tests.profiles.examples import recording
from tests.profiles.node import ToneModel
from tests.support.fakes import FakeDetector, FakeSource
from tests.support.pulseaudio import SoundServer

RUNNER = CliRunner()


def tonewatch(*words: object, stdin: str | None = None) -> tuple[int, str, str]:
    done = RUNNER.invoke(app, [str(word) for word in words], input=stdin)
    assert "Traceback" not in done.output
    return done.exit_code, done.stdout.strip(), done.stderr.strip()


def said_by(person: str) -> Samples:
    """All that somebody says in the demo, pauses left out; (n,)."""
    sound, rate_hz = soundfile.read(AUDIO, dtype="float32")
    rows = csv.DictReader(AUDIO.with_suffix(".csv").read_text(encoding="utf-8").splitlines())
    spans = [(float(row["start_s"]), float(row["end_s"])) for row in rows if row["speaker"] == person]
    return np.concatenate([sound[round(start * rate_hz) : round(end * rate_hz)] for start, end in spans])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "people.sqlite"


@pytest.fixture
def filled(store: Path) -> Path:
    with ProfileStore(store, create=True) as opened:
        opened.add("Al", recording(1), note="yes")
        opened.add("Bob", recording(2))
    return store


def test_somebody_is_enrolled_from_recordings_and_known_again(store: Path, tmp_path: Path) -> None:
    sound = said_by("Bob")
    half = len(sound) // 2
    for name, part in {"one.wav": sound[:half], "two.wav": sound[half:], "alice.wav": said_by("Alice")}.items():
        soundfile.write(tmp_path / name, part, 16_000)
    code, out, err = tonewatch("enroll", "Bob", "--from", tmp_path / "one.wav", "--note", "yes", "--profiles", store)
    assert (code, out.split(":")[0]) == (0, "Bob is enrolled"), err
    code, out, _ = tonewatch("profiles", "verify", tmp_path / "two.wav", "--profiles", store)
    assert code == 0
    assert out.startswith("it is Bob: probability ")
    code, out, _ = tonewatch("profiles", "verify", tmp_path / "alice.wav", "--profiles", store, "--json")
    verdict = json.loads(out)
    assert (code, verdict["speaker"], verdict["matches"][0]["speaker"]) == (1, None, "Bob")
    code, _, err = tonewatch("enroll", "Robert", tmp_path / "two.wav", "--profiles", store)
    assert code == 0
    assert "Bob sounds very much like this" in err
    code, _, err = tonewatch("enroll", "Eve", "--from", AUDIO, "--profiles", store)
    assert (code, "more than one person seems to speak" in err) == (1, True)
    assert [profile.name for profile in profiles_in(store)] == ["Bob", "Robert"]


def test_people_are_listed_renamed_merged_and_forgotten(filled: Path) -> None:
    ours = ("--profiles", filled)
    rows = json.loads(tonewatch("profiles", "list", *ours, "--json")[1])
    assert [(row["name"], row["exemplars"], row["speech_s"], row["note"]) for row in rows] == [
        ("Al", 3, 4.5, "yes"),
        ("Bob", 3, 4.5, ""),
    ]
    assert "compact-speaker 2" in tonewatch("profiles", "list", *ours)[1]
    assert tonewatch("profiles", "rename", "Al", "Alan", *ours) == (0, "Al is Alan from now on", "")
    assert tonewatch("profiles", "merge", "Bob", "Alan", *ours)[0] == 0
    assert tonewatch("profiles", "delete", "Alan", *ours, stdin="n\n")[0] == 1
    assert len(profiles_in(filled)) == 1
    assert tonewatch("profiles", "delete", "Alan", "--yes", *ours)[0] == 0
    assert profiles_in(filled) == ()
    assert "nobody is enrolled" in tonewatch("profiles", "list", *ours)[2]


def test_profiles_are_carried_to_another_file(filled: Path, tmp_path: Path) -> None:
    carried, there = tmp_path / "people.json", tmp_path / "there.sqlite"
    assert tonewatch("profiles", "export", carried, "Al", "--profiles", filled)[0] == 0
    assert tonewatch("profiles", "import", carried, "--profiles", there)[1].startswith("took 1 people")
    assert [profile.name for profile in profiles_in(there)] == ["Al"]
    code, _, err = tonewatch("profiles", "import", carried, "--profiles", there)
    assert (code, "Al: enrolled here already" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("enroll", "Al"), 2, "name recordings with --from FILE, or --microphone"),
        (("enroll", "Al", "--microphone", "--from", "a.wav"), 2, "one of the two"),
        (("enroll", "Al", "--from", "a.wav", "--device", "USB"), 2, "one of the two"),
        (("enroll", "S1", "--from", "a.wav"), 1, "what a stream calls"),
        (("enroll", "Al", "--from", "a.wav", "--note", "x" * 3_000), 1, "2000 letters at most"),
        (("enroll", "Al", "--from", "a.wav", "--profiles", ""), 2, "speakers.profiles is empty"),
        (("profiles", "delete", "Al"), 1, "nobody is enrolled as 'Al'"),
        (("profiles", "export", "x.json"), 2, "nothing to export"),
        (("profiles", "import", "nowhere.json"), 1, "cannot be read"),
    ],
)
def test_a_wrong_word_gets_one_sentence(words: tuple[str, ...], code: int, why: str) -> None:
    found, _, err = tonewatch(*words)
    assert (found, err.count("\n")) == (code, 0)
    assert why in err


def test_listing_needs_no_models(filled: Path) -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from stream.cli.main import app;"
        f"done = CliRunner().invoke(app, ['profiles', 'list', '--profiles', {str(filled)!r}]);"
        "print(done.output, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
    assert "Bob" in done.stdout


class Ears(enrolment.EnrolmentModels):
    """Hears tones."""

    def __init__(self) -> None:
        self.settings, self.model, self.detector = Settings(), ToneModel(), FakeDetector()


def tone(seconds: float, *, gain: float = 0.3, hz: int = 400) -> Samples:
    return np.asarray(gain * np.sin(2 * np.pi * hz * np.arange(round(seconds * 16_000)) / 16_000), np.float32)


@pytest.fixture
def microphone(monkeypatch: pytest.MonkeyPatch) -> Callable[..., guide.MicrophoneEnrolment]:
    """A microphone that gives what it is told to, as fast as it is taken."""

    def made(*parts: Samples | Interruption, terminal: bool = False) -> guide.MicrophoneEnrolment:
        blocks: list[Block | Interruption] = []
        at = 0
        for part in parts:
            if isinstance(part, Interruption):
                blocks.append(part)
                continue
            for piece in np.split(part, range(8_000, len(part), 8_000)):
                blocks.append(Block("microphone", at, piece[:, None]))
                at += len(piece)
        source = FakeSource(blocks, source_id="microphone", live=True, audio_format=AudioFormat(16_000, 1))
        monkeypatch.setattr(registry, "source", lambda settings: source)  # noqa: ARG005
        console = Console(record=True, force_terminal=terminal, width=100, file=io.StringIO())
        return guide.MicrophoneEnrolment(console=console)

    return made


def test_the_microphone_ends_by_itself_when_there_is_enough(
    microphone: Callable[..., guide.MicrophoneEnrolment],
) -> None:
    source = microphone(tone(30.0), terminal=True)
    (taken,) = asyncio.run(source.listen(Ears()))
    assert guide.ENOUGH_S <= taken.take.speech_s < guide.ENOUGH_S + 2
    assert (taken.kind, taken.origin) == ("microphone", "default")
    shown = source._console.export_text()
    assert "Read this aloud" in shown


def test_the_microphone_gives_up_on_silence_and_says_why(microphone: Callable[..., guide.MicrophoneEnrolment]) -> None:
    (taken,) = asyncio.run(microphone(np.zeros(16_000 * 90, np.float32)).listen(Ears()))
    with pytest.raises(EnrolmentRefused, match=r"nothing was stored: there are 0\.0 s of speech"):
        enrolment.judge([taken], Ears())


def test_a_microphone_that_is_lost_stores_nothing(
    microphone: Callable[..., guide.MicrophoneEnrolment], store: Path
) -> None:
    source = microphone(tone(2.0), Interruption("microphone", "stalled", "the device was taken away"))
    with pytest.raises(SourceError, match="the microphone is gone"):
        enrolment.enrol("Al", source, ears=Ears(), path=store, note=None)
    assert not store.exists()


def test_what_is_wrong_right_now_is_shown() -> None:
    def take(sound: Samples) -> EnrolmentAudio:
        made = Ears().take(16_000)
        made.push(sound[:, None])
        return made

    assert guide.advice(take(np.zeros(16_000, np.float32))).plain == "speak now"
    assert guide.advice(take(tone(3.0))).plain in ("good", "clipping")
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(guide.picture(take(tone(3.0))))
    assert "of 10 s" in console.export_text()


def test_ctrl_c_stores_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    @asynccontextmanager
    async def blocks() -> AsyncIterator[Any]:
        raise KeyboardInterrupt
        yield

    source = SimpleNamespace(format=AudioFormat(16_000, 1), blocks=blocks)
    monkeypatch.setattr(registry, "source", lambda settings: source)  # noqa: ARG005
    monkeypatch.setattr(enrolment, "Ears", lambda settings: Ears())  # noqa: ARG005
    code, _, err = tonewatch("enroll", "Al", "--microphone", "--profiles", store)
    assert (code, err) == (130, "tonewatch: broken off; nothing was stored")
    assert not store.exists()


@pytest.mark.slow
def test_somebody_is_enrolled_at_a_real_microphone(tmp_path: Path, store: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", np.tile(said_by("Bob"), 3), 16_000)
    with SoundServer(tmp_path / "pulse") as server:
        server.plug()
        words = ["enroll", "Bob", "--microphone", "--profiles", str(store)]
        process = subprocess.Popen(
            [sys.executable, "-m", "stream", *words],
            env=server.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "Read this aloud" in process.stderr.readline()
        playing = server.play(tmp_path / "talk.wav")
        out, err = process.communicate(timeout=120)
        playing.terminate()
        playing.wait()
        assert process.returncode == 0, err
        assert out.startswith("Bob is enrolled: 10.")
        assert profiles_in(store)[0].recordings[0].kind == "microphone"
