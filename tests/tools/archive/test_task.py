"""The task of one recording: the lines of one machine, whatever machine has the file."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
import soundfile

from stream.app.assembly import assemble
from stream.demo.conversation import AUDIO, ENROLMENTS, PROFILES
from stream.profiles import transfer
from stream.profiles.store import ProfileStore
from stream.settings import Settings, load
from stream.sinks.file import FileSink
from stream.tools.archive import task
from stream.tools.archive.task import ArchiveSettings, Outcome, process
from stream.tools.watch.folder import FoundRecording
from tests.support.comparing import comparable_lines

pytestmark = pytest.mark.slow

DURATION_S = 6.0


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(preset="tiny", flags={"speakers": {"profiles": ""}, "pool": {"threads": "1"}})


@pytest.fixture
def recording(tmp_path: Path) -> FoundRecording:
    samples, rate_hz = soundfile.read(AUDIO, frames=round(DURATION_S * soundfile.info(AUDIO).samplerate))
    path = tmp_path / "talk.wav"
    soundfile.write(path, samples, rate_hz)
    return found(path)


def found(path: Path) -> FoundRecording:
    return FoundRecording(path, path.stat().st_size, path.stat().st_mtime_ns)


def alone(settings: Settings, path: Path, folder: Path) -> bytes:
    """Return the lines that one machine writes."""
    out = folder / "alone.ndjson"

    async def run() -> None:
        sources = {"sources": load(flags={"sources": [{"target": str(path)}]}).sources}
        pipeline = await assemble(settings.model_copy(update=sources), sinks={"file": FileSink(target=f"file:{out}")})
        await pipeline.run()

    asyncio.run(run())
    return out.read_bytes()


def test_a_task_gives_the_lines_of_one_machine_also_from_bytes_that_were_sent(
    settings: Settings, recording: FoundRecording, tmp_path: Path
) -> None:
    expected = comparable_lines(alone(settings, recording.path, tmp_path))
    shared = ArchiveSettings(settings, source={}, profiles=b"", enrolled={})
    assert comparable_lines(process(shared, recording).events) == expected
    content = recording.path.read_bytes()
    recording.path.unlink()
    assert process(shared, recording) == Outcome(is_absent=True)
    assert comparable_lines(process(shared, recording, content).events) == expected


def test_people_of_the_command_are_recognised_and_no_copy_stays(
    settings: Settings, recording: FoundRecording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    with subprocess.Popen(["true"]) as ended:
        left = copies / f"{task.PREFIX}{ended.pid}-x"
    left.mkdir()  # by a task whose process was killed
    monkeypatch.setattr(task, "MEMORY_FOLDER", copies)
    name, path = next(iter(ENROLMENTS.items()))
    speakers = settings.speakers.model_copy(update={"enrolled": {name: str(path)}})
    shared = ArchiveSettings(
        settings.model_copy(update={"speakers": speakers}), source={}, profiles=b"", enrolled={name: path.read_bytes()}
    )
    events = [json.loads(line) for line in process(shared, recording, recording.path.read_bytes()).events.splitlines()]
    assert name in {event["speaker"] for event in events if event["type"] == "turn"}
    assert not list(copies.iterdir())


def test_stored_profiles_are_sent(settings: Settings, recording: FoundRecording, tmp_path: Path) -> None:
    with ProfileStore(tmp_path / "profiles.sqlite", create=True) as store:
        store.restore(transfer.read(PROFILES))
        profiles = store.copy()
    outcome = process(ArchiveSettings(settings, source={}, profiles=profiles, enrolled={}), recording)
    turns = [event for line in outcome.events.splitlines() if (event := json.loads(line))["type"] == "turn"]
    assert "Alice" in {turn["speaker"] for turn in turns}


def test_what_is_no_recording_is_a_failure_under_its_own_name(settings: Settings, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF, and nothing of use")
    shared = ArchiveSettings(settings, source={}, profiles=b"", enrolled={})
    outcome = process(shared, found(broken), broken.read_bytes())
    assert outcome.failure is not None
    assert "'broken.wav'" in outcome.failure
    wrong = ArchiveSettings(
        settings.model_copy(update={"models": load(flags={"models": {"speaker": {"name": "nothing"}}}).models}),
        source={},
        profiles=b"",
        enrolled={},
    )
    assert "nothing" in process(wrong, found(broken)).error
