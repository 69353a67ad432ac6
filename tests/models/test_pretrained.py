"""Inference with pretrained models: input errors, failures of torch, threads."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from stream.errors import InferenceError
from stream.models.loading import load
from tests.models.test_loading import Windows, Write, settings

pytestmark = pytest.mark.slow


def test_windows_of_one_length_only(checkpoint: Write, windows: Windows) -> None:
    model = load(settings(checkpoint("speaker-wav2vec2")[0]))
    with pytest.raises(InferenceError, match="windows of equal length"):
        model.infer([*windows(1), *windows(1, length=17_000)])
    with pytest.raises(InferenceError, match="at least 8000 samples"):
        model.infer(windows(1, length=4_900))
    assert model.infer([]) == []


def test_scores_that_are_not_finite_are_rejected(checkpoint: Write, windows: Windows) -> None:
    model = load(settings(checkpoint("speaker-wav2vec2")[0]))
    valid, bad = windows(2)
    bad.samples[100] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InferenceError, match="not finite for 1 of 2 windows"):
            model.infer([valid, bad])
    bad.samples[100] = 0


def test_failures_of_torch_are_wrapped(checkpoint: Write, windows: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(settings(checkpoint("speaker-wav2vec2")[0]))

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.\nDetails")

    monkeypatch.setattr(model._net, "forward", fail)
    with pytest.raises(InferenceError, match=r"failed on 3 windows \(CUDA out of memory. Tried to allocate 1 GiB\);"):
        model.infer(windows(3))


@pytest.mark.slow
def test_threads_may_share_a_model(checkpoint: Write, windows: Windows) -> None:
    for name in ("speaker-wavlm", "emotion-wav2vec2-large"):
        model = load(settings(checkpoint(name)[0]))
        batch = windows(6)
        alone = [model.infer([window])[0].values for window in batch]
        with ThreadPoolExecutor(3) as threads:
            concurrent = list(threads.map(lambda window: model.infer([window])[0].values, batch))  # noqa: B023
        np.testing.assert_allclose(concurrent, alone, rtol=0, atol=1e-6)


def test_read_only_samples_are_left_alone(checkpoint: Write, windows: Windows) -> None:
    for name in ("speaker-wav2vec2", "hubert"):
        (window,) = windows(1)
        kept = window.samples.copy()
        window.samples.flags.writeable = False
        load(settings(checkpoint(name)[0])).infer([window])
        np.testing.assert_array_equal(window.samples, kept)
