"""Text from outside on every way out: a terminal, the log, HTML, MQTT; and names that are refused at the way in."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from stream.calls.report.page import html
from stream.calls.report.session import session_records
from stream.errors import ProfilesError, SettingsError
from stream.events import Event, read_event
from stream.events import to_json as event_json
from stream.events.text import checked_name, identifier, printable
from stream.monitoring.logs import JsonFormatter, TextFormatter
from stream.profiles.profile import checked_name as profile_name
from stream.profiles.store import ProfileStore, read_profiles
from stream.settings import build
from stream.sinks.terminal.panel import render
from stream.sinks.terminal.panel_state import PanelState
from stream.sinks.terminal.summary import RunSummary
from stream.tools.tables import print_table
from tests.dashboard.scenes import Scene
from tests.profiles.examples import recording

HOSTILE = "[/b]x\x1b]0;PWNED\x07\u202egnp\x85\n[red]"
SHOWN = "[/b]x\\x1b]0;PWNED\\x07\\u202egnp\\x85\\n[red]"
NEWLINE = "\n"
HIDDEN = "\x1b\x07\u202e\x85"


def events(name: str) -> list[Event]:
    scene = Scene(name)
    return [scene.stream(), scene.speaker(name, 2.0, enrolled=True), *scene.turn(1, name, 0.6, 3.4, label="sad")]


def screen(*parts: object) -> str:
    output = io.StringIO()
    console = Console(file=output, width=200, force_terminal=True, color_system=None)
    for part in parts:
        console.print(part)
    return output.getvalue()


@given(st.text())
def test_printable_text_is_stable_and_shows_what_it_hides(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert not any(character in shown for character in "\x00\x1b\x9b\u202e\u2066\u200b\u2028\ud800\ufeff")
    shown.encode()
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("name", ["Zoë", "[/b]Al", "علی‌رضا", "李小龙", "👩‍👧", "O'Neil <b>"])
def test_names_of_people_are_names(name: str) -> None:
    assert checked_name(f" {name} ") == printable(name) == name


@pytest.mark.parametrize("name", ["", "a\x1b[31m", "a\u202eb", "a\u200bb", "\ud800", "a\u2028b", "x" * 65])
def test_other_names_are_refused_by_settings_and_profiles(name: str) -> None:
    with pytest.raises(ProfilesError, match="invalid name"):
        profile_name(name)
    with pytest.raises(SettingsError, match="invalid name"):
        build([("test", {"speakers": {"enrolled": {name: "a.wav"}}})])
    if name:
        with pytest.raises(SettingsError, match=r"sources.0.id: (invalid name|.*(64|unicode))"):
            build([("test", {"sources": [{"id": name}]})])


def test_a_terminal_shows_names_as_text() -> None:
    state, summary = PanelState(), RunSummary()
    for event in events(HOSTILE):
        state.apply(event)
        summary.add(event)
    panel = screen(render(state, width=200, height=50))
    compact = screen(render(state, width=200, height=5))
    table = screen(*summary.render())
    for shown in (panel, compact, table):
        assert "[/b]x" in shown
        assert not any(character in shown for character in HIDDEN)


def test_tables_show_names_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"name": HOSTILE}])
    assert SHOWN in capsys.readouterr().out


def test_the_log_shows_a_message_as_one_line() -> None:
    record = logging.LogRecord("stream", logging.WARNING, "", 1, "lost %s", (HOSTILE,), None)
    assert TextFormatter("tonewatch: %(message)s").format(record) == f"tonewatch: lost {SHOWN}"
    assert json.loads(JsonFormatter().format(record))["message"] == f"lost {printable(HOSTILE, keep=NEWLINE)}"


def test_events_from_elsewhere_and_their_report_hold_no_hidden_characters() -> None:
    received = [read_event(event_json(event)) for event in events(HOSTILE)]
    assert {event.source for event in received} == {SHOWN}
    page = html(session_records(received), title=HOSTILE)
    assert "[/b]x" in page
    assert not any(character in page for character in HIDDEN)
    assert "<img" not in html(session_records(events("<img src=x>")), title="t")


def test_a_stored_name_that_would_be_refused_today_is_shown_and_can_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "profiles.sqlite"
    with ProfileStore(path, create=True) as store:
        store.add("Al", recording())
        with store._transaction() as connection:
            connection.execute("UPDATE people SET name = ?, checksum = NULL", (HOSTILE,))
    assert [profile.name for profile in read_profiles(path)] == [SHOWN]
    with ProfileStore(path) as store:
        store.delete(SHOWN)
    assert read_profiles(path) == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Zoe\u0308", "Zo\u00eb"),
        ("Zo\u00eb", "Zo\u00eb"),
        ("\u212aay", "Kay"),
        ("a/b c\x00\u202e\u200b.wav", "a-b-c---.wav"),
    ],
)
def test_a_stream_has_one_name_however_its_letters_are_composed(text: str, name: str) -> None:
    """File names of a Mac are decomposed: `Zo\u00eb.wav` became the stream `Zoe-`."""
    assert identifier(text) == name
