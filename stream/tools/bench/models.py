"""The pretrained models on this machine: ours against the library's own forward, and both against the machine."""

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
    """`machine`, `models` (a row a model and batch) and `shared_backbone`, the gain where two heads share one."""
    from stream.models import benchmark, loading  # noqa: PLC0415 - torch
    from stream.models.devices import keep_memory  # noqa: PLC0415 - torch

    keep_memory()  # as the pool's workers do
    wanted = list(dict.fromkeys(names or benchmark.SHAPES))
    rows = []
    for name in wanted:  # one at a time: each is up to 1.3 GB, and three copies of it are compared
        net = benchmark.random_model(name) if random_weights else loading.library_model(name)
        rows += benchmark.compare(
            {name: net},
            batches=batches,
            window_s=window_s,
            runs=runs,
            wanted=dtype,
            device=device,
            bfloat16=bfloat16,
            windows=windows,
        )
    gain = None
    pair = ("speaker-wav2vec2", "speaker-id-voxceleb1")
    if random_weights and set(pair) <= set(wanted):
        gain = benchmark.shared(*(benchmark.random_model(name) for name in pair), window_s=window_s, runs=runs)
    return {
        "machine": benchmark.machine(),
        "models": [asdict(row) for row in rows],
        "shared_backbone": gain,
    }
