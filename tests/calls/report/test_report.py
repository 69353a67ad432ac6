"""The report of a finished call or stream."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from stream import events
from stream.calls.report.drawing import Drawing, Rectangle, TextLabel
from stream.calls.report.drawing import Polyline as Line
from stream.calls.report.session import session_records
from stream.calls.report.timeline import clock_text, timeline
from stream.errors import SettingsError
from stream.events import Event
from stream.tools.report import read_events, write_report
from tests.dashboard.scenes import Scene, conversation, phone_call
from tests.support.browser import OpenPage
from tests.support.dashboard import RunningDashboard

pytestmark = pytest.mark.slow


def call() -> list[Event]:
    scene = Scene("desk", call=True)
    return [
        scene.stream(party="customer"),
        *scene.turn(1, "customer", 1.0, 11.0, label="angry", party="customer"),
        *scene.turn(1, "agent", 12.0, 20.0, label="neutral", party="agent"),
        scene.emotion("angry", 5.0, speaker="customer", party="customer"),
        scene.emotion("angry", 6.0, speaker="customer", party="customer"),
        scene.alert("a1", "anger", 8.0),
        scene.alert("a1", "anger", 14.0, phase="end", since_s=8.0),
        scene.stream("gap", 31.0, start_s=30.0, lost_s=1.0, party="agent"),
        scene.call_figures(40.0, phase="final", state="silence"),
    ]


def written(path: Path, recorded: list[Event]) -> Path:
    path.write_text("".join(f"{events.to_json(event)}\n" for event in recorded))
    return path


def test_a_record_is_built_from_events() -> None:
    (recording,) = session_records(call())
    assert recording.speakers == ["customer", "agent"]
    assert [(turn.speaker, turn.start_s, turn.end_s) for turn in recording.turns] == [
        ("customer", 1.0, 11.0),
        ("agent", 12.0, 20.0),
    ]
    assert [(alert.label, alert.start_s) for alert in recording.alerts] == [("sustained anger", 8.0)]
    assert sum(seconds for _, seconds in recording.partition()) == pytest.approx(recording.end_s)
    assert recording.complete


def test_open_turns_end_with_the_file() -> None:
    scene = Scene("room")
    (recording,) = session_records([*scene.turn(1, "S1", 1.0, 2.0), scene.speaker("S1", 9.0)])
    assert [(turn.start_s, turn.end_s) for turn in recording.turns] == [(1.0, 9.0)]
    assert not recording.complete


def test_speech_of_several_at_once_counts_for_each_and_is_a_part_of_its_own() -> None:
    scene = Scene("room")
    starts = [scene.turn(1, "Alice", 1.0, 6.0, label="neutral"), scene.turn(2, "Bob", 5.0, 9.0, label="neutral")]
    events_ = [event for pair in zip(*starts, strict=True) for event in pair]
    (recording,) = session_records([*events_, scene.stream("ended", 12.0)])
    assert (recording.speech_s("Alice"), recording.speech_s("Bob")) == (5.0, 4.0)
    assert recording.partition() == [("Alice", 4.0), ("Bob", 3.0), ("several at once", 1.0), ("no speaker", 4.0)]


def test_the_parts_of_a_stream_sum_to_its_duration() -> None:
    (recording,) = session_records(conversation("room", 3))
    assert sum(seconds for _, seconds in recording.partition()) == pytest.approx(recording.end_s)


def test_a_report_is_complete_and_self_contained(
    tmp_path: Path, dashboard: RunningDashboard, open_page: OpenPage
) -> None:
    file = written(tmp_path / "desk.ndjson", [*call(), *conversation("boardroom", 3)])
    page, picture = write_report(file, out=tmp_path / "desk.html", png=tmp_path / "desk.png")
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=|url\(|<script|@import", text)
    for words in ("desk", "boardroom", "sustained anger", "1.0 s of audio lost", "42%", "not inferred"):
        assert words in text
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width, height > 400) == (2_000, True)
    shown = open_page(dashboard)  # opened in a browser, under the content policy
    shown.goto(page.as_uri())
    assert shown.locator("svg rect").count() > 10
    assert shown.get_by_role("heading", level=1).all_inner_texts() == ["desk", "boardroom"]
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_report_of_one_stream(tmp_path: Path) -> None:
    file = written(tmp_path / "all.ndjson", [*call(), *conversation("boardroom", 3)])
    (page,) = write_report(file, out=tmp_path / "one.html", only="desk")
    assert "boardroom" not in page.read_text()
    with pytest.raises(SettingsError, match=r"no events of 'cellar' in .*; available: desk, boardroom"):
        write_report(file, out=tmp_path / "none.html", only="cellar")


def test_a_report_of_a_call_has_what_its_event_has(tmp_path: Path) -> None:
    scene = Scene("desk", call=True)
    figures = scene.call_figures(60.0)
    started = scene.stream(party="customer", labels={"caller": "+49301", "agent": "Grace <3"})
    ended = scene.stream("ended", 60.0, party="customer", outcome="cut")
    file = written(
        tmp_path / "x.ndjson", [started, *scene.turn(1, "customer", 1.0, 9.0, label="angry"), figures, ended]
    )
    write_report(file, out=tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text()
    for words in ("Share of speech", "Response time", "agent: Grace &lt;3", "longest silence", "connection lost"):
        assert words in text


def test_only_the_owner_can_read_a_report(tmp_path: Path) -> None:
    file, out = written(tmp_path / "x.ndjson", call()), tmp_path / "x.html"
    out.write_text("an earlier one, longer than the report " * 10_000)
    out.chmod(0o644)
    write_report(file, out=out)
    assert out.stat().st_mode & 0o777 == 0o600
    assert out.read_text().endswith("</html>")


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    scene = Scene(evil)
    file = written(tmp_path / "evil.ndjson", [scene.stream(), *scene.turn(1, evil, 1.0, 40.0, label="<b>"[:3])])
    (page,) = write_report(file, out=tmp_path / "evil.html")
    assert "<script" not in page.read_text()
    assert "<b>:" not in page.read_text()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "has no event of a stream"),
        (b"nonsense\n", "line 1: not JSON"),
        (b'{"type":"turn"}\n', "line 1: not a tonewatch event"),
        (b"\xff\xfe\x00\n", "not a text file"),
    ],
)
def test_invalid_files_are_rejected(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "x.ndjson"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=complaint):
        write_report(file, out=tmp_path / "x.html")


def test_other_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read \(No such file"):
        write_report(tmp_path / "nothing.ndjson", out=tmp_path / "x.html")
    file = written(tmp_path / "x.ndjson", call())
    with pytest.raises(SettingsError, match="overwrite"):
        write_report(file, out=file)
    with pytest.raises(SettingsError, match=r"cannot be written \(No such file"):
        write_report(file, out=tmp_path / "nowhere" / "x.html")


def test_an_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    file = written(tmp_path / "x.ndjson", call())
    whole = file.read_text()
    file.write_text(whole[:-30])
    assert len(list(read_events(file))) == len(call()) - 1


def test_a_drawing_is_well_formed_svg_and_renders_as_png() -> None:
    (recording,) = session_records(phone_call("desk & co", 3))
    drawn = timeline(recording)
    root = ET.fromstring(drawn.svg())  # noqa: S314 - generated here
    assert root.attrib["viewBox"] == f"0 0 {drawn.width} {drawn.height}"
    assert "desk & co" in "".join(root.itertext())
    assert len(drawn.png(scale=1)) > 1_000


def test_shapes_are_at_their_positions() -> None:
    picture = Drawing(40, 20, "test")
    picture.add(
        Rectangle(4, 4, 10, 10, "#ff0000"), Line([(20, 10), (39, 10)], "#0000ff", 2, (4, 4)), TextLabel(0, 0, "&")
    )
    image = Image.open(io.BytesIO(picture.png(scale=1)))
    assert image.getpixel((8, 8)) == (255, 0, 0)
    assert image.getpixel((1, 18)) == (255, 255, 255)
    assert image.getpixel((21, 10)) == (0, 0, 255)
    assert image.getpixel((26, 10)) == (255, 255, 255)  # the gap of a dash


def test_time_format() -> None:
    assert [clock_text(at_s) for at_s in (0, 61.9, 3_661)] == ["00:00", "01:01", "1:01:01"]
