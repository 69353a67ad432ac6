"""How many live sources a machine carries, from the times of single windows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stream.app import assembly, capacity
from stream.demo.conversation import AUDIO
from stream.inference.pool import SingleModel
from stream.settings import Settings
from stream.types import Scores, Task, Window, WindowSpec
from tests.support.fakes import FakeModel

HOP = WindowSpec(32_000, 8_000, 8_000)


def carried(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], **pool: int) -> capacity.Capacity:
    """Estimate for two models with a hop of 0.5 s on two cores, with given times of their windows."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(capacity, "window_s", lambda lane, _: seconds[lane.models[0].info.task])
    lanes = [SingleModel(FakeModel(task=task, spec=HOP)) for task in (Task.EMOTION, Task.SPEAKER)]
    settings = Settings.model_validate({"pool": pool})
    return capacity.estimate(lanes, settings, thread_setup=lambda _: None)


def test_the_cores_limit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = carried(monkeypatch, {"emotion": 0.02, "speaker": 0.02}, workers=4)
    assert found.sources == pytest.approx(2 / (4 * 0.02 + capacity.REST_S))
    assert found.sentence() == "this machine carries about 22 live sources that speak at the same time"


def test_the_workers_of_a_model_limit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = carried(monkeypatch, {"emotion": 0.01, "speaker": 0.05}, workers=1)
    assert found.sources == pytest.approx(0.5 / 0.05)


def test_less_than_one_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    found = carried(monkeypatch, {"emotion": 1.0, "speaker": 0.2}, workers=1)
    assert found.sources == pytest.approx(2 / (2.4 + capacity.REST_S), abs=0.5)
    assert found.sentence().startswith("this machine carries no live source with these models (about 0.5)")
    assert "fake-emotion takes longest: use a smaller preset" in found.sentence()
    assert "dtype = int8" in found.sentence()


class SlowModel(FakeModel):
    """Computes for some milliseconds."""

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        sum(range(200_000))
        return super().infer(batch)


def test_a_window_is_timed_in_a_thread_of_its_own() -> None:
    model, threads = SlowModel(), []
    found_s = capacity.window_s(SingleModel(model), lambda: threads.append(True))
    assert 0.0001 < found_s < 1
    assert model.batches == [1] * capacity.MAX_TRIES
    assert threads == [True]


@pytest.mark.slow
def test_only_a_run_with_live_audio_says_it() -> None:
    def said(*, keep_running: bool) -> list[str]:
        said: list[str] = []
        settings = Settings.model_validate({"sources": [{"kind": "file", "target": str(AUDIO)}]})
        asyncio.run(assembly.assemble(settings, keep_running=keep_running, announce=said.append))
        return said

    assert said(keep_running=False) == []
    (sentence,) = said(keep_running=True)
    assert "live source" in sentence
