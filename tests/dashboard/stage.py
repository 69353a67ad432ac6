"""A page on a loopback port, with an event loop of its own in a thread, so that a browser can be driven beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from stream.control.commands import NodeStatus
from stream.dashboard.page import Dashboard
from stream.events import Event
from stream.settings import DashboardSettings, Settings

Result = TypeVar("Result")


class FakeRun:
    """What a pipeline offers to be told; it remembers, and tells the page what a pipeline would."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.told: Callable[[str, str], None] = lambda command, source: None  # noqa: ARG005

    async def pause(self, source_id: str) -> None:
        self.asked.append(("pause", source_id))
        self.told("pause", source_id)

    async def resume(self, source_id: str) -> None:
        self.asked.append(("resume", source_id))
        self.told("resume", source_id)

    def status(self) -> NodeStatus:
        return NodeStatus(up_s=0.0, streams=())


class Stage:
    """`with Stage() as stage: stage.tell(events)`; `restart` takes the server away and brings it back, empty."""

    def __init__(self, *, port: int = 0, token: str = "", host: str = "127.0.0.1", **more: Any) -> None:
        self._settings = Settings(
            node="floor", dashboard=DashboardSettings.model_validate({"port": port, "host": host, "token": token})
        )
        self._more = more
        self.run = FakeRun()
        self.page: Dashboard
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stage", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def open(self) -> None:
        async def opening() -> None:
            self.page = Dashboard(settings=self._settings)
            self.page.control(self.run, **self._more)
            await self.page.__aenter__()

        self.do(opening)

    def close(self) -> None:
        self.do(lambda: self.page.__aexit__(None, None, None))

    def restart(self) -> None:
        """The same port, with nothing on the wall."""
        self.close()
        port = int(self.page.url.rstrip("/").rpartition(":")[2])
        dashboard = self._settings.dashboard.model_copy(update={"port": port})
        self._settings = self._settings.model_copy(update={"dashboard": dashboard})
        self.open()

    @property
    def url(self) -> str:
        return self.page.url

    def tell(self, told: Iterable[Event], *, node: str = "floor") -> None:
        """Events, as a sink gives them to the page."""

        async def telling() -> None:
            for event in told:
                self.page.feed.apply(event.model_dump(mode="json", by_alias=True), node=node)

        self.do(telling)

    def levels(self, levels: Mapping[str, float]) -> None:
        self._more["levels"] = lambda: levels
        self.do(self._control)

    async def _control(self) -> None:
        self.page.control(self.run, **self._more)

    def do(self, what: Callable[[], Any]) -> Any:
        """Run a coroutine on the page's loop and wait for it."""
        done: Future[Any] = asyncio.run_coroutine_threadsafe(what(), self._loop)
        return done.result(30)
