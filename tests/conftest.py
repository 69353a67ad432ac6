"""Shared by all tests: user folders stay untouched, tests marked `full` are opt-in, skips can be made failures."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.browser import browser, dashboard, driver, open_page
from tests.support.certificates import authority, certificates
from tests.support.demo import demo_process
from tests.support.requirements import full_tests_wanted, refuses_skips
from tests.support.tones import make_runner, tone_models

__all__ = [
    "authority",
    "browser",
    "certificates",
    "dashboard",
    "demo_process",
    "driver",
    "make_runner",
    "open_page",
    "tone_models",
]


settings.register_profile("tonewatch", deadline=None)  # a busy machine is no failure
settings.load_profile("tonewatch")


@pytest.fixture(scope="session", autouse=True)
def _separate_user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_STATE_HOME", "XDG_DATA_HOME"):
            patch.setenv(variable, str(folder))
        yield folder


def pytest_sessionstart() -> None:
    """Collect no garbage while thousands of tests and all modules are imported; see `pytest_collection_finish`."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt what has been collected from garbage collection: it stays, and every collection would go through it."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests marked `full` unless they are wanted or asked for by their mark."""
    full = [item for item in items if item.get_closest_marker("full") is not None]
    if not full or "full" in str(config.getoption("markexpr")) or full_tests_wanted():
        return
    items[:] = [item for item in items if item not in set(full)]
    config.hook.pytest_deselected(items=full)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failure where no skip is allowed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and refuses_skips():
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped module into a failure where no skip is allowed."""
    report = yield
    if report.skipped and refuses_skips():
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr}"
    return report
