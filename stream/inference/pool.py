"""The inference pool: the lanes of a run, and their figures in `health`.

A model has its own lane, or a slot in a lane that it shares with other models of one `Ensemble`; the speech detector
has one lane for all streams. The CPU cores are divided among the models' lanes, as BLAS threads of their workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from stream.clock import seconds
from stream.events import ClusterHealth, LaneHealth
from stream.inference.batching import InferenceLane, LaneStatistics
from stream.settings import PoolSettings
from stream.types import Ensemble, Model, Scores, SpeechDetector, SpeechRequest, SpeechResult, Window

ModelLane = InferenceLane[Window, Sequence[Scores]]
"""The lane of one model or of an ensemble: a window's result holds one `Scores` per model."""

LaneSlot = tuple[ModelLane, int]
"""A model's lane, and the model's index in the results of that lane."""

SpeechLane = InferenceLane[SpeechRequest, SpeechResult]

MAX_SPEECH_BATCH = 256
"""Streams whose frames are passed to the speech detector at once."""


class InferencePool:
    """All lanes of a run.

    Args:
        settings: Workers, batches, deadlines and timeouts.
        models: In the order in which they are asked about windows that end at the same sample.
        ensembles: Models that share a lane.
        detector: The speech detector.
        thread_setup: Called once in every worker thread with the number of its BLAS threads.
        active_in: Number of streams that submit items to a lane.
    """

    def __init__(
        self,
        *,
        settings: PoolSettings,
        models: Sequence[Model],
        ensembles: Sequence[Ensemble],
        detector: SpeechDetector,
        thread_setup: Callable[[int], None],
        active_in: Callable[[InferenceLane[Any, Any]], int],
    ) -> None:
        self._settings = settings
        self._active_in = active_in
        lanes = by_lane(models, ensembles)
        setup = partial(thread_setup, blas_threads(settings, lanes=len(lanes)))
        self.slots: dict[str, LaneSlot] = {}  # by the model's name
        self._clusters: dict[str, OnCluster] = {}  # by the lane's name
        for ensemble in lanes:
            lane = self._model_lane(ensemble, setup)
            self.slots |= {model.info.name: (lane, index) for index, model in enumerate(ensemble.models)}
            if isinstance(ensemble, OnCluster):
                self._clusters[lane.name] = ensemble
        self._model_lanes = tuple(dict.fromkeys(self.slots[model.info.name][0] for model in models))
        self._hops_s = {self.slots[m.info.name][0].name: seconds(m.spec.hop_samples) for m in models}
        self._interval_start: dict[str, LaneStatistics] = {}  # by the lane's name
        self.speech_lane: SpeechLane = InferenceLane(
            name="speech",
            infer=detector.infer,
            key=lambda request: len(request.samples),
            max_batch=MAX_SPEECH_BATCH,
            capacity=1,
            thread_setup=partial(thread_setup, 1),  # its matrix products are too small to be divided
            timeout_s=settings.timeout_s,
        )

    @property
    def lanes(self) -> list[InferenceLane[Any, Any]]:
        """The speech detector's lane, then the models' lanes in their order."""
        return [self.speech_lane, *self._model_lanes]

    @property
    def busy_s(self) -> float:
        """Time spent inside models, summed over all workers."""
        return sum(lane.statistics().busy_s for lane in self.lanes)

    def start_interval(self) -> None:
        """Start a new interval for the achieved hop in `health`."""
        self._interval_start = {lane.name: lane.statistics() for lane in self._model_lanes}

    def health(self) -> tuple[LaneHealth, ...]:
        """Return a row per lane, without the speech detector's."""
        return tuple(self._row(lane.statistics()) for lane in self._model_lanes)

    def _model_lane(self, ensemble: Ensemble, thread_setup: Callable[[], None]) -> ModelLane:
        lane: ModelLane = InferenceLane(
            name="+".join(model.info.name for model in ensemble.models),
            infer=ensemble.infer,
            key=lambda window: len(window.samples),
            workers=self._settings.workers,
            max_batch=self._settings.max_batch,
            max_wait_s=self._settings.max_wait_ms / 1000,
            deadline_s=self._settings.deadline_ms / 1000,
            capacity=self._settings.queue_windows,
            thread_setup=thread_setup,
            timeout_s=self._settings.timeout_s,
            active=lambda: self._active_in(lane),
        )
        return lane

    def _row(self, lane: LaneStatistics) -> LaneHealth:
        cluster = self._clusters.get(lane.name)
        return LaneHealth(
            model=lane.name,
            hop_ms=self._hop_ms(lane),
            submitted=lane.submitted,
            inferred=lane.inferred,
            dropped=lane.dropped,
            failed=lane.failed,
            waiting=lane.waiting,
            batches=lane.batches,
            workers_replaced=lane.workers_replaced,
            mean_batch=round(lane.inferred / lane.batches, 2) if lane.batches else 0.0,
            inference_ms=round(lane.busy_s / lane.batches * 1000, 2) if lane.batches else 0.0,
            cluster=cluster.health() if cluster is not None else None,
        )

    def _hop_ms(self, lane: LaneStatistics) -> float | None:
        """Return the mean distance of scored windows in this interval: dropped and failed windows lengthen it."""
        before = self._interval_start.get(lane.name)
        inferred = lane.inferred - (before.inferred if before else 0)
        lost = lane.dropped + lane.failed - (before.dropped + before.failed if before else 0)
        return round(self._hops_s[lane.name] * 1000 * (inferred + lost) / inferred, 1) if inferred else None


@runtime_checkable
class OnCluster(Protocol):
    """An ensemble whose batches are scored elsewhere."""

    def health(self) -> ClusterHealth:
        """Return the state of the cluster."""
        ...


class SingleModel:
    """One model behind the interface of an ensemble."""

    def __init__(self, model: Model) -> None:
        self.models = (model,)

    def infer(self, batch: Sequence[Window]) -> list[tuple[Scores]]:
        """Score windows of equal length."""
        return [(scores,) for scores in self.models[0].infer(batch)]


def by_lane(models: Sequence[Model], ensembles: Sequence[Ensemble]) -> list[Ensemble]:
    """Return the ensembles, and each model that is in none of them as an ensemble of one."""
    grouped = {model.info.name for ensemble in ensembles for model in ensemble.models}
    return [*ensembles, *(SingleModel(model) for model in models if model.info.name not in grouped)]


def blas_threads(settings: PoolSettings, *, lanes: int) -> int:
    """Return the number of BLAS threads of each worker."""
    return settings.threads or max(1, (os.cpu_count() or 1) // (max(1, lanes) * settings.workers))
