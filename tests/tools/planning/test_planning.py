"""Planning: the simulation agrees with real lanes, and a plan follows from a benchmark's figures."""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.inference.batching import InferenceLane
from stream.inference.worker import InferenceThread
from stream.tools.planning.figures import BenchFigures, LaneModel, MeasuredPool, lane_models, measured_speech
from stream.tools.planning.plan import Demand, Planner
from stream.tools.planning.simulation import simulate
from tests.support.command import rejection, run_command

pytestmark = pytest.mark.slow

POOL = MeasuredPool(workers=1, max_batch=8, max_wait_ms=5.0, deadline_ms=1_000.0)
LANE = LaneModel(name="speaker", hop_s=0.5, base_ms=10.0, window_ms=5.0)
DURATION_S = 10.0
SEEDS = 6


def figures(**changed: Any) -> dict[str, Any]:
    """The output of a benchmark: a batch of n windows takes 10 + 5 n ms, and 80 % of the hops have speech."""

    def trial(sources: int, batch: float) -> dict[str, Any]:
        lane = {
            "model": "speaker",
            "hop_ms": 500.0,
            "inferred": round(sources * 0.8 * 20 / 0.5),
            "mean_batch": batch,
            "inference_ms": 10 + 5 * batch,
        }
        return {
            "sources": sources,
            "latency_p50_ms": 60.0,
            "latency_p95_ms": 80.0,
            "late_p95_ms": 5.0,
            "dropped": 0,
            "events": sources * 20,
            "duration_s": 10.0,
            "run_s": 20.0,
            "lanes": [lane],
        }

    return {"pool": POOL.model_dump(), "trials": [trial(8, 1.5), trial(40, 4.0)]} | changed


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer: no test waits, and times are exact."""

    def __init__(self) -> None:
        super().__init__(_JumpingSelector(self._advance))
        self.now_s = 0.0

    def time(self) -> float:
        return self.now_s

    def _advance(self, duration_s: float) -> None:
        self.now_s += duration_s


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, advance: Callable[[float], None]) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self._advance(timeout)
        return super().select(0)


async def run_lane(streams: int, seed: int) -> np.ndarray:
    """Return the latencies of a real lane, in milliseconds, with windows of all streams at random phases."""
    loop, generator = asyncio.get_running_loop(), np.random.default_rng(seed)
    lane: InferenceLane[int, int] = InferenceLane(
        name="speaker",
        infer=list,
        key=lambda _: 0,
        max_batch=POOL.max_batch,
        max_wait_s=POOL.max_wait_ms / 1000,
        deadline_s=POOL.deadline_ms / 1000,
        active=lambda: streams,
    )
    latencies_s: list[float] = []

    def note(submitted_s: float, _: object) -> None:
        latencies_s.append(loop.time() - submitted_s)

    async def speak(number: int) -> None:
        await asyncio.sleep(generator.random() * LANE.hop_s)
        while loop.time() < DURATION_S:
            submitted_s = loop.time()
            future = await lane.submit(str(number), number, policy="drop_oldest")
            future.add_done_callback(partial(note, submitted_s))
            await asyncio.sleep(LANE.hop_s)

    async with asyncio.TaskGroup() as group:
        group.create_task(lane.run_worker())
        async with asyncio.TaskGroup() as speaking:
            for number in range(streams):
                speaking.create_task(speak(number))
        lane.close()
    return 1000 * np.array(latencies_s)


@pytest.mark.parametrize("streams", [8, 40, 60])
def test_the_simulation_agrees_with_a_real_lane(streams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(_: InferenceThread, job: Callable[[], tuple[Sequence[int], float]], **__: Any) -> Any:
        results, _elapsed_s = job()
        elapsed_s = LANE.batch_s(len(results))
        await asyncio.sleep(elapsed_s)
        return results, elapsed_s

    monkeypatch.setattr(InferenceThread, "run", run)
    measured, simulated = [], []
    for seed in range(SEEDS):  # latency depends on the phases, which never change during a run
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            latencies_ms = runner.run(run_lane(streams, seed))
        measured.append(np.percentile(latencies_ms, (50, 95)))
        load = simulate([LANE], POOL, streams=streams, speech=1.0, duration_s=DURATION_S, seed=SEEDS + seed)
        simulated.append((load.latency_p50_ms, load.latency_p95_ms))
        assert len(latencies_ms) == pytest.approx(load.windows, rel=0.02)
        assert not load.dropped
    assert np.mean(simulated, axis=0) == pytest.approx(np.mean(measured, axis=0), rel=0.1)


def test_one_stream_waits_for_nothing_but_its_batch() -> None:
    load = simulate([LANE], POOL, streams=1, speech=1.0)
    assert (load.latency_p50_ms, load.latency_p95_ms, load.dropped) == (15.0, 15.0, 0)
    assert load.windows in (59, 60)
    assert load.utilisation == pytest.approx(0.015 / 0.5, rel=0.02)


def test_too_many_streams_lose_windows_and_silence_costs_nothing() -> None:
    crowded = simulate([LANE], POOL, streams=200, speech=1.0)
    assert crowded.dropped > crowded.windows / 3, "8 windows in 50 ms are 160 a second, of 400"
    assert crowded.utilisation > 0.95
    quiet = simulate([LANE], POOL, streams=200, speech=0.3)
    assert not quiet.dropped
    assert quiet.windows == pytest.approx(crowded.windows * 0.3, rel=0.1)


def test_the_times_of_batches_are_fitted() -> None:
    read = BenchFigures.model_validate(figures())
    (lane,) = lane_models(read)
    assert (lane.name, lane.hop_s) == ("speaker", 0.5)
    assert [lane.base_ms, lane.window_ms] == pytest.approx([10.0, 5.0])
    assert measured_speech(read) == pytest.approx(0.8)
    (alone,) = lane_models(BenchFigures.model_validate(figures(trials=figures()["trials"][:1])))
    assert [alone.base_ms, alone.window_ms] == pytest.approx([0.0, 17.5 / 1.5])


def test_a_plan_meets_its_limit_with_as_few_machines_as_it_may() -> None:
    planner = Planner(BenchFigures.model_validate(figures()))
    demand = Demand(streams=20_000, speech=0.4, bound_ms=300, headroom=0.3, stream_kbps=87, price=1.5)
    plan = planner.plan(demand)
    capacity = planner.capacity(demand)
    assert planner.point(capacity, 0.4).latency_p95_ms <= 300
    assert planner.point(round(1.1 * capacity), 0.4).latency_p95_ms > 300
    assert plan.streams_per_machine == int(0.7 * capacity)
    assert (plan.machines - 1) * plan.streams_per_machine < 20_000 <= plan.machines * plan.streams_per_machine
    assert plan.spare >= plan.machines / 50
    assert plan.audio_mbps == 1_740
    assert plan.limited_by == "simulated"
    assert plan.messages_per_s == pytest.approx(20_000 * 2 * 0.4 / 0.8, rel=0.01)
    assert plan.price_per_hour == (plan.machines + plan.spare) * 1.5


def test_a_plan_is_no_better_than_what_was_measured() -> None:
    light, heavy = figures()["trials"]
    planner = Planner(BenchFigures.model_validate(figures(trials=[light, heavy | {"late_p95_ms": 400.0}])))
    demand = Demand(streams=100, speech=0.8, bound_ms=300, headroom=0, stream_kbps=87, price=None)
    assert planner.capacity(demand) == 8, "40 were too many, whatever the simulation says"
    assert planner.capacity(replace(demand, speech=0.4)) == 16
    assert planner.plan(demand).limited_by == "measured"
    assert planner.capacity(replace(demand, bound_ms=500)) > 40, "within this limit, both trials were sustained"


def test_the_command_prints_tables_and_draws(tmp_path: Path) -> None:
    bench, picture = tmp_path / "figures.json", tmp_path / "curve.svg"
    bench.write_text(json.dumps(figures()))
    result = run_command("plan", 100, "--bench", bench, "--plot", picture, "--price", 2)
    assert result.code == 0
    assert "streams per machine" in result.output
    assert "price per hour" in result.output
    assert picture.read_text().startswith("<?xml")
    found = json.loads(run_command("plan", 100, "--bench", bench, "--json").output)
    assert found["price_per_hour"] is None
    assert [row["sources"] for row in found["compared"]] == [8, 40]
    assert [point["streams"] for point in found["curve"]] == sorted(point["streams"] for point in found["curve"])


def test_a_plan_without_its_figures_is_refused(tmp_path: Path) -> None:
    bench = tmp_path / "figures.json"
    assert "no such file" in rejection("plan", 10, "--bench", bench).lower()
    bench.write_text('{"trials": []}')
    assert "write it with `tonewatch bench --channels --json`" in rejection("plan", 10, "--bench", bench)
    bench.write_text(json.dumps(figures()))
    assert "does not carry one stream within 1 ms" in rejection("plan", 10, "--bench", bench, "--bound-ms", 1)
