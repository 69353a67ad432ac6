"""The pages show what the demo prints. `python -m scripts.demo_output` writes them again."""

from __future__ import annotations

import json
import re

import pytest

from scripts import demo_output
from tests.support.demo import DemoRun

pytestmark = pytest.mark.long

REFRESH = "run `python -m scripts.demo_output`"
TOLERANCE_S = 1.0


@pytest.fixture(scope="module")
def printed(demo_process: DemoRun) -> dict[str, str]:
    return demo_output.printed(demo_process.lines)


def turns_of_panel(text: str) -> list[tuple[int, int, str]]:
    found = re.findall(r"│ 00:(\d\d)–00:(\d\d)  (\S+)", text)
    return [(int(start), int(end), name) for start, end, name in found]


def test_the_panel_in_the_readme(printed: dict[str, str]) -> None:
    shown, now = (turns_of_panel(text) for text in (demo_output.shown("panel"), printed["panel"]))
    assert [name for *_, name in shown] == [name for *_, name in now], REFRESH
    for ours, theirs in zip(shown, now, strict=True):
        assert ours[:2] == pytest.approx(theirs[:2], abs=TOLERANCE_S), REFRESH
    rows = [
        re.findall(r"^│ (\w+) +[nhasu ]+│$", text, re.MULTILINE)
        for text in (demo_output.shown("panel"), printed["panel"])
    ]
    assert rows[0] == rows[1], REFRESH


@pytest.mark.parametrize("name", ["start", "end"])
def test_a_turn_on_the_pages(printed: dict[str, str], name: str) -> None:
    shown, now = json.loads(demo_output.shown(name)), json.loads(printed[name])
    assert list(shown) == list(now), REFRESH
    for key in ("type", "phase", "turn", "source", "speaker", "models"):
        assert shown[key] == now[key], REFRESH
    for key in ("start_s", "end_s"):
        assert shown[key] == pytest.approx(now[key], abs=TOLERANCE_S), REFRESH


def test_the_explained_part() -> None:
    shown, now = (
        re.findall(r"▸ (\S+) +turn (\S+) (\w+)", text) for text in (demo_output.shown("replay"), demo_output.replayed())
    )
    assert shown == now, REFRESH
    assert shown
