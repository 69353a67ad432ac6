"""Time from starting `tonewatch demo` to its first speaker or emotion event, and of `import torch` alone.

Arguments are options of the demo, such as `--preset tiny`. Prints medians of interleaved runs, in seconds. Run it
twice: the first run fills the file cache.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

RUNS = 5


def first_event_s() -> float:
    """Return the time from the start of the process to its first emotion or speaker event on standard output."""
    began_s = time.perf_counter()
    command = [sys.executable, "-m", "stream", "demo", "--quiet", *sys.argv[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise RuntimeError("no pipe")
        for line in process.stdout:
            if b'"type":"speaker"' in line or b'"type":"emotion"' in line:
                break
        took_s = time.perf_counter() - began_s
        process.stdout.read()
    return took_s


def import_torch_s() -> float:
    """Return the duration of a process that only imports torch."""
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began_s


if __name__ == "__main__":
    pairs = [(first_event_s(), import_torch_s()) for _ in range(RUNS)]
    event_s, torch_s = (median(column) for column in zip(*pairs, strict=True))
    print(f"first event {event_s:.2f} s, import torch {torch_s:.2f} s, beyond it {event_s - torch_s:.2f} s")
