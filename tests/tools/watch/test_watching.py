"""A watched folder: complete recordings are processed once, also across restarts, and one failure ends nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stream.app.assembly import LoadedModels
from stream.errors import SettingsError
from stream.events import TurnEvent, from_json
from stream.settings import Settings
from stream.tools.watch.folder import FolderScan
from stream.tools.watch.watching import LOCK, FolderWatch
from stream.types import Task
from tests.support.fakes import FakeDetector, FakeModel
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LOADED = LoadedModels(
    models=[FakeModel(), FakeModel(task=Task.SPEAKER)],
    ensembles=[],
    detector=FakeDetector(),
    thread_setup=lambda threads: None,  # noqa: ARG005
)
RATE_HZ = 16_000


def record(path: Path, *, duration_s: float = 4.0, seed: int = 5) -> Path:
    samples = np.random.default_rng(seed).uniform(-0.4, 0.4, round(duration_s * RATE_HZ))
    soundfile.write(path, samples, RATE_HZ)
    return path


class Watched:
    """A watch of a folder on a clock of its own, and what it has reported."""

    def __init__(self, folder: Path, results: Path, **more: Any) -> None:
        self.now_s = 0.0
        self.lines: list[tuple[str, str]] = []
        self.watch = FolderWatch(
            settings=Settings.model_validate({"speakers": {"profiles": ""}}),
            folder=folder,
            results=results,
            source={},
            scan=FolderScan(folder, clock=lambda: self.now_s),
            report=lambda path, line: self.lines.append((path.name, line)),
            poll_s=0.01,
            **more,
        )

    async def until(self, count: int) -> None:
        """Let time pass until so many recordings are reported, and stop."""
        task = asyncio.create_task(self.watch.run(LOADED))
        await self.pass_time(count)
        self.watch.stop()
        await task

    async def pass_time(self, count: int) -> None:
        def reported() -> bool:
            self.now_s += 1.0
            return len(self.lines) >= count

        await wait_until(reported)


def summary(results: Path, name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((results / f"{name}.summary.json").read_text())
    return read


def test_each_recording_gives_events_a_summary_and_a_report(tmp_path: Path) -> None:
    inbox, results = tmp_path / "inbox", tmp_path / "results"
    inbox.mkdir()
    for name in ("a.wav", "b.flac", ".hidden.wav", "notes.txt"):
        record(inbox / name) if name != "notes.txt" else (inbox / name).write_text("no audio")
    (inbox / "c.wav").write_bytes(b"RIFF, and nothing of use")
    watched = Watched(inbox, results, with_report=True)
    asyncio.run(watched.until(3))
    lines = dict(watched.lines)
    assert lines["a.wav"] == "4 s, 1 turns, 1 speakers"
    assert "c.wav" in lines["c.wav"]
    assert summary(results, "c.wav")["failure"] == lines["c.wav"]
    (speaker,) = summary(results, "a.wav")["streams"][0]["speakers"]
    assert (speaker["speaker"], speaker["turns"]) == ("S1", 1)
    assert 3.5 < speaker["talk_s"] <= 4.0
    events = [from_json(line) for line in (results / "a.wav.ndjson").read_text().splitlines()]
    assert any(isinstance(event, TurnEvent) for event in events)
    assert (results / "a.wav.html").is_file()
    left = {path.name for path in results.iterdir()}
    assert left == {
        LOCK,
        "c.wav.summary.json",
        *(f"{name}.{kind}" for name in ("a.wav", "b.flac") for kind in ("ndjson", "html", "summary.json")),
    }


def test_a_restart_does_nothing_twice_and_finishes_what_was_interrupted(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        record(tmp_path / name)
    first = Watched(tmp_path, tmp_path)
    asyncio.run(first.until(2))
    (tmp_path / "b.wav.summary.json").unlink()  # killed before it was written
    (tmp_path / ".b.wav.ndjson.part").write_text('{"schema":2,"id"')
    record(tmp_path / "c.wav")
    second = Watched(tmp_path, tmp_path)
    asyncio.run(second.until(2))
    assert [name for name, _ in second.lines] == ["b.wav", "c.wav"]
    assert len((tmp_path / "b.wav.ndjson").read_text().splitlines()) > 1
    record(tmp_path / "a.wav", duration_s=5.0, seed=6)
    third = Watched(tmp_path, tmp_path)
    asyncio.run(third.until(1))
    assert third.lines == [("a.wav", "5 s, 1 turns, 1 speakers")], "another recording of the same name"


def test_a_recording_that_still_grows_is_left_alone(tmp_path: Path) -> None:
    now_s = 0.0
    scan = FolderScan(tmp_path, clock=lambda: now_s)
    whole = record(tmp_path / "whole.wav").read_bytes()
    growing = tmp_path / "growing.wav"
    for part in range(1, 5):
        growing.write_bytes(whole[: part * 10_000])
        os.utime(growing, ns=(part, part))
        now_s += 4
        assert growing not in [found.path for found in scan.complete()]
    now_s += 5
    assert [found.path.name for found in scan.complete()] == ["growing.wav", "whole.wav"]
    shutil.move(growing, tmp_path / "moved.wav")
    assert [found.path.name for found in scan.complete()] == ["whole.wav"]


def test_what_cannot_work_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the folder '.*nowhere' .No such file or directory."):
        asyncio.run(Watched(tmp_path / "nowhere", tmp_path).watch.run(LOADED))

    async def two() -> None:
        first, second = Watched(tmp_path, tmp_path), Watched(tmp_path, tmp_path)
        task = asyncio.create_task(first.watch.run(LOADED))
        await wait_until((tmp_path / LOCK).exists)
        try:
            await second.watch.run(LOADED)
        finally:
            first.watch.stop()
            await task

    with pytest.raises(SettingsError, match="another process writes into"):
        asyncio.run(two())
