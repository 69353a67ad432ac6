"""The panel: its content, its size, its speed."""

from __future__ import annotations

import asyncio
import io
import time

import pytest
from rich.console import Console, RenderableType

from stream.events import Candidate, Identity
from stream.sinks.terminal.panel import PanelSink, render
from stream.sinks.terminal.panel_state import PanelState
from tests.support import examples


def shown(what: RenderableType, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(what)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def state(*sources: str) -> PanelState:
    made = PanelState()
    for source in sources:
        made.apply(examples.event(examples.stream("started"), source=source))
        made.apply(examples.event(examples.turn(1, "start"), source=source))
        made.apply(examples.event(examples.turn(1, start_s=1, end_s=12), source=source))
        made.apply(examples.event(examples.turn(2, "start", name="Alice", start_s=13, end_s=14), source=source))
        made.apply(examples.event(examples.speaker("Alice", end_s=20), source=source))
        made.apply(examples.event(examples.emotion(end_s=20), source=source))
    made.apply(examples.event(examples.health(), source="node"))
    return made


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_it_shows_speaker_emotion_and_turns(width: int, height: int) -> None:
    text = shown(render(state("room"), width=width, height=height), width)
    for wanted in ("room", "● Alice", "happy", "70%", "S1", "00:10", "00:01–00:12", "dropped 1"):
        assert wanted in text
    assert max(map(len, text.splitlines())) <= width


def test_a_narrow_screen_is_not_exceeded() -> None:
    text = shown(render(state("room"), width=40, height=12), 40)
    assert "● Alice" in text
    assert max(map(len, text.splitlines())) <= 40


def test_colour_is_never_the_only_information() -> None:
    text = shown(render(state("room"), width=80, height=24))
    assert "▸ happy" in text
    assert "hhh" in text


@pytest.mark.parametrize(
    ("speaking", "words"),
    [("silence", "– silent"), ("unknown", "? unknown speaker"), ("tentative", "◌ not certain yet")],
)
def test_speaker_states_are_shown_as_text(speaking: str, words: str) -> None:
    made = state("room")
    made.apply(examples.event(examples.speaker(None, end_s=21, state=speaking), source="room"))
    assert words in shown(render(made, width=80, height=24))


def test_everyone_who_speaks_is_named_and_has_a_row_of_turns() -> None:
    made = state("room")
    made.apply(examples.event(examples.turn(3, "start", name="Bob", start_s=19, end_s=20), source="room"))
    made.apply(examples.event(examples.speaker("Alice", end_s=21, state="overlap", others=("Bob",)), source="room"))
    text = shown(render(made, width=80, height=24))
    assert "⧉ Alice + Bob" in text
    rows = {line.split()[1]: line for line in text.splitlines() if line.startswith(("│ Alice", "│ Bob"))}
    assert rows["Alice"].rstrip("│ ")[-1] == "·"
    assert rows["Bob"].rstrip("│ ")[-1] == "·"
    made.apply(examples.event(examples.speaker(None, end_s=22, state="overlap", others=("Bob",)), source="room"))
    assert "⧉ several speakers + Bob" in shown(render(made, width=80, height=24))


def test_uncertain_and_silence_differ() -> None:
    made = state("room")
    made.apply(examples.event(examples.emotion("uncertain", end_s=21), source="room"))
    assert "uncertain" in shown(render(made, width=80, height=24))
    made.apply(examples.event(examples.emotion("silence", end_s=22, probabilities={}), source="room"))
    assert "silence" in shown(render(made, width=80, height=24))


def test_a_closed_set_is_marked_as_a_demonstration() -> None:
    named = Identity(label="id7", probability=0.4, candidates=(Candidate(label="id7", probability=0.4),))
    made = state("room")
    made.apply(examples.event(examples.speaker().model_copy(update={"identity": named}), source="room"))
    assert "closed set (demonstration): id7 40%" in shown(render(made, width=80, height=24))


def test_two_hundred_streams_are_rendered_quickly_and_fit() -> None:
    made = state(*(f"call-{number}" for number in range(200)))
    began_s = time.perf_counter()
    text = shown(render(made, width=80, height=24))
    assert time.perf_counter() - began_s < 0.5
    assert len(text.splitlines()) <= 24
    assert "… and 180 more streams" in text


def test_events_are_drawn_during_the_run() -> None:
    screen = io.StringIO()

    async def draw() -> None:
        console = Console(file=screen, force_terminal=True, width=80, height=24)
        async with PanelSink(console=console, refresh_hz=1_000) as sink:
            await sink.send(examples.event(examples.speaker("Bob")))
            await asyncio.sleep(0)

    asyncio.run(draw())
    assert "Bob" in screen.getvalue()


def test_it_shows_the_active_alerts_of_a_stream() -> None:
    made = state("room")
    body = examples.alert().model_copy(update={"kind": "rule", "rule": "stranger", "speaker": None})
    made.apply(examples.event(body, source="room"))
    assert "! stranger" in shown(render(made, width=100, height=24), 100)
    made.apply(examples.event(body.model_copy(update={"phase": "end"}), source="room"))
    assert "! stranger" not in shown(render(made, width=100, height=24), 100)
