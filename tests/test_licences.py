"""Licences and pins of what is installed."""

from __future__ import annotations

import pytest

from scripts import licences
from scripts.licences import Package


@pytest.mark.slow
def test_everything_installed_has_an_allowed_licence_and_is_listed() -> None:
    found = licences.packages()
    assert [issue for one in found if (issue := one.issue)] == [], "run `python -m scripts.licences`"
    page = licences.PAGE.read_text(encoding="utf-8")
    assert [one.name for one in found if f"| {one.name} |" not in page] == [], "run `python -m scripts.licences`"
    assert [text for _, _, text in licences.SHIPPED if not (licences.PAGE.parents[1] / text).is_file()] == []


def test_everything_needed_at_run_time_is_pinned() -> None:
    assert licences.unpinned(licences.packages()) == [], "add the versions to config/constraints.txt"


@pytest.mark.parametrize(
    ("terms", "needed_by", "allowed"),
    [
        ("MIT", "run time", True),
        ("GPL-2.0 OR MIT", "run time", True),
        ("MIT AND GPL-3.0", "run time", False),
        ("GPL-3.0", "tests", True),
        ("Apache-2.0 WITH LLVM-exception AND MIT", "run time", True),
        ("", "run time", False),
        ("CC-BY-NC-4.0", "tests", False),
    ],
)
def test_a_licence_is_allowed_by_the_list(terms: str, needed_by: str, allowed: bool) -> None:  # noqa: FBT001
    assert (Package("x", "1", terms, needed_by).issue is None) == allowed
