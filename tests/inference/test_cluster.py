"""Lanes and archives on a real Ray cluster: same events, and no run ends whatever is lost of the cluster."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stream.app.assembly import assemble
from stream.demo.conversation import AUDIO
from stream.errors import ClusterUnavailable, InferenceError, ModelError
from stream.events import Event, HealthEvent
from stream.inference.cluster import ClusterModels
from stream.settings import load
from stream.tools.archive import task
from stream.tools.archive.archive import Archive
from stream.tools.archive.task import ArchiveSettings
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tools.watch.folder import FoundRecording
from stream.types import Window
from tests.support.comparing import comparable_lines
from tests.support.fakes import ListSink
from tests.support.ray_cluster import AUTHENTICATION, RayCluster, connect

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

WAIT_S = 40.0
CALL_S = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    folder = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AUTHENTICATION.items():
            patch.setenv(name, value)
        with RayCluster(folder, head_cpus=4) as running:
            yield running


@pytest.fixture(scope="module")
def models(cluster: RayCluster) -> Iterator[ClusterModels]:
    connected = connect(cluster.address, replicas=2)
    yield connected
    connected.close()


def window(level: float, index: int = 0) -> Window:
    return Window("hall", index, index * 8_000, np.full(48_000, level, np.float32), 1.0, 48_000)


def wait_for(models: ClusterModels, *, replicas_up: int) -> None:
    until_s = time.monotonic() + WAIT_S
    while models.health().replicas_up != replicas_up:
        assert time.monotonic() < until_s, models.health()
        time.sleep(0.02)  # other processes, which have no event to wait for


def process_of(models: ClusterModels) -> int:
    return int(models.infer(0, [window(0.2)])[0][0].values[2])


def processes_of(models: ClusterModels) -> set[int]:
    """Return the processes that answer calls made at the same time."""
    with ThreadPoolExecutor(8) as callers:
        return set(callers.map(lambda _: process_of(models), range(16)))


def wait_for_two_without(models: ClusterModels, lost: int) -> None:
    until_s = time.monotonic() + WAIT_S
    while len(answering := processes_of(models)) < 2 or lost in answering:
        assert time.monotonic() < until_s, models.health()
        time.sleep(0.1)  # the same


def test_scores_belong_to_their_windows_and_a_model_that_fails_is_no_fault_of_the_cluster(
    models: ClusterModels,
) -> None:
    scored = models.infer(0, [window(0.25, 3), window(0.5, 4)])
    assert [(one.index, one.source_id, one.end_sample) for (one,) in scored] == [
        (3, "hall", 72_000),
        (4, "hall", 80_000),
    ]
    assert np.allclose([one.values[1] for (one,) in scored], [0.25, 0.5], atol=1e-4)
    assert process_of(models) != os.getpid()
    with pytest.raises(InferenceError, match="a window of ones") as raised:
        models.infer(0, [window(1.0)])
    assert not isinstance(raised.value, ClusterUnavailable)


def test_a_call_whose_replica_is_killed_is_answered_by_another_one_and_the_replica_comes_back(
    models: ClusterModels,
) -> None:
    wait_for(models, replicas_up=2)
    killed = process_of(models)
    os.kill(killed, signal.SIGKILL)
    answering = processes_of(models)
    assert answering.isdisjoint({killed, os.getpid()})
    assert models.health().state == "connected"
    wait_for_two_without(models, killed)


def test_a_replica_that_is_frozen_gets_no_calls_until_it_answers(models: ClusterModels) -> None:
    wait_for(models, replicas_up=2)
    frozen = process_of(models)
    os.kill(frozen, signal.SIGSTOP)
    try:
        wait_for(models, replicas_up=1)
        assert {process_of(models) for _ in range(6)}.isdisjoint({frozen, os.getpid()})
    finally:
        os.kill(frozen, signal.SIGCONT)
    wait_for(models, replicas_up=2)


async def _events(path: Path, sent: dict[str, Any]) -> list[Event]:
    sink = ListSink()
    source = {"target": str(path), "channels": "customer-agent"}
    settings = load(preset="tiny", flags={"sources": [source], "pool": sent})
    await (await assemble(settings, sinks={"list": sink})).run()
    assert all(lane.failed == 0 for event in sink.events if isinstance(event, HealthEvent) for lane in event.lanes)
    return [event for event in sink.events if not isinstance(event, HealthEvent)]


def _comparable(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return what does not differ between runs, stream by stream: events of both tracks at one time have no order."""
    ordered = sorted(events, key=lambda event: (event.source, event.seq))
    return [event.model_dump(exclude={"id", "time", "session", "latency_ms"}) for event in ordered]


