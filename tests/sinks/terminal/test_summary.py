"""The summary at the end of a run."""

from __future__ import annotations

import asyncio
import contextlib
import io

from rich.console import Console

from stream.errors import SinkError
from stream.events import Event
from stream.sinks.terminal.summary import RunSummary, SummarySink
from tests.support import examples


def printed(*events: Event, error: bool = False) -> str:
    text = io.StringIO()

    async def run() -> None:
        async with SummarySink(console=Console(file=text, width=120)) as sink:
            for event in events:
                await sink.send(event)
            if error:
                raise SinkError("broken")

    with contextlib.suppress(SinkError):
        asyncio.run(run())
    return text.getvalue()


def test_speech_and_emotions_are_added_up() -> None:
    summary = RunSummary()
    for number, (name, start_s, end_s) in enumerate([("S1", 0, 6), ("S2", 6, 8), ("S1", 8, 10)]):
        summary.add(examples.event(examples.turn(number, "start", name=name, start_s=start_s, end_s=end_s)))
        summary.add(examples.event(examples.turn(number, name=name, start_s=start_s, end_s=end_s)))
    summary.add(examples.event(examples.turn(9, "start", start_s=11, end_s=12)))
    speakers = summary.as_dict()["streams"]["room"]
    assert speakers["S1"] == {"turns": 2, "talk_s": 8.0, "talk_share": 0.8, "emotions": {"happy": 0.75, "sad": 0.25}}
    assert speakers["S2"]["talk_share"] == 0.2


def test_it_is_printed_with_the_processing_figures() -> None:
    text = printed(examples.event(examples.turn(1)), examples.event(examples.health(), source="node"))
    for wanted in ("room", "S1", "2.0 s", "100%", "happy 75%, sad 25%", "fake", "real-time factor 0.020", "p50 20 ms"):
        assert wanted in text


def test_a_run_without_speech_says_so() -> None:
    assert "No speech detected." in printed(examples.event(examples.health(), source="node"))


def test_a_failed_run_has_no_summary() -> None:
    assert printed(examples.event(examples.turn(1)), error=True) == ""
