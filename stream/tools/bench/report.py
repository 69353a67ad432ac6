"""What `tonewatch bench` prints: tables for people, JSON for programs. Progress goes to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from stream.settings import Settings
from stream.tools.tables import print_table


def corridor(settings: Settings, *, runs: int, realtime: bool, as_json: bool) -> None:
    """The demo."""
    from stream.tools.bench.demo_run import measure  # noqa: PLC0415

    figures = measure(settings, runs=runs, realtime=realtime)
    if as_json:
        _json(figures)
    else:
        print_table([{"figure": name, "value": value} for name, value in figures.items()])


def channels(settings: Settings, *, bound_ms: float, seconds_s: float, most: int, as_json: bool) -> None:
    """Live sources."""
    from stream.tools.bench.channels import LoadTrial, rows, sustained  # noqa: PLC0415

    def tell(trial: LoadTrial) -> None:
        verdict = "sustained" if trial.sustained else "too many"
        sys.stderr.write(f"{trial.sources} sources: {verdict} (p95 {trial.latency_p95_ms} ms)\n")

    trials = sustained(settings, bound_ms=bound_ms, seconds_s=seconds_s, most=most, tell=tell)
    held = max((trial.sources for trial in trials if trial.sustained), default=0)
    if as_json:
        _json({"sustained": held, "bound_ms": bound_ms, "trials": rows(trials)})
        return
    print_table(rows(trials))
    more = " or more" if held == most else ""
    sys.stdout.write(f"{held}{more} live sources, 95 % of events within {bound_ms:g} ms, nothing dropped\n")


def models(names: Sequence[str], *, as_json: bool, **options: Any) -> None:
    """Pretrained models."""
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
        sys.stdout.write(f"verification and identification on one backbone: {found['shared_backbone']} times faster\n")


def _json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
