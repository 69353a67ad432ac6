"""An archive: what is left to do, what is sent to the cluster, and the results as they arrive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import soundfile

from stream.errors import ModelError, SettingsError, SourceNotFound
from stream.inference import connected_process
from stream.settings import load
from stream.tools.archive.archive import Archive
from stream.tools.archive.messages import ArchiveAnswer, ArchiveRequest
from stream.tools.archive.task import Outcome

LINE = (
    b'{"schema":2,"id":"a/talk/0","session":"a","seq":0,"source":"talk","call":null,"party":null,'
    b'"time":"2026-11-26T22:10:47.304Z","models":[],"latency_ms":219.8,"type":"stream","state":"started","start_s":0.0,'
    b'"end_s":0.0}\n'
)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "talk.wav", tmp_path / "second.wav"]
    for path in paths:
        soundfile.write(path, np.zeros(16_000), 16_000)
    return paths


class Cluster:
    """Answers in place of a cluster, and the requests it got."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Outcome]) -> None:
        self.requests: list[ArchiveRequest] = []
        self._outcomes = outcomes
        monkeypatch.setattr(connected_process, "start", lambda _: (self, self))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, request: ArchiveRequest) -> None:
        self.requests.append(request)
        self._answers = iter(
            ArchiveAnswer(number, self._outcomes[one.path.name])
            for number, one in enumerate(request.recordings)
            if one.path.name in self._outcomes
        )

    def recv(self) -> ArchiveAnswer:
        if (answer := next(self._answers, None)) is None:
            raise EOFError
        return answer

    def close(self) -> None:
        pass

    def wait(self, timeout: float) -> None:
        pass

    def kill(self) -> None:
        pass


class Run:
    """An archive that is processed, and the lines about it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, recordings: list[Path], results: Path) -> None:
        self._monkeypatch, self._recordings, self._results = monkeypatch, recordings, results
        self.lines: list[str] = []
        self.requests: list[ArchiveRequest] = []

    def process(self, outcomes: dict[str, Outcome]) -> int:
        cluster = Cluster(self._monkeypatch, outcomes)
        self.requests = cluster.requests
        self.lines = []
        archive = Archive([str(path) for path in self._recordings], results=self._results, with_report=False)
        return archive.process(
            load(environment={"TONEWATCH__MQTT__PASSWORD": "only-for-the-broker", "TONEWATCH__POOL__CLUSTER": "auto"}),
            "auto",
            {},
            begin=lambda total, done: self.lines.append(f"{done} of {total}"),
            report=lambda path, line: self.lines.append(f"{path.name}: {line}"),
        )


def test_another_call_does_what_is_left_and_nothing_secret_is_sent(
    recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(monkeypatch, recordings, tmp_path / "out")
    assert run.process({"talk.wav": Outcome(LINE), "second.wav": Outcome(failure="gone", is_lost=True)}) == 1
    assert run.lines == [
        "0 of 2",
        "talk.wav: 0 s, 0 turns, 0 speakers",
        "second.wav: gone; run the same command again",
    ]
    sent = run.requests[0].shared.settings
    assert not sent.mqtt.password.get_secret_value()
    assert (sent.pool.cluster, sent.pool.threads) == ("", 1)
    assert (tmp_path / "out/talk.wav.ndjson").read_bytes() == LINE
    assert run.process({"second.wav": Outcome(failure="not audio")}) == 1
    assert run.lines == ["1 of 2", "second.wav: not audio"]
    assert run.process({}) == 0
    assert run.lines == ["2 of 2"]


def test_a_cluster_that_is_lost_is_said_and_what_was_done_stays(
    recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(monkeypatch, recordings, tmp_path / "out")
    with pytest.raises(ModelError, match=r"the cluster 'auto' is lost; run the same command again to go on"):
        run.process({"talk.wav": Outcome(LINE)})
    with pytest.raises(ModelError, match=r"cannot process recordings on the cluster 'auto': no task can start"):
        run.process({"second.wav": Outcome(error="no task can start")})
    assert run.process({"second.wav": Outcome(LINE)}) == 0


def test_what_cannot_work_is_one_sentence(recordings: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"no such file 'nowhere\.wav'"):
        Archive(["nowhere.wav"], results=None, with_report=False)
    with pytest.raises(SourceNotFound, match="is not a regular file"):
        Archive([str(tmp_path)], results=None, with_report=False)
    with pytest.raises(SettingsError, match="no recording given"):
        Archive([], results=None, with_report=False)
    other = tmp_path / "other" / recordings[0].name
    other.parent.mkdir()
    os.link(recordings[0], other)
    paths = [str(recordings[0]), str(other)]
    Archive([*paths, paths[0]], results=None, with_report=False)
    with pytest.raises(SettingsError, match=r"several recordings are called 'talk\.wav'"):
        Archive(paths, results=tmp_path, with_report=False)
