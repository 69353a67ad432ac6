"""Number of live sources that this machine carries with the models of a run: an estimate from single windows.

Each model scores a few windows of speech in a thread that is set up as its worker's will be. A source whose speech
never pauses needs one window per hop of every model, and the rest of the pipeline about `REST_S` a second. `tonewatch
bench --channels` measures the number instead, in minutes.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from stream.clock import seconds
from stream.demo.conversation import AUDIO
from stream.inference.pool import blas_threads
from stream.settings import Settings
from stream.types import Ensemble, Window

REST_S = 0.01
"""Seconds of a core per second of a live stream for the speech detector, windows, decisions and events."""

TRIAL_S = 0.3
"""A model is timed until this time is used, at least once."""

MAX_TRIES = 5


@dataclass(frozen=True, slots=True)
class Capacity:
    """`sources`: how many live sources may speak at the same time; `slowest`: the models that limit it."""

    sources: float
    slowest: str

    def sentence(self) -> str:
        """Return what a user should know, with what to change if it is less than one source."""
        if self.sources >= 1:
            return f"this machine carries about {math.floor(self.sources)} live sources that speak at the same time"
        return (
            f"this machine carries no live source with these models (about {self.sources:.1f}), and windows will be "
            f"dropped; {self.slowest} takes longest: use a smaller preset (tiny is the smallest), a longer hop_s, or "
            "dtype = int8 for a pretrained model"
        )


def estimate(lanes: Sequence[Ensemble], settings: Settings, *, thread_setup: Callable[[int], None]) -> Capacity:
    """Time every lane and return the estimate. Blocks for `TRIAL_S` per lane, or one window of a slow model."""
    cores = os.cpu_count() or 1
    threads = blas_threads(settings.pool, lanes=len(lanes))
    load_s, busiest, slowest = REST_S, 0.0, ""
    for lane in lanes:
        hop_s = seconds(min(model.spec.hop_samples for model in lane.models))
        share = window_s(lane, lambda: thread_setup(threads)) / hop_s
        load_s += share * threads
        if share / settings.pool.workers > busiest:
            busiest, slowest = share / settings.pool.workers, " and ".join(model.info.name for model in lane.models)
    return Capacity(min(cores / load_s, 1 / busiest if busiest else math.inf), slowest)


def window_s(lane: Ensemble, thread_setup: Callable[[], None]) -> float:
    """Return the CPU seconds of one window, the fastest of several: other programs hardly affect them.

    The thread is set up for the model and takes part in each of its products.
    """
    length = max(model.spec.length_samples for model in lane.models)
    audio, _ = soundfile.read(AUDIO, dtype="float32", always_2d=True)
    window = Window("capacity", 0, 0, np.resize(audio[:, 0], length), speech_ratio=1.0, speech_samples=length)
    times: list[float] = []

    def work() -> None:
        thread_setup()
        while len(times) < MAX_TRIES and sum(times) < TRIAL_S:
            began_s = time.thread_time()
            lane.infer([window])
            times.append(max(time.thread_time() - began_s, 1e-6))

    thread = threading.Thread(target=work, name="tonewatch-capacity")
    thread.start()
    thread.join()
    return min(times, default=math.inf)
