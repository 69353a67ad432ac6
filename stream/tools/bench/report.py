"""Output of `tonewatch bench`: tables or JSON on standard output, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stream.settings import Settings
from stream.tools.tables import print_table


def demo(settings: Settings, *, runs: int, realtime: bool, as_json: bool) -> None:
    """Measure the demo and print the figures."""
    from stream.tools.bench.demo_run import measure  # noqa: PLC0415

    figures = measure(settings, runs=runs, realtime=realtime)
    if as_json:
        _json(figures)
    else:
        print_table([{"figure": name, "value": value} for name, value in figures.items()])


def channels(
    settings: Settings,
    *,
    bound_ms: float,
    seconds_s: float,
    most: int,
    sources: int | None,
    random_weights: bool,
    as_json: bool,
) -> None:
    """Find the capacity in live sources, or try one number of `sources`, and print the trials."""
    from stream.tools.bench.channels import LoadTrial, find_capacity, measure, rows, with_random_weights  # noqa: PLC0415

    def report_trial(trial: LoadTrial) -> None:
        result = "sustained" if trial.sustained else "too many"
        sys.stderr.write(f"{trial.sources} sources: {result} (p95 {trial.latency_p95_ms} ms)\n")

    with TemporaryDirectory() as folder:
        settings = with_random_weights(settings, Path(folder)) if random_weights else settings
        limits = {"bound_ms": bound_ms, "seconds_s": seconds_s}
        if sources is None:
            trials = find_capacity(settings, **limits, most=most, on_trial=report_trial)
        else:
            trials, most = measure(settings, **limits, sources=sources, on_trial=report_trial), sources
    sustained = max((trial.sources for trial in trials if trial.sustained), default=0)
    if as_json:
        pool = settings.pool.model_dump(mode="json")
        _json({"sustained": sustained, "bound_ms": bound_ms, "pool": pool, "trials": [asdict(t) for t in trials]})
        return
    print_table(rows(trials))
    more = " or more" if sustained == most else ""
    sys.stdout.write(f"{sustained}{more} live sources, 95 % of events within {bound_ms:g} ms, nothing dropped\n")


def models(names: Sequence[str], *, as_json: bool, **options: Any) -> None:
    """Time pretrained models and print the results."""
    from stream.tools.bench.models import measure  # noqa: PLC0415

    found = measure(names, **options)
    if as_json:
        _json(found)
        return
    machine = found["machine"]
    sys.stdout.write(
        f"{machine['processor']}, {machine['threads']} thread(s): float32 {machine['float32_gflops']:g} GFLOP/s, "
        f"bfloat16 {machine['bfloat16_gflops']:g}; auto is {machine['choice']}\n"
    )
    print_table(found["models"])
    if found["shared_backbone"]:
        sys.stdout.write(
            f"verification and identification on a shared backbone: {found['shared_backbone']} times as fast\n"
        )


def _json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
