"""Shared by both trainings: a batch thread, a learning rate schedule, a running mean of weights, checkpoints."""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn

Batch = TypeVar("Batch")
_PREFETCHED = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """Duration and learning rate of a training."""

    steps: int
    minutes: float | None = None
    rate: float = 2e-3
    warm_up: float = 0.08
    mean_decay: float = 0.998

    def done(self, *, step: int, elapsed_s: float) -> float:
        """Return the completed share of the training, 0 to 1: by steps or by time, whichever is further."""
        by_clock = elapsed_s / (self.minutes * 60) if self.minutes else 0.0
        return min(max(step / self.steps, by_clock), 1.0)

    def learning_rate(self, done: float) -> float:
        """Return the learning rate: a short warm-up, then a half cosine to nearly zero."""
        if done < self.warm_up:
            return self.rate * (0.05 + 0.95 * done / self.warm_up)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up))))


class Prefetcher(Generic[Batch]):
    """Builds the batch of each step on a thread, a few steps ahead; a batch depends only on its step."""

    def __init__(self, *, make: Callable[[torch.Generator], Batch], seed: int, first: int) -> None:
        self._make, self._seed, self._step = make, seed, first
        self._ready: queue.Queue[Batch | Exception] = queue.Queue(_PREFETCHED)
        self._stopped = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="batches").start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            draw = torch.Generator().manual_seed(self._seed * 1_000_003 + self._step)
            try:
                batch: Batch | Exception = self._make(draw)
            except (RuntimeError, ValueError, IndexError) as error:
                batch = error
            self._ready.put(batch)
            self._step += 1

    def stop(self) -> None:
        """Stop the thread and discard finished batches."""
        self._stopped.set()
        while not self._ready.empty():
            self._ready.get()

    def next(self) -> Batch:
        """Return the batch of the next step."""
        batch = self._ready.get()
        if isinstance(batch, Exception):
            raise batch
        return batch


class RunningMean:
    """An exponential mean of a net's weights and statistics, which generalises better than the last step."""

    def __init__(self, *, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in net.state_dict().items()}
        self.count = 0

    def update(self, net: nn.Module) -> None:
        """Add a step; early means decay faster, so that only about the last third of the steps counts."""
        self.count += 1
        keep = min(self.decay, (1 + self.count) / (4 + self.count))
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value.detach(), 1 - keep)
            else:
                self.state[name].copy_(value)


@dataclass(slots=True)
class TrainingState:
    """Progress of a training; saved and resumed."""

    step: int = 0
    elapsed_s: float = 0.0
    best: float = math.inf


def save(path: Path, content: dict[str, object]) -> None:
    """Write to a temporary file and rename it, so that an interrupted run leaves a complete checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    torch.save(content, temporary)
    temporary.replace(path)


def steps(plan: Plan, state: TrainingState) -> Iterator[float]:
    """Yield the completed share before each step, with a progress bar."""
    started = time.monotonic() - state.elapsed_s
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=not os.isatty(2)) as bar:
        task = bar.add_task("training", total=plan.steps, completed=state.step)
        while (done := plan.done(step=state.step, elapsed_s=state.elapsed_s)) < 1:
            yield done
            state.step += 1
            state.elapsed_s = time.monotonic() - started
            bar.update(task, completed=state.step)


def precision() -> torch.autocast:
    """Return autocast to bfloat16 on processors with hardware support; elsewhere it would be slower."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))  # noqa: SLF001


def detached(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a contiguous copy of the floating-point tensors, as safetensors needs."""
    return {name: value.detach().clone().contiguous() for name, value in state.items() if value.is_floating_point()}
