"""Memory of this process."""

from __future__ import annotations

import os


def resident_memory_mb() -> float | None:
    """Return the resident memory of this process, if /proc shows it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read for every `health`
            return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    except (OSError, ValueError):
        return None