def test_events_of_a_call_are_those_of_one_machine(cluster: RayCluster, tmp_path: Path) -> None:
    samples, rate_hz = soundfile.read(AUDIO, frames=2 * CALL_S * soundfile.info(AUDIO).samplerate, dtype="float32")
    soundfile.write(tmp_path / "call.wav", np.stack(np.split(samples, 2), axis=1), rate_hz)
    alone = asyncio.run(_events(tmp_path / "call.wav", {}))
    assert {"call", "speaker", "emotion", "turn"} <= {event.type for event in alone}
    remote = {"cluster": cluster.address, "cluster_samples": "float32", "fallback": "none", "threads": os.cpu_count()}
    assert _comparable(asyncio.run(_events(tmp_path / "call.wav", remote))) == _comparable(alone)


def test_an_evaluation_uses_the_models_of_the_cluster(cluster: RayCluster, tmp_path: Path) -> None:
    samples, rate_hz = soundfile.read(AUDIO, frames=CALL_S * soundfile.info(AUDIO).samplerate, dtype="float32")
    soundfile.write(tmp_path / "talk.wav", samples, rate_hz)
    remote = {"cluster": cluster.address, "cluster_samples": "float32", "fallback": "none", "threads": os.cpu_count()}
    found = []
    for pool in ({}, remote):
        runner = EvaluationRunner(load(preset="tiny", flags={"pool": pool}))
        ((events,), _) = runner.run([tmp_path / "talk.wav"])
        found.append(_comparable(events))
    assert found[0] == found[1]
    assert {"speaker", "emotion"} <= {event["type"] for event in found[0]}


def test_an_archive_gives_for_each_file_the_lines_of_one_machine(cluster: RayCluster, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.wav", "b.wav", "broken.wav")]
    samples, rate_hz = soundfile.read(AUDIO, frames=12 * soundfile.info(AUDIO).samplerate, dtype="float32")
    for number, path in enumerate(paths[:2]):
        soundfile.write(path, samples[number * 6 * rate_hz :][: 6 * rate_hz], rate_hz)
    paths[2].write_bytes(b"RIFF, and nothing of use")
    settings = load(preset="tiny", flags={"speakers": {"profiles": ""}})
    archive, lines = (
        Archive([str(path) for path in paths], results=tmp_path / "out", with_report=False),
        dict[str, str](),
    )

    def process() -> int:
        return archive.process(
            settings,
            cluster.address,
            {},
            begin=lambda _, done: lines.update(done=str(done)),
            report=lambda path, line: lines.update({path.name: line}),
        )

    assert process() == 1
    assert "broken.wav" in lines["broken.wav"]
    shared = ArchiveSettings(
        load(preset="tiny", flags={"pool": {"threads": "1"}}), source={}, profiles=b"", enrolled={}
    )
    for path in paths[:2]:
        status = path.stat()
        here = task.process(shared, FoundRecording(path, status.st_size, status.st_mtime_ns)).events
        assert comparable_lines((tmp_path / f"out/{path.name}.ndjson").read_bytes()) == comparable_lines(here)
    assert process() == 0
    assert lines["done"] == "3"


def test_without_a_cluster_models_run_here_and_go_back_to_it(cluster: RayCluster, models: ClusterModels) -> None:
    far = connect(cluster.client_address)  # of a machine that has not joined
    assert process_of(far) != os.getpid()
    cluster.kill(cluster.nodes[0])
    began_s = time.monotonic()
    wait_for(models, replicas_up=0)
    wait_for(far, replicas_up=0)
    assert time.monotonic() - began_s < 15
    assert process_of(far) == os.getpid()
    far.close()
    assert models.health().state == "fallback"
    assert process_of(models) == os.getpid()
    with pytest.raises(ModelError, match=r"cannot use the cluster .*nothing answers at"):
        connect(cluster.address, fallback="none")
    cluster.start_head()
    wait_for(models, replicas_up=2)
    assert models.health().outages == 1
    assert process_of(models) != os.getpid()
    cluster.kill(cluster.nodes[0])
    began_s = time.monotonic()
    models.close()
    assert time.monotonic() - began_s < 8
