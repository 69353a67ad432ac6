"""Requirements of tests on their environment, and the switches TONEWATCH_REQUIRE_ALL and TONEWATCH_FULL."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FULLY_TESTED = ("stream/models", "stream/server")
"""Packages that have tests marked `full`; `.ci/run` names them, too."""


def require(*programs: str) -> None:
    """Skip the test unless all programs are installed; fail instead under TONEWATCH_REQUIRE_ALL=1."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        _skip_or_fail(f"{', '.join(missing)} is not installed")


def labelled_audio() -> Path:
    """Return the folder of labelled recordings; skip or fail the test like `require` if there is none."""
    folder = os.environ.get("TONEWATCH_DATA", "")
    if not folder or not (Path(folder) / "manifest.csv").is_file():
        _skip_or_fail("TONEWATCH_DATA names no folder of labelled recordings")
    return Path(folder)


def refuses_skips() -> bool:
    """Whether a skipped test counts as a failure (TONEWATCH_REQUIRE_ALL=1)."""
    return os.environ.get("TONEWATCH_REQUIRE_ALL") == "1"


@cache
def full_tests_wanted() -> bool:
    """Whether tests marked `full` run: with TONEWATCH_FULL=1, or if what they test differs from the merge base."""
    if (switch := os.environ.get("TONEWATCH_FULL")) is not None:
        return switch == "1"
    base = next(filter(None, (_git("merge-base", "HEAD", branch) for branch in ("origin/HEAD", "main"))), "HEAD")
    return bool(_git("diff", "--name-only", base, "--", *FULLY_TESTED))


def _git(*arguments: str) -> str:
    """Return the output of a git command, or an empty string if it fails or git is missing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _skip_or_fail(reason: str) -> None:
    if refuses_skips():
        pytest.fail(reason)
    pytest.skip(reason)
