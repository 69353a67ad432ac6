"""The search for how many live sources hold, and one trial of it on the fast clock."""

from __future__ import annotations

from typing import Any

import pytest

from stream.settings import Settings
from stream.tools.bench import channels
from stream.tools.bench.channels import LoadedModels, LoadTrial, _attempt, rows, find_capacity
from stream.types import Task
from tests.support.fakes import FakeDetector, FakeModel
from tests.support.hurry import run_hastily


def loaded() -> LoadedModels:
    return LoadedModels(
        models=[FakeModel(), FakeModel(task=Task.SPEAKER)],
        ensembles=[],
        detector=FakeDetector(floor=0.01),
        thread_setup=lambda threads: None,  # noqa: ARG005
    )


@pytest.mark.parametrize(("limit", "most"), [(0, 64), (1, 64), (7, 64), (8, 64), (37, 512), (200, 128), (128, 128)])
def test_the_search_comes_close(monkeypatch: pytest.MonkeyPatch, limit: int, most: int) -> None:
    def attempt(*_: Any, count: int, **__: Any) -> LoadTrial:
        return LoadTrial(count, count <= limit, 1.0, 2.0, 0.1, 10, 0, 10, None)

    monkeypatch.setattr(channels, "attempt", attempt)
    monkeypatch.setattr(channels, "load", lambda settings: loaded())  # noqa: ARG005
    told: list[LoadTrial] = []
    trials = find_capacity(Settings(), bound_ms=300, seconds_s=1, most=most, tell=told.append)
    assert told == trials
    held = max((trial.sources for trial in trials if trial.sustained), default=0)
    assert held <= min(limit, most)
    assert min(limit, most) <= max(held + 1, channels.STEP * held)
    assert len(rows(trials)) == len(trials)


def test_a_trial_hears_every_source() -> None:
    """On a clock that runs fast a busy machine's pauses are long: what comes through is not counted closely."""
    trial = run_hastily(_attempt(Settings(), loaded(), count=3, bound_ms=1e9, seconds_s=120.0))
    assert trial.sources == 3
    assert trial.inferred + trial.dropped > 20
    assert trial.events > 20
    assert trial.latency_p95_ms is not None
    assert trial.latency_p50_ms is not None
    assert trial.latency_p50_ms <= trial.latency_p95_ms


def test_a_bound_that_nothing_meets() -> None:
    trial = run_hastily(_attempt(Settings(), loaded(), count=1, bound_ms=0.0, seconds_s=4.0))
    assert not trial.sustained
