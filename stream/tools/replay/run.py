"""A recording processed by the same pipeline as live audio, and the events it publishes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from stream.app.run import run_with_sinks
from stream.events import NODE, Event
from stream.settings import Settings
from stream.tools.evaluation.collector import EventCollector
from stream.tools.replay.explain import format_time


def run_replay(settings: Settings) -> tuple[list[Event], int]:
    """Run the pipeline and return all events and the exit code; configured sinks get nothing. Raises `TonewatchError`.

    Ctrl-C ends the audio: the events up to that point are returned.
    """
    with _status() as status:

        def show_progress(event: Event) -> None:
            if event.source != NODE:
                status.update(f"processed {format_time(event.end_s)}")

        collector = EventCollector(on_event=show_progress)
        code = run_with_sinks(settings.model_copy(update={"sinks": ()}), {"replay": collector})
    return collector.events, code


@contextmanager
def _status() -> Iterator[Status]:
    console = Console(stderr=True)
    status = Status("loading models", console=console)
    if not console.is_terminal:
        yield status
        return
    with status:
        yield status
