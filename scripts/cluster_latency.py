"""What a cluster adds to a batch: its way from a node to a replica and back, with a model that takes next to no time.

    python -m scripts.cluster_latency --batches 300

Node, bridge, head and replica are processes of this machine. Prints one line of JSON: for batches of one and of eight
windows of 3 s, one after the other and one every 50 ms, the median and the 95th percentile in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from stream.inference.cluster import ClusterModels
from stream.types import Window
from tests.support.ray_cluster import AUTHENTICATION, RayCluster, connect

PAUSE_S = 0.05
WARM_UP = 50


def measure(models: ClusterModels, *, windows: int, batches: int, pause_s: float) -> dict[str, float]:
    """Return the percentiles of the time of a batch."""
    samples = np.random.default_rng(1).uniform(-0.4, 0.4, 48_000).astype(np.float32)
    batch = [Window("hall", 0, 0, samples, 1.0, 48_000)] * windows
    times_ms = []
    for _ in range(batches):
        began_s = time.perf_counter()
        models.infer(0, batch)
        times_ms.append((time.perf_counter() - began_s) * 1000)
        time.sleep(pause_s)
    return {f"p{share}_ms": round(float(np.percentile(times_ms, share)), 2) for share in (50, 95)}


def measure_all(batches: int) -> list[dict[str, object]]:
    """Start a cluster and return a row for each size and pace."""
    os.environ.update(AUTHENTICATION)
    with tempfile.TemporaryDirectory() as folder, RayCluster(Path(folder)) as cluster:
        models = connect(cluster.address, num_cpus=1)
        models.infer(0, [Window("hall", 0, 0, np.zeros(48_000, np.float32), 1.0, 1)])
        measure(models, windows=1, batches=WARM_UP, pause_s=0)
        rows: list[dict[str, object]] = []
        for windows in (1, 8):
            for pause_s in (0.0, PAUSE_S):
                found = measure(models, windows=windows, batches=batches, pause_s=pause_s)
                rows.append({"windows": windows, "pause_s": pause_s, **found})
        models.close()
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=300)
    load_before = os.getloadavg()[0]
    print(json.dumps({"load": load_before, "batches": measure_all(parser.parse_args().batches)}))
