"""Models on a Ray cluster, as a node sees them: ensembles whose `infer` sends a batch to a replica and waits for it.

The lanes stay as they are: their threads wait for the cluster instead of computing, so a queue, its deadlines, the
order of the audio and the counts hold unchanged, and calls in flight are bounded by the number of threads. The
connection to the cluster is held by a process of its own (`cluster_bridge`), started again with backoff when it ends.

While no replica answers, windows are scored by the same models on the node itself if there is a fallback, loaded when
it is first needed; without one they fail. Either way the run goes on, and returns to the cluster by itself.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from stream.errors import ClusterUnavailable, InferenceError, ModelError, SettingsError
from stream.events import ClusterHealth
from stream.inference.cluster_link import ClusterLink
from stream.inference.cluster_messages import BridgeSettings
from stream.inference.replica import Loader, ModelGroups, describe
from stream.settings import PoolSettings
from stream.types import Ensemble, ModelInfo, Scores, Window, WindowSpec

START_TIMEOUT_S = 120.0
"""Time for the first replica to load its models."""

log = logging.getLogger(__name__)


class ClusterModels:
    """All models of a run on a cluster.

    Args:
        settings: Address, replicas and timeouts.
        load: Loads the models, in a replica or, as the fallback, here.
        is_lossless: No audio is live: a lost batch is repeated however old it is.
    """

    def __init__(self, *, settings: PoolSettings, load: Loader, is_lossless: bool = False) -> None:
        if find_spec("ray") is None:
            raise SettingsError("pool.cluster needs Ray; install it with `pip install 'tonewatch[ray]'`")
        self._settings = settings
        self._fallback = _Fallback(load, settings) if settings.fallback == "same" else None
        self._link = ClusterLink(_bridge_settings(settings, load))
        self._fresh_s = settings.cluster_timeout_s if is_lossless else settings.deadline_ms / 1000
        self._finalizer = weakref.finalize(self, self._link.close)
        groups = self._start()
        self.ensembles: tuple[RemoteEnsemble, ...] = tuple(
            RemoteEnsemble(self, lane, group) for lane, group in enumerate(groups)
        )

    def close(self) -> None:
        """Disconnect; waits a moment for a cluster of this node's own to end, never for one that is gone."""
        self._finalizer()

    def health(self) -> ClusterHealth:
        """Return the state of the connection."""
        link, local = self._link, self._fallback.windows if self._fallback else 0
        state: Literal["connected", "fallback", "lost"] = "connected"
        if not link.replicas_up:
            state = "fallback" if self._fallback else "lost"
        return ClusterHealth(
            state=state,
            replicas=self._settings.replicas,
            replicas_up=link.replicas_up,
            repeated=link.repeated,
            local=local,
            outages=link.outages,
            detail=link.detail if not link.replicas_up else "",
        )

    def infer(self, lane: int, batch: Sequence[Window]) -> list[list[Scores]]:
        """Score a batch on the cluster, or by the fallback while the cluster is gone.

        Raises `ClusterUnavailable` if neither can, `InferenceError` if the model fails.
        """
        if self._fallback is not None and not self._link.replicas_up:
            return self._fallback.infer(lane, batch)
        if not self._link.replicas_up and not self._link.wait_until_up(self._fresh_s):
            raise ClusterUnavailable(f"the cluster is unavailable: {self._link.detail or 'no replica answers'}")
        began_s = time.monotonic()
        result = self._link.ask(
            lane,
            batch,
            is_exact=self._settings.cluster_samples == "float32",
            fresh_s=self._fresh_s,
            timeout_s=self._settings.cluster_timeout_s,
        )
        if result.is_lost:
            is_fresh = time.monotonic() - began_s < self._fresh_s
            if self._fallback is not None and is_fresh and not self._link.replicas_up:
                return self._fallback.infer(lane, batch)
            raise ClusterUnavailable(f"the cluster is unavailable: {result.error}")
        if result.error:
            raise InferenceError(result.error)
        names = [model.info.name for model in self.ensembles[lane].models]
        return [
            [
                Scores(name, window.source_id, window.index, window.start_sample, window.end_sample, values[number])
                for name, values in zip(names, result.values, strict=True)
            ]
            for number, window in enumerate(batch)
        ]

    def _start(self) -> ModelGroups:
        self._link.start()
        until_s = time.monotonic() + START_TIMEOUT_S
        while not (groups := self._link.models) and time.monotonic() < until_s:
            if self._link.failures:
                break
            self._link.wait_until_up(0.1)
        if groups:
            return groups
        reason = self._link.detail or f"no replica has started within {START_TIMEOUT_S:g} s"
        if self._fallback is None:
            self.close()
            raise ModelError(f"cannot use the cluster {self._settings.cluster!r} (pool.cluster): {reason}")
        log.warning("cluster %s: %s; models run on this node meanwhile", self._settings.cluster, reason)
        self._link.models = describe(self._fallback.ensembles())
        return self._link.models


class RemoteEnsemble:
    """The models of one lane; a model alone is an ensemble of one."""

    def __init__(self, cluster: ClusterModels, lane: int, group: Sequence[tuple[ModelInfo, WindowSpec]]) -> None:
        self.cluster = cluster
        self._lane = lane
        self.models = tuple(RemoteModel(self, index, info, spec) for index, (info, spec) in enumerate(group))

    def infer(self, batch: Sequence[Window]) -> list[list[Scores]]:
        """Score windows of equal length by all models."""
        return self.cluster.infer(self._lane, batch)

    def health(self) -> ClusterHealth:
        """Return the state of the connection."""
        return self.cluster.health()


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """One model on the cluster."""

    ensemble: RemoteEnsemble
    index: int
    info: ModelInfo
    spec: WindowSpec

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        """Score windows of equal length."""
        return [scores[self.index] for scores in self.ensemble.infer(batch)]


class _Fallback:
    """The same models on this node; `pool.workers` batches at a time."""

    def __init__(self, load: Loader, settings: PoolSettings) -> None:
        self._load = load
        self._loading = threading.Lock()
        self._computing = threading.Semaphore(settings.workers)
        self._ensembles: Sequence[Ensemble] = ()
        self.windows = 0

    def ensembles(self) -> Sequence[Ensemble]:
        """Return the models; the first call loads them."""
        with self._loading:
            if not self._ensembles:
                self._ensembles, _ = self._load()
            return self._ensembles

    def infer(self, lane: int, batch: Sequence[Window]) -> list[list[Scores]]:
        """Score a batch."""
        ensembles = self.ensembles()
        with self._computing:
            results = [list(scores) for scores in ensembles[lane].infer(batch)]
            self.windows += len(batch)
        return results


def _bridge_settings(settings: PoolSettings, load: Loader) -> BridgeSettings:
    return BridgeSettings(
        address=settings.cluster,
        namespace=settings.namespace,
        replicas=settings.replicas,
        num_cpus=settings.num_cpus,
        num_gpus=settings.num_gpus,
        threads=settings.threads or max(1, int(settings.num_cpus)),
        load=load,
    )
