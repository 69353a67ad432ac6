"""Loading of models for a run."""

from __future__ import annotations

import pytest

from stream.app import assembly
from stream.settings import Settings
from stream.types import Task
from tests.support.fakes import FakeDetector, FakeModel


def test_what_computes_outside_the_pool_gets_the_threads_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all cores, the threads of one operation wait for each other on a busy machine."""
    set_up = list[int]()
    models = [FakeModel(), FakeModel(task=Task.SPEAKER)]
    monkeypatch.setattr(assembly, "load_models", lambda _: (models, FakeDetector(), set_up.append))
    assembly.load(Settings.model_validate({"pool": {"threads": 3}}))
    assert set_up == [3]
