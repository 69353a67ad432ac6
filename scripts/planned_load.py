"""The latency that `tonewatch plan` expects of this machine beside the latency of real runs, at three loads.

    python -m scripts.planned_load --preset tiny --seconds 10

A benchmark finds the capacity, as `tonewatch bench --channels` does, and gives the figures of the plan. Then a quarter,
a half and three quarters of that number of sources run once more: trials of their own, which the plan has not seen.
Prints one line of JSON; the exit code is 1 if a 95th percentile is further off than `MAX_DEVIATION`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict

from stream.app.assembly import load as load_models
from stream.settings import load
from stream.tools.bench.channels import find_capacity, run_trial
from stream.tools.planning.figures import BenchFigures, measured_speech
from stream.tools.planning.plan import Planner

MAX_DEVIATION = 0.25
SHARES = (0.25, 0.5, 0.75)


def compare(*, preset: str, bound_ms: float, seconds_s: float, most: int) -> dict[str, object]:
    """Return the figures of all loads, and whether the plan agrees with each."""
    settings = load(preset=preset, environment={})
    trials = find_capacity(settings, bound_ms=bound_ms, seconds_s=seconds_s, most=most)
    capacity = max((trial.sources for trial in trials if trial.sustained), default=0)
    if not capacity:
        raise SystemExit(f"the machine sustains no {trials[0].sources} sources; end what else runs on it")
    figures = BenchFigures.model_validate(
        {"pool": settings.pool.model_dump(mode="json"), "trials": [asdict(trial) for trial in trials]}
    )
    planner, speech = Planner(figures), measured_speech(figures)
    models, rows = load_models(settings), []
    for sources in sorted({max(1, round(share * capacity)) for share in SHARES}):
        trial = run_trial(settings, models, count=sources, bound_ms=bound_ms, seconds_s=seconds_s)
        planned_ms, measured_ms = planner.point(sources, speech).latency_p95_ms, trial.latency_p95_ms or 0.0
        rows.append(
            {
                "sources": sources,
                "measured_p95_ms": measured_ms,
                "planned_p95_ms": planned_ms,
                "deviation": round(planned_ms / measured_ms - 1, 3) if measured_ms else None,
            }
        )
    agrees = all(row["deviation"] is not None and abs(row["deviation"]) <= MAX_DEVIATION for row in rows)
    return {"preset": preset, "capacity": capacity, "load": os.getloadavg()[0], "agrees": agrees, "loads": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--bound-ms", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--most", type=int, default=256)
    options = parser.parse_args()
    found = compare(preset=options.preset, bound_ms=options.bound_ms, seconds_s=options.seconds, most=options.most)
    print(json.dumps(found))
    sys.exit(0 if found["agrees"] else 1)
