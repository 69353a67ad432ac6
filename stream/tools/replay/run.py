"""A recording through the pipeline that live sound takes, and the events it gave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from stream.app.run import run_with_sinks
from stream.events import NODE, Event
from stream.settings import Settings
from stream.sinks.base import ObserverSink
from stream.tools.replay.explain import format_time


class _Collector(ObserverSink):
    """A sink that keeps every event, and shows how far the sound was heard."""

    def __init__(self, status: Status) -> None:
        self.events: list[Event] = []
        self._status = status

    async def send(self, event: Event) -> None:
        self.events.append(event)
        if event.source != NODE:
            self._status.update(f"heard {format_time(event.end_s)}")


def run_replay(settings: Settings) -> tuple[list[Event], int]:
    """All events of a run, and its exit code; nothing goes to the settings' own sinks. Raises `TonewatchError`.

    Ctrl-C ends the sound: what was heard up to there is told.
    """
    with _status() as status:
        collector = _Collector(status)
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
