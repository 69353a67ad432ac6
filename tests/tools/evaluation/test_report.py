"""The page is self-contained, and names are escaped."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from stream.errors import TonewatchError
from stream.tools.evaluation import plots, report
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.diarization import Case, score_recording
from stream.tools.evaluation.emotion import EmotionResult, UtteranceResult
from stream.tools.evaluation.report import Section, format_figure
from stream.tools.evaluation.segments import Segment
from stream.tools.evaluation.verification import Pairs
from tests.support.tones import EMOTIONS
from tests.tools.evaluation.event_builders import speaker_event, turn_event

NASTY = "<script>alert('--> $\\frac{1')</script> & \"Ü\" 李"


class Page(HTMLParser):
    """Collects elements, and everything an element refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        wanted = ("src", "href", "xlink:href", "data", "action", "poster", "srcset")
        self.links += [value or "" for name, value in attrs if name in wanted]


def check(text: str) -> Page:
    """Return the parsed text, which must load nothing."""
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(page.tags)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)\)", text))
    assert "@import" not in text
    return page


def pairs() -> Pairs:
    draw = np.random.default_rng(0)
    return Pairs(draw.normal(0.7, 0.1, 80), draw.normal(0.5, 0.1, 200), None, None)


def emotions() -> EmotionResult:
    draw = np.random.default_rng(1)
    utterances = [
        UtteranceResult(
            Utterance((Path("x.wav"),), "a", EMOTIONS[at % 4]), at % 4, draw.dirichlet(np.ones(4)), "sad", 1.0, 1.0, 0
        )
        for at in range(40)
    ]
    return EmotionResult("m", "1", EMOTIONS, tuple(utterances), {})


@cache
def charts() -> list[str]:
    reference = (Segment(0.0, 3.0, NASTY), Segment(3.0, 6.0, "_bob"))
    events = (speaker_event(1.0, "S1"), turn_event(0.0, 3.0, "S1"), turn_event(3.0, 4.0, None))
    case = score_recording(Case(NASTY, reference, events, 0.0, 6.0), collar_s=0.0, overlap=True)
    return [
        plots.timeline(case),
        plots.det({NASTY: pairs(), "other": pairs()}, NASTY),
        plots.distributions([0.7, 0.8], [0.1, 0.2], 0.5, NASTY),
        plots.distributions([0.5], [0.5], None, "all alike"),
        plots.confusion_matrix(emotions(), NASTY),
        plots.reliability_diagram(emotions(), NASTY),
    ]


@pytest.mark.slow
def test_charts_are_self_contained_and_reproducible_svg() -> None:
    for chart in charts():
        assert chart.startswith("<svg")
        assert chart.rstrip().endswith("</svg>")
        check(chart)
    assert plots.reliability_diagram(emotions(), NASTY) == charts()[-1]


def test_separable_scores_can_be_drawn() -> None:
    separable = Pairs(np.array([0.8, 0.9]), np.array([0.1, 0.2]), None, None)
    assert plots.det({"separable": separable}, "no error").startswith("<svg")


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    rows = [{NASTY: 0.12345, "none": None, "text": NASTY}]
    section = Section(NASTY, (rows, []), tuple(charts()), note=NASTY)
    report.write(path, title=NASTY, note=NASTY, sections=[section])
    text = path.read_text(encoding="utf-8")
    page = check(text)
    assert text.startswith("<!doctype html>")
    assert page.tags.count("svg") == 6
    assert page.tags.count("table") == 1, "a table without rows is omitted"
    assert "0.123" in text
    assert "&lt;script&gt;" in text


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TonewatchError, match=r"page\.html cannot be written \(No such file or directory\)"):
        report.write(tmp_path / "absent" / "page.html", title="t", note="n", sections=[])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (1.0, "1"), (100.0, "100"), (0.5, "0.5"), (0.12345, "0.123"), (3, "3"), ("ann", "ann")],
)
def test_format_figure(value: object, text: str) -> None:
    assert format_figure(value) == text
