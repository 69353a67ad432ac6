"""What travels to a replica and back, and lanes whose cluster is gone."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest

from stream.app.assembly import load_groups
from stream.errors import ClusterUnavailable, SettingsError
from stream.inference.batching import MAX_CONSECUTIVE_FAILURES, InferenceLane
from stream.inference.cluster import ClusterModels
from stream.inference.connected_process import _environment
from stream.inference.pool import SingleModel
from stream.inference.replica import Replica, decode, encode
from stream.settings import ModelsSettings, PoolSettings, Settings
from stream.types import Ensemble, Samples, Task, Window
from tests.support.fakes import FakeModel


def window(samples: Samples) -> Window:
    return Window("hall", 7, 16_000, samples, 0.75, len(samples) - 100)


def loaded() -> tuple[Sequence[Ensemble], Callable[[int], None]]:
    return [SingleModel(FakeModel()), SingleModel(FakeModel(task=Task.SPEAKER))], lambda _: None


@pytest.mark.parametrize("level", [1.0, 0.01, 1e-5])
def test_sixteen_bits_are_relative_to_the_peak_of_the_window(level: float) -> None:
    sent = window(np.float32(level) * np.random.default_rng(1).uniform(-1, 1, 16_000).astype(np.float32))
    header, samples = encode(sent, is_exact=False)
    assert len(samples) == 2 * len(sent.samples)
    received = decode(header, samples)
    assert np.abs(received.samples - sent.samples).max() <= level / 60_000
    assert (received.speech_ratio, received.speech_samples) == (0.75, 15_900)


def test_silence_and_float_samples_arrive_unchanged() -> None:
    for sent, is_exact in ((np.zeros(800, np.float32), False), (np.array([0.1, -0.3, 2.0], np.float32), True)):
        header, samples = encode(window(sent), is_exact=is_exact)
        assert np.array_equal(decode(header, samples).samples, sent)


def test_a_replica_scores_a_lane_as_the_models_do() -> None:
    sent = [window(np.full(16_000, level, np.float32)) for level in (0.2, 0.6)]
    replica = Replica(loaded, 1)
    assert [[info.task for info, _ in group] for group in replica.describe()] == [[Task.EMOTION], [Task.SPEAKER]]
    headers, samples = zip(*(encode(one, is_exact=True) for one in sent), strict=True)
    (values,) = replica.infer(1, headers, *samples)
    assert np.array_equal(values, [scores.values for scores in FakeModel(task=Task.SPEAKER).infer(sent)])


def test_no_secret_travels_to_the_cluster() -> None:
    settings = Settings.model_validate({"serve": {"token": "a-secret-of-this-node"}})
    assert b"a-secret" not in pickle.dumps(partial(load_groups, Settings(models=ModelsSettings())))
    assert b"a-secret" in pickle.dumps(settings)


def test_the_bridge_gets_no_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONEWATCH__SERVE__TOKEN", "a-secret-of-this-node")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    environment = _environment()
    assert "a-secret-of-this-node" not in environment.values()
    assert environment["RAY_AUTH_MODE"] == "token"


def test_a_lane_outlives_a_cluster_that_is_gone() -> None:
    def infer(batch: Sequence[int]) -> Sequence[int]:
        if batch[0] < MAX_CONSECUTIVE_FAILURES + 2:
            raise ClusterUnavailable("no replica answers")
        return batch

    async def check() -> None:
        lane: InferenceLane[int, int] = InferenceLane(name="far", infer=infer, key=lambda _: 0, max_batch=1)
        async with asyncio.TaskGroup() as workers:
            workers.create_task(lane.run_worker())
            answers = [await lane.submit("s", number, policy="wait") for number in range(10)]
            lane.close()
        assert [await answer for answer in answers] == [None] * 5 + [5, 6, 7, 8, 9]
        assert lane.statistics().failed == 5

    asyncio.run(check())


def test_without_ray_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.inference.cluster.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"tonewatch\[ray\]"):
        ClusterModels(settings=PoolSettings(cluster="auto"), load=loaded)
