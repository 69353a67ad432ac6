"""What a test needs of the machine: without it the test is skipped, or fails where nothing may be missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def require(*programs: str) -> None:
    """Skip the test unless all programs are installed; fail instead under TONEWATCH_REQUIRE_ALL=1."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        _refuse(f"{', '.join(missing)} is not installed")


def labelled_audio() -> Path:
    """The folder of labelled recordings; without it the test is skipped, or fails likewise."""
    folder = os.environ.get("TONEWATCH_DATA", "")
    if not folder or not (Path(folder) / "manifest.csv").is_file():
        _refuse("TONEWATCH_DATA names no folder of labelled recordings")
    return Path(folder)


def _refuse(reason: str) -> None:
    if os.environ.get("TONEWATCH_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
