"""The search for the largest number of live sources, and one trial on a fast clock."""

from __future__ import annotations

from typing import Any

import pytest

from stream.app.assembly import LoadedModels
from stream.settings import Settings
from stream.tools.bench import channels
from stream.tools.bench.channels import LoadTrial, _run_trial, find_capacity, rows
from stream.types import Task
from tests.support.acceleration import run_accelerated
from tests.support.fakes import FakeDetector, FakeModel


def loaded() -> LoadedModels:
    return LoadedModels(
        models=[FakeModel(), FakeModel(task=Task.SPEAKER)],
        ensembles=[],
        detector=FakeDetector(floor=0.01),
        thread_setup=lambda threads: None,  # noqa: ARG005
    )


@pytest.mark.parametrize(("limit", "most"), [(0, 64), (1, 64), (7, 64), (8, 64), (37, 512), (200, 128), (128, 128)])
def test_the_search_finds_the_limit(monkeypatch: pytest.MonkeyPatch, limit: int, most: int) -> None:
    def run_trial(*_: Any, count: int, **__: Any) -> LoadTrial:
        return LoadTrial(count, count <= limit, 1.0, 2.0, 0.1, 10, 0, 10, None)

    monkeypatch.setattr(channels, "run_trial", run_trial)
    monkeypatch.setattr(channels, "load", lambda settings: loaded())  # noqa: ARG005
    reported: list[LoadTrial] = []
    trials = find_capacity(Settings(), bound_ms=300, seconds_s=1, most=most, on_trial=reported.append)
    assert reported == trials
    sustained = max((trial.sources for trial in trials if trial.sustained), default=0)
    assert sustained <= min(limit, most)
    assert min(limit, most) <= max(sustained + 1, channels.STEP * sustained)
    assert len(rows(trials)) == len(trials)


@pytest.mark.slow
def test_a_trial_processes_every_source() -> None:
    """On a fast clock the pauses of a busy machine are long, so the numbers of windows and events are only bounded."""
    trial = run_accelerated(_run_trial(Settings(), loaded(), count=3, bound_ms=1e9, seconds_s=120.0))
    assert trial.sources == 3
    assert trial.inferred + trial.dropped > 20
    assert trial.events > 20
    assert trial.latency_p95_ms is not None
    assert trial.latency_p50_ms is not None
    assert trial.latency_p50_ms <= trial.latency_p95_ms


def test_an_impossible_limit() -> None:
    trial = run_accelerated(_run_trial(Settings(), loaded(), count=1, bound_ms=0.0, seconds_s=4.0))
    assert not trial.sustained
