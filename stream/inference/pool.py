"""The lanes of a run: where each model is asked, and what `health` tells of it.

A model has a lane of its own, or a seat in one that it shares with those it can answer together with (an `Ensemble`);
the speech detector has one for all streams. The cores are shared out between the models' lanes, as BLAS threads of
their workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from stream.clock import seconds
from stream.events import LaneHealth
from stream.inference.lane import InferenceLane, LaneStatistics
from stream.settings import PoolSettings
from stream.types import Ensemble, Model, Scores, SpeechDetector, SpeechRequest, SpeechResult, Window

ModelLane = InferenceLane[Window, Sequence[Scores]]
"""To one model, or to several that answer together: one `Scores` from each."""

LaneSlot = tuple[ModelLane, int]
"""A model's lane, and its place among those who answer there."""

SpeechLane = InferenceLane[SpeechRequest, SpeechResult]

SPEECH_BATCH = 256
"""Streams whose speech is judged in one pass at most."""


class InferencePool:
    """All lanes of a run. `prepare` is called once in every worker thread, with its BLAS threads."""

    def __init__(
        self,
        *,
        settings: PoolSettings,
        models: Sequence[Model],
        ensembles: Sequence[Ensemble],
        detector: SpeechDetector,
        prepare: Callable[[int], None],
    ) -> None:
        together = {model.info.name for ensemble in ensembles for model in ensemble.models}
        alone = [_SingleModel(model) for model in models if model.info.name not in together]
        threads = _threads(settings, lanes=len(ensembles) + len(alone))
        self.seats: dict[str, LaneSlot] = {}
        for ensemble in (*ensembles, *alone):
            lane: ModelLane = InferenceLane(
                name="+".join(model.info.name for model in ensemble.models),
                infer=ensemble.infer,
                key=lambda window: len(window.samples),
                workers=settings.workers,
                max_batch=settings.max_batch,
                max_wait_s=settings.max_wait_ms / 1000,
                deadline_s=settings.deadline_ms / 1000,
                capacity=settings.queue_windows,
                prepare=partial(prepare, threads),
                timeout_s=settings.timeout_s,
            )
            self.seats |= {model.info.name: (lane, place) for place, model in enumerate(ensemble.models)}
        in_order = (self.seats[model.info.name][0] for model in models)
        self._lanes: tuple[ModelLane, ...] = tuple(dict.fromkeys(in_order))
        self._hops_s = {self.seats[m.info.name][0].name: seconds(m.spec.hop_samples) for m in models}
        self._before: dict[str, LaneStatistics] = {}  # each lane at the last pulse
        self.speech: SpeechLane = InferenceLane(
            name="speech",
            infer=detector.infer,
            key=lambda request: len(request.samples),
            max_batch=SPEECH_BATCH,
            capacity=1,
            prepare=partial(prepare, 1),  # its products are too small to share
            timeout_s=settings.timeout_s,
        )

    @property
    def all(self) -> list[InferenceLane[Any, Any]]:
        """The speech detector's, and the models' in their order."""
        return [self.speech, *self._lanes]

    @property
    def busy_s(self) -> float:
        """Time spent inside models, all workers together."""
        return sum(lane.statistics().busy_s for lane in self.all)

    def pulse(self) -> None:
        """From now on the achieved hop is measured anew."""
        self._before = {lane.name: lane.statistics() for lane in self._lanes}

    def health(self) -> tuple[LaneHealth, ...]:
        """A row a lane, the speech detector's left out."""
        return tuple(self._row(lane.statistics()) for lane in self._lanes)

    def _row(self, lane: LaneStatistics) -> LaneHealth:
        return LaneHealth(
            model=lane.name,
            hop_ms=self._hop_ms(lane),
            cut=lane.cut,
            inferred=lane.inferred,
            dropped=lane.dropped,
            failed=lane.failed,
            waiting=lane.waiting,
            batches=lane.batches,
            replaced=lane.replaced,
            mean_batch=round(lane.inferred / lane.batches, 2) if lane.batches else 0.0,
            inference_ms=round(lane.busy_s / lane.batches * 1000, 2) if lane.batches else 0.0,
        )

    def _hop_ms(self, lane: LaneStatistics) -> float | None:
        """How far apart windows were scored since the last pulse: drops stretch the hop that was set."""
        before = self._before.get(lane.name)
        inferred = lane.inferred - (before.inferred if before else 0)
        lost = lane.dropped + lane.failed - (before.dropped + before.failed if before else 0)
        return round(self._hops_s[lane.name] * 1000 * (inferred + lost) / inferred, 1) if inferred else None


class _SingleModel:
    """One model as an ensemble of its own."""

    def __init__(self, model: Model) -> None:
        self.models = (model,)

    def infer(self, batch: Sequence[Window]) -> list[tuple[Scores]]:
        return [(scores,) for scores in self.models[0].infer(batch)]


def _threads(settings: PoolSettings, *, lanes: int) -> int:
    """BLAS threads of each worker."""
    return settings.threads or max(1, (os.cpu_count() or 1) // (max(1, lanes) * settings.workers))
