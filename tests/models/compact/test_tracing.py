"""A traced net gives bit-identical scores, and only recurring lengths are traced."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from stream.models.compact import tracing
from stream.models.compact.model import load_emotion, load_speaker
from stream.models.compact.tracing import MAX_TRACED_LENGTHS, TRACE_AFTER_CALLS, Traced
from stream.settings import ModelSettings
from stream.types import Window


def scaled(x: Tensor) -> Tensor:
    return torch.tanh(x) * 2


@pytest.mark.long
@pytest.mark.parametrize("which", ["speaker", "emotion"])
@pytest.mark.parametrize("length", [8_000, 22_000, 32_000])
def test_traced_compact_nets_are_bit_identical(which: str, length: int) -> None:
    model = (load_speaker if which == "speaker" else load_emotion)(
        ModelSettings(name=f"compact-{which}", window_s=2.0, hop_s=0.5)
    )
    score = model._score
    assert isinstance(score, Traced)
    random = np.random.default_rng(length)
    for number in range(TRACE_AFTER_CALLS + 3):
        samples = random.normal(0, 0.01 * (number + 1), length).astype(np.float32)
        (scores,) = model.infer([Window("a", number, 0, samples, 1.0, length)])
        with torch.inference_mode():
            plain = score._score(torch.tensor(samples))
        np.testing.assert_array_equal(scores.values, plain.numpy())
    assert score.lengths == 1
    assert score._by_length[length] is not score._score  # traced


def test_rare_lengths_are_not_traced() -> None:
    traced = Traced(score=scaled)
    for _ in range(TRACE_AFTER_CALLS - 1):
        traced(torch.ones(5))
    assert traced.lengths == 0
    traced(torch.ones(5))
    assert traced.lengths == 1


def test_lengths_are_bounded() -> None:
    traced = Traced(score=scaled)
    for length in range(1, MAX_TRACED_LENGTHS + 10):
        for _ in range(TRACE_AFTER_CALLS):
            assert torch.equal(traced(torch.ones(length)), scaled(torch.ones(length)))
    assert traced.lengths == MAX_TRACED_LENGTHS


def test_a_net_that_cannot_be_traced_stays_untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no longer supported")

    monkeypatch.setattr(torch.jit, "trace", fail)
    traced = Traced(score=scaled)
    for _ in range(TRACE_AFTER_CALLS + 2):
        assert torch.equal(traced(torch.ones(5)), scaled(torch.ones(5)))
    assert traced._by_length[5] is scaled


def test_a_trace_with_other_outputs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.jit, "trace", lambda score, *_, **__: lambda x: score(x) + 1e-6)
    traced = Traced(score=scaled)
    for _ in range(TRACE_AFTER_CALLS + 2):
        assert torch.equal(traced(torch.ones(5)), scaled(torch.ones(5)))


def test_no_thread_waits_for_a_trace() -> None:
    traced = Traced(score=scaled)
    for _ in range(TRACE_AFTER_CALLS - 1):
        traced(torch.ones(5))
    with tracing._tracing:  # another thread is tracing
        other = threading.Thread(target=traced, args=(torch.ones(5),))
        other.start()
        other.join(timeout=20)
        assert not other.is_alive()
    assert traced.lengths == 0
