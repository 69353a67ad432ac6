"""What both trainings share: batches made ahead on a thread, a schedule, a running mean of the weights, checkpoints."""

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
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train, and how fast to learn."""

    steps: int
    minutes: float | None = None
    rate: float = 2e-3
    warm_up: float = 0.08
    mean_decay: float = 0.998

    def done(self, *, step: int, elapsed_s: float) -> float:
        """How much of the training lies behind, from 0 to 1: by steps, or by the clock where that is further on."""
        by_clock = elapsed_s / (self.minutes * 60) if self.minutes else 0.0
        return min(max(step / self.steps, by_clock), 1.0)

    def learning_rate(self, done: float) -> float:
        """A short rise, then half a cosine down to nearly nothing."""
        if done < self.warm_up:
            return self.rate * (0.05 + 0.95 * done / self.warm_up)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up))))


class Ahead(Generic[Batch]):
    """Makes the batch of each step on a thread, a few steps ahead; a batch depends on its step alone."""

    def __init__(self, *, make: Callable[[torch.Generator], Batch], seed: int, first: int) -> None:
        self._make, self._seed, self._step = make, seed, first
        self._ready: queue.Queue[Batch | Exception] = queue.Queue(_AHEAD)
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
        """Make no more; what is ready is thrown away."""
        self._stopped.set()
        while not self._ready.empty():
            self._ready.get()

    def next(self) -> Batch:
        """The next step's batch."""
        batch = self._ready.get()
        if isinstance(batch, Exception):
            raise batch
        return batch


class RunningMean:
    """An exponential mean of a net's weights and statistics, which generalises better than the last step's."""

    def __init__(self, *, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in net.state_dict().items()}
        self.count = 0

    def update(self, net: nn.Module) -> None:
        """Take in a step; young means forget faster: never more than about the last third of the steps counts."""
        self.count += 1
        keep = min(self.decay, (1 + self.count) / (4 + self.count))
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value.detach(), 1 - keep)
            else:
                self.state[name].copy_(value)


@dataclass(slots=True)
class Progressed:
    """Where a training stands; saved and resumed whole."""

    step: int = 0
    elapsed_s: float = 0.0
    best: float = math.inf


def save(path: Path, content: dict[str, object]) -> None:
    """Write beside, then move in place, so that a run that is cut off leaves the last whole checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    torch.save(content, beside)
    beside.replace(path)


def steps(plan: Plan, state: Progressed) -> Iterator[float]:
    """Count steps with a bar, giving how much is done before each."""
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
    """bfloat16 where the processor multiplies it in hardware; elsewhere it would be several times slower."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))  # noqa: SLF001


def detached(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy that later steps do not touch, in the layout safetensors wants."""
    return {name: value.detach().clone().contiguous() for name, value in state.items() if value.is_floating_point()}
