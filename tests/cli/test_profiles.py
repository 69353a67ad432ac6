"""`tonewatch profiles`: list, verify, rename, merge, export, import, delete."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from stream.events import ModelRef
from stream.profiles.profile import FittedCalibration
from stream.profiles.store import ProfileStore, read_profiles
from stream.tools.enrolment import enrolment
from tests.profiles.examples import MODEL, recording
from tests.support.command import run_command
from tests.support.tones import tone, wav
from tests.tools.enrolment.models import ToneEnrolmentModels

pytestmark = pytest.mark.slow


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.sqlite"
    with ProfileStore(path, create=True) as store:
        store.add("Al", recording(1), note="yes")
        store.add("Bob", recording(2))
    return path


def test_profiles_are_listed_renamed_merged_and_deleted(database: Path) -> None:
    options = ("--profiles", database)
    rows = json.loads(run_command("profiles", "list", *options, "--json").output)
    assert [(row["name"], row["exemplars"], row["speech_s"], row["note"]) for row in rows] == [
        ("Al", 3, 4.5, "yes"),
        ("Bob", 3, 4.5, ""),
    ]
    assert "compact-speaker 3" in run_command("profiles", "list", *options).output
    assert run_command("profiles", "rename", "Al", "Alan", *options) == (0, "Renamed Al to Alan\n", "")
    assert run_command("profiles", "merge", "Bob", "Alan", *options) == (0, "Merged Bob into Alan\n", "")
    assert run_command("profiles", "delete", "Alan", *options, stdin="n\n").code == 1
    assert len(read_profiles(database)) == 1
    with ProfileStore(database) as store:
        store.set_calibration(FittedCalibration(MODEL, (9.0, 0.4, 1.1), 0.5, 12, 40))
    deleted = run_command("profiles", "delete", "Alan", "--yes", *options).output
    assert deleted.startswith("Deleted Alan. ")
    assert "Deleted the calibration of compact-speaker, which was fitted on them" in deleted
    assert read_profiles(database) == ()
    assert "no profiles in" in run_command("profiles", "list", *options).errors


def test_profiles_of_another_model_are_named_with_their_remedies(database: Path) -> None:
    with ProfileStore(database) as store:
        store.add("Cleo Z", recording(3, kind="microphone", origin="USB"))
        store.add("Dan", recording(4, model=ModelRef(name="speaker-campplus", revision="1")))
        store.add("Al", recording(5, origin="al two.wav"))
    shown = run_command("profiles", "list", "--profiles", database)
    assert shown.errors.splitlines() == [
        "not recognised with speaker-campplus, since x-vectors of different models are not comparable: Al, Bob, Cleo Z",
        "run with `--preset tiny`, or enrol again:",
        "  tonewatch enroll Al --from talk.wav --from 'al two.wav'",
        "  tonewatch enroll Bob --from talk.wav",
        "  tonewatch enroll 'Cleo Z' --microphone",
    ]
    _, _, errors = run_command("profiles", "list", "--profiles", database, "--preset", "tiny")
    assert errors.splitlines()[1:] == [
        "run with `--preset compact`, or enrol again:",
        "  tonewatch enroll Dan --from talk.wav --preset tiny",
    ]
    assert run_command("profiles", "list", "--profiles", database, "--json").errors == ""


def test_profiles_are_exported_and_imported(database: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "people.json", tmp_path / "other.sqlite"
    exported = run_command("profiles", "export", file, "Al", "--profiles", database)
    assert exported == (0, f"Exported 1 profile to {file} (biometric data)\n", "")
    assert run_command("profiles", "import", file, "--profiles", other).output == f"Imported 1 profile from {file}\n"
    assert [profile.name for profile in read_profiles(other)] == ["Al"]
    again = run_command("profiles", "import", file, "--profiles", other)
    assert (again.code, "nothing was imported: Al enrolled already" in again.errors) == (1, True)


def test_a_recording_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "EnrolmentModels", lambda settings: ToneEnrolmentModels())  # noqa: ARG005
    database = tmp_path / "profiles.sqlite"
    low, high = wav(tmp_path / "low.wav", tone(400, 6.0)), wav(tmp_path / "high.wav", tone(1_100, 6.0))
    empty = run_command("profiles", "verify", low, "--profiles", database)
    assert (empty.code, empty.output.startswith("no match: there are no profiles of this model")) == (1, True)
    models = ToneEnrolmentModels()
    with ProfileStore(database, create=True) as store:
        for name, file in (("Bob", low), ("Zoe", wav(tmp_path / "third.wav", tone(2_500, 6.0)))):
            take = asyncio.run(enrolment.read_take(file, models))
            store.add(name, take.audio.recording(kind="file", origin=file.name))
    result = run_command("profiles", "verify", low, "--profiles", database)
    assert result.code == 0
    assert result.output.startswith("match: Bob (probability 1.00, 0.65 required; score 1.00, even odds at ")
    assert "; next is Zoe (0." in result.output
    result = run_command("profiles", "verify", high, "--profiles", database, "--json")
    figures = json.loads(result.output)
    assert (result.code, figures["speaker"], figures["probability_needed"]) == (1, None, 0.65)
    assert {match["speaker"] for match in figures["matches"]} == {"Bob", "Zoe"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("delete", "Al"), 1, "no profile 'Al'"),
        (("export", "x.json"), 2, "nothing to export"),
        (("import", "nowhere.json"), 1, "cannot read nowhere.json"),
        (("list", "--profiles", ""), 2, "speakers.profiles is empty"),
    ],
)
def test_invalid_input_gives_one_line(words: tuple[str, ...], code: int, message: str) -> None:
    result = run_command("profiles", *words)
    assert (result.code, result.errors.count("\n")) == (code, 0)
    assert message in result.errors


def test_listing_loads_no_models(database: Path) -> None:
    script = (
        "import sys; from tests.support.command import run_command;"
        f"result = run_command('profiles', 'list', '--profiles', {str(database)!r});"
        "print(result.output, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
    assert "Bob" in done.stdout
