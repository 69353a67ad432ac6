"""The dashboard as a whole: its feed, its ASGI app, its port, and its commands to a pipeline.

    async with Dashboard(settings=settings) as page:      # listens from here on
        pipeline = await assemble(settings, sinks={"dashboard": page.sink()})
        page.attach(pipeline)
        await pipeline.run()

The dashboard outlives the run that it shows, so that the result stays on the page.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from stream import __version__
from stream.calls.current_alerts import CurrentAlerts
from stream.control.commands import CommandReply
from stream.control.dispatcher import CommandDispatcher, CommandTarget, Handler
from stream.dashboard.alert_store import AlertStore
from stream.dashboard.feed import Feed, Levels, PageCapabilities
from stream.dashboard.page_connection import UPDATE_RATE_HZ
from stream.dashboard.server import create_app
from stream.dashboard.sink import DashboardSink
from stream.server.access import AccessPolicy, is_loopback
from stream.server.doors import Door
from stream.server.guarded_websocket import GuardedWebSocket
from stream.server.http import HttpServer
from stream.server.refusals import RefusedRequests
from stream.settings import Settings
from stream.sinks.outbox.files import state_folder

SHUTDOWN_TIMEOUT_S = 3
MAX_FRAME_BYTES = 65_536

log = logging.getLogger(__name__)

LAST_UPDATE_S = 2 / UPDATE_RATE_HZ
"""Time for the last state to reach the pages."""


class Dashboard:
    """A web page on a port while the context is entered. Raises `SettingsError` for a host that needs a token."""

    def __init__(self, *, settings: Settings) -> None:
        branch = settings.dashboard
        self._settings = settings
        self.feed = Feed()
        self.feed.set_capabilities(PageCapabilities(about=_about(settings)))
        if (store := _open_store(settings)) is not None:
            self.feed.attach(store)
        self.access = AccessPolicy(
            host=branch.host,
            token=branch.token.get_secret_value(),
            role_tokens={
                "viewer": branch.viewer_token.get_secret_value(),
                "supervisor": branch.supervisor_token.get_secret_value(),
            },
            origins=branch.origins,
        )
        self.refused = RefusedRequests("page")
        self.app = create_app(feed=self.feed, access=self.access, refused=self.refused)
        self.http_server = HttpServer(
            app=self.app,
            host=branch.host,
            port=branch.port,
            setting="dashboard.port",
            shutdown_timeout_s=SHUTDOWN_TIMEOUT_S,
            ws=GuardedWebSocket,
            ws_max_size=MAX_FRAME_BYTES,
        )

    @property
    def url(self) -> str:
        """Address for a browser; the port is known once the context is entered."""
        host = "localhost" if is_loopback(self.http_server.host) else self.http_server.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.http_server.port}/"

    def sink(self) -> DashboardSink:
        """Return a sink for the events of a pipeline."""
        return DashboardSink(feed=self.feed, node=self._settings.node)

    def attach(
        self,
        pipeline: CommandTarget,
        *,
        levels: Levels | None = None,
        alerts: CurrentAlerts | None = None,
        handlers: Mapping[str, Handler] | None = None,
        microphone: str | None = None,
        doors: Sequence[Door] = (),
    ) -> None:
        """Let pages send `pause` and `resume`, and the commands of `handlers` (`enroll`), to a pipeline.

        An empty wall shows the `doors`, where calls arrive at the page's own address.
        """
        dispatcher = CommandDispatcher(pipeline=pipeline, handlers=handlers)
        commands = ("pause", "resume", *(handlers or {}))

        async def execute(text: str) -> CommandReply:
            return await dispatcher.answer(text, allowed=commands)

        self.feed.set_capabilities(
            PageCapabilities(
                commands=commands,
                execute=execute,
                levels=levels,
                alerts=alerts,
                microphone=microphone,
                about=_about(self._settings),
                doors=tuple(doors),
                doors_need_token=bool(self._settings.serve.token.get_secret_value()),
            )
        )

    async def __aenter__(self) -> Self:
        """Listen. Raises `ListenError` if the port is not available."""
        await self.http_server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send the last state to the pages and close the port."""
        if kind is None and len(self.feed.wall):
            await asyncio.sleep(LAST_UPDATE_S)
        await self.http_server.__aexit__(kind, error, trace)
        if self.feed.store is not None:
            self.feed.store.close()


def _open_store(settings: Settings) -> AlertStore | None:
    """Open the file of alerts and calls, if any are kept; one that cannot be opened is logged."""
    branch, folder = settings.dashboard, state_folder("auto")
    days = {"alert_days": branch.alert_days, "call_days": branch.call_days, "change_days": branch.change_days}
    if folder is None or not any(days.values()):
        return None
    path = folder / f"dashboard-{settings.node}.sqlite"
    try:
        return AlertStore(path, **days, now_ms=1000 * time.time())
    except (sqlite3.Error, OSError) as error:
        log.warning("%s: %s; alerts are kept in memory only", path, error)
        return None


def _about(settings: Settings) -> dict[str, Any]:
    """Return version, node and settings for the page: secrets are masked, enrolled voices reduced to their names."""
    tree = settings.model_dump(mode="json")
    tree["speakers"]["enrolled"] = sorted(tree["speakers"]["enrolled"])
    return {"version": __version__, "node": settings.node, "settings": tree}
