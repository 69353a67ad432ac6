"""A dashboard on a loopback port, with an event loop in a thread of its own: a test drives a browser beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Self

from stream.control.commands import NodeStatus
from stream.dashboard.page import Dashboard
from stream.events import Event
from stream.settings import DashboardSettings, Settings


class FakePipeline:
    """A target of commands that records them; `on_command` is called with the command and the source."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []
        self.on_command: Callable[[str, str], None] = lambda command, source: None  # noqa: ARG005

    async def pause(self, source_id: str) -> None:
        self.commands.append(("pause", source_id))
        self.on_command("pause", source_id)

    async def resume(self, source_id: str) -> None:
        self.commands.append(("resume", source_id))
        self.on_command("resume", source_id)

    def status(self) -> NodeStatus:
        return NodeStatus(up_s=0.0, streams=())


class RunningDashboard:
    """`with RunningDashboard() as dashboard: dashboard.apply(events)`; `restart` opens an empty one instead.

    `more` are further settings of the dashboard.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        token: str = "",
        alert_days: int = 0,
        more: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        given = {"port": port, "token": token, "alert_days": alert_days, "change_days": 0, **(more or {})}
        self._settings = Settings(node="floor", dashboard=DashboardSettings.model_validate(given))
        self._options = options
        self.pipeline = FakePipeline()
        self.page: Dashboard
        self._loop, self._closed = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join(10)

    def _run(self) -> None:
        # A runner ends the tasks that still run before it closes the loop.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._closed.wait())

    def open(self) -> None:
        async def opening() -> None:
            self.page = Dashboard(settings=self._settings)
            self.page.attach(self.pipeline, **self._options)
            await self.page.__aenter__()

        self.do(opening)

    def close(self) -> None:
        self.do(lambda: self.page.__aexit__(None, None, None))

    def restart(self) -> None:
        """Close the server and open another one on the same port."""
        self.close()
        port = int(self.page.url.rstrip("/").rpartition(":")[2])
        branch = self._settings.dashboard.model_copy(update={"port": port})
        self._settings = self._settings.model_copy(update={"dashboard": branch})
        self.open()

    @property
    def url(self) -> str:
        return self.page.url

    def apply(self, events: Iterable[Event], *, node: str = "floor") -> None:
        """Apply events as a sink does."""

        async def applying() -> None:
            for event in events:
                self.page.feed.apply(event, node=node)

        self.do(applying)

    def set_levels(self, levels: Mapping[str, float]) -> None:
        """Give pages the input levels of sources."""
        self._options["levels"] = lambda: levels

        async def attaching() -> None:
            self.page.attach(self.pipeline, **self._options)

        self.do(attaching)

    def do(self, function: Callable[[], Any]) -> Any:
        """Run a coroutine function on the server's event loop and return its result."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(function(), self._loop)
        return future.result(30)
