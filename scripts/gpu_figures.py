"""Figures of a CUDA device: the pretrained models' speed, and how many live sources it carries; run by `scripts/gpu`.

A process carries as many sources as one core can cut into windows, so several processes share the device in the second
half of the trials, each with the models of the preset `pretrained` and streams of its own. Every trial plays the
bundled conversation in real time to all sources.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stream.models.benchmark import write_random_checkpoint
from stream.tools.bench.models import measure
from stream.tools.tables import print_table

MODELS = {"emotion": "emotion-wav2vec2-large", "speaker": "speaker-wavlm"}
BATCHES = (1, 8, 64, 128)
COLUMNS = ("model", "batch", "library_fp32_ms", "ours_ms", "times_faster", "ratio", "least_cosine", "same_argmax")
PROCESSES = max(1, (os.cpu_count() or 2) // 2)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="Duration of each trial, and of its warm-up.")
    parser.add_argument("--one", type=int, nargs="*", default=(64, 128, 192), help="Sources of one process.")
    parser.add_argument("--many", type=int, nargs="*", default=(256, 512, 1_024), help="Sources of all processes.")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    options = parser.parse_args()
    rows = measure(
        list(MODELS.values()),
        random_weights=True,
        batches=BATCHES,
        window_s=3.0,
        runs=20,
        dtype="auto",
        device="cuda",
        bfloat16=False,
        windows=64,
    )["models"]
    print_table([{column: row[column] for column in COLUMNS} for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS.values():
            write_random_checkpoint(name, Path(folder) / name)
        table = []
        for processes, totals in ((1, options.one), (options.processes, options.many)):
            for sources in totals:
                table.append(trial(Path(folder), processes=processes, sources=sources, seconds_s=options.seconds))
                sys.stderr.write(f"{table[-1]}\n")
                if not table[-1]["sustained"]:
                    break
    print_table(table)


def trial(folder: Path, *, processes: int, sources: int, seconds_s: float) -> dict[str, Any]:
    """Divide sources among processes that share the device; return a row with the worst latencies."""
    command = [sys.executable, "-m", "stream", "bench", "--channels", "--json", "--preset", "pretrained"]
    command += ["--seconds", str(seconds_s), "--sources", str(sources // processes), "--set", "pool.max_batch=64"]
    command += ["--set", "models.overlap.device=cuda"]
    for task, name in MODELS.items():
        command += ["--set", f"models.{task}.name={folder / name}"]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(processes)
    ]
    found = [json.loads(process.communicate()[0] or "{}") for process in running]
    trials = [report["trials"][-1] for report in found if report]
    return {
        "processes": processes,
        "sources": sources,
        "sustained": len(trials) == processes and all(one["sustained"] for one in trials),
        "p50_ms": max((one["latency_p50_ms"] or 0.0 for one in trials), default=None),
        "p95_ms": max((one["latency_p95_ms"] or 0.0 for one in trials), default=None),
        "late_p95_ms": max((one["late_p95_ms"] for one in trials), default=None),
        "inferred": sum(one["inferred"] for one in trials),
        "dropped": sum(one["dropped"] for one in trials),
        "mean_batch": [round(lane["mean_batch"], 1) for lane in trials[0]["lanes"]] if trials else None,
        "inference_ms": [round(lane["inference_ms"], 1) for lane in trials[0]["lanes"]] if trials else None,
    }


if __name__ == "__main__":
    main()
