"""Windows of a batch are scored together only where that is faster than one by one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from stream.models.batches import TRIES, Batches

CPU = torch.device("cpu")
AUDIO = torch.arange(12.0).view(4, 3)


class TimedForward:
    """Two heads that take a second for each call, and `window_s` more for each window."""

    def __init__(self, *, window_s: float, stacked_s: float) -> None:
        self.now_s = 0.0
        self.sizes: list[int] = []
        self._window_s, self._stacked_s = window_s, stacked_s

    def __call__(self, audio: Tensor) -> Sequence[Tensor]:
        self.sizes.append(len(audio))
        self.now_s += self._window_s * len(audio) + (self._stacked_s if len(audio) > 1 else 0.0)
        return [audio + 1, audio[:, :1]]


@pytest.mark.parametrize(("stacked_s", "size"), [(0.5, 1), (-0.5, 4)])
def test_the_faster_way_is_used_after_the_trial(stacked_s: float, size: int) -> None:
    forward = TimedForward(window_s=1.0, stacked_s=stacked_s)
    batches = Batches(device=CPU, clock=lambda: forward.now_s)
    for _ in range(2 * TRIES):
        first, second = batches.run(forward, AUDIO)
        assert torch.equal(first, AUDIO + 1)
        assert torch.equal(second, AUDIO[:, :1])
    assert {1, 4} == set(forward.sizes)
    forward.sizes.clear()
    for _ in range(5):
        batches.run(forward, AUDIO)
    assert set(forward.sizes) == {size}


def test_sizes_are_judged_one_by_one() -> None:
    forward = TimedForward(window_s=1.0, stacked_s=0.5)
    batches = Batches(device=CPU, clock=lambda: forward.now_s)
    for _ in range(2 * TRIES):
        batches.run(forward, AUDIO)
    assert not batches.together(4)
    forward.sizes.clear()
    for _ in range(2 * TRIES):
        batches.run(forward, AUDIO[:2])
    assert 2 in forward.sizes


def test_windows_are_kept_apart_where_scores_would_depend_on_each_other() -> None:
    forward = TimedForward(window_s=1.0, stacked_s=-3.0)
    batches = Batches(device=CPU, singly=True, clock=lambda: forward.now_s)
    for _ in range(3 * TRIES):
        batches.run(forward, AUDIO)
    assert set(forward.sizes) == {1}


def test_a_graphics_processor_always_gets_the_whole_batch() -> None:
    forward = TimedForward(window_s=1.0, stacked_s=9.0)
    for _ in range(3 * TRIES):
        Batches(device=torch.device("cuda")).run(forward, AUDIO)
    assert set(forward.sizes) == {4}
