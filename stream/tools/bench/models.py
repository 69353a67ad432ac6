"""Benchmark of pretrained models: our forward against the library's, and both against the processor's peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any


def measure(
    names: Sequence[str],
    *,
    random_weights: bool,
    batches: Sequence[int],
    window_s: float,
    runs: int,
    dtype: str,
    device: str,
    bfloat16: bool | None,
    windows: int,
) -> dict[str, Any]:
    """Return `machine`, `models` (a row per model and batch size) and `shared_backbone`, the gain of sharing one."""
    from stream.models import benchmark, loading  # noqa: PLC0415 - torch
    from stream.models.devices import retain_freed_memory  # noqa: PLC0415 - torch

    retain_freed_memory()  # as in the inference threads
    selected = list(dict.fromkeys(names or benchmark.SHAPES))
    rows = []
    for name in selected:  # one at a time: three copies of up to 1.3 GB each
        net = benchmark.random_model(name) if random_weights else loading.library_model(name)
        rows += benchmark.compare(
            {name: net},
            batches=batches,
            window_s=window_s,
            runs=runs,
            dtype=dtype,
            device=device,
            bfloat16=bfloat16,
            windows=windows,
        )
    gain = None
    pair = ("speaker-wav2vec2", "speaker-id-voxceleb1")
    if random_weights and set(pair) <= set(selected):
        gain = benchmark.shared_backbone_speedup(
            *(benchmark.random_model(name) for name in pair), window_s=window_s, runs=runs
        )
    return {
        "machine": benchmark.machine_info(),
        "models": [asdict(row) for row in rows],
        "shared_backbone": gain,
    }
