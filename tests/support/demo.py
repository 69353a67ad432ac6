"""A run of the demo as a process with the default preset, once for all processes that share the tests."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

TIMEOUT_S = 300


class DemoRun(NamedTuple):
    """Exit code, lines on standard output, standard error."""

    code: int
    lines: list[str]
    errors: str


@pytest.fixture(scope="session")
def demo_process(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """Run `tonewatch demo`; the first test process that asks runs it, others wait for it and read its output."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "demo-run"
    folder.mkdir(exist_ok=True)
    code, output, errors = (folder / name for name in ("code", "output", "errors"))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing the file unlocks it
        if not code.exists():
            _run(code, output, errors)
    return DemoRun(int(code.read_text()), output.read_text().splitlines(), errors.read_text())


def _run(code: Path, output: Path, errors: Path) -> None:
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        done = subprocess.run(
            [sys.executable, "-m", "stream", "demo"],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            timeout=TIMEOUT_S,
            check=False,
        )
    code.write_text(str(done.returncode))  # last: its presence says that the output is complete
