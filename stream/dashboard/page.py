"""The page as a whole: its feed, its app, its port, and what it may ask of a run.

    async with Dashboard(settings=settings) as page:      # serves from here on
        pipeline = await assemble(settings, sinks={"dashboard": page.sink()})
        page.control(pipeline)
        await pipeline.run()

The page outlives the run it shows, so that what was heard can be looked at; it says good-bye when it is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from stream import __version__
from stream.control.dispatcher import CommandDispatcher, CommandTarget, Handler
from stream.dashboard.feed import Feed, Levels, PageCapabilities
from stream.dashboard.server import RATE_HZ, create_app
from stream.dashboard.sink import DashboardSink
from stream.server.access import AccessPolicy, is_loopback
from stream.server.http import HttpServer
from stream.settings import Settings

GOODBYE_S = 3
LARGEST_FRAME = 65_536

LAST_LOOK_S = 2 / RATE_HZ
"""For the last state to go out."""


class Dashboard:
    """A page on a port, for as long as it is entered."""

    def __init__(self, *, settings: Settings) -> None:
        chosen = settings.dashboard
        self._settings = settings
        self.feed = Feed()
        self.feed.powers = PageCapabilities(about=_about(settings))
        self.door = AccessPolicy(host=chosen.host, token=chosen.token.get_secret_value(), origins=chosen.origins)
        self.app = create_app(feed=self.feed, door=self.door)
        self.site = HttpServer(
            app=self.app,
            host=chosen.host,
            port=chosen.port,
            setting="dashboard.port",
            goodbye_s=GOODBYE_S,
            ws="websockets-sansio",
            ws_max_size=LARGEST_FRAME,
        )

    @property
    def url(self) -> str:
        """Where a browser finds it; the port is known once the page has been entered."""
        host = "localhost" if is_loopback(self.site.host) else self.site.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.site.port}/"

    def sink(self) -> DashboardSink:
        """What a pipeline sends its events to."""
        return DashboardSink(feed=self.feed, node=self._settings.node)

    def control(
        self,
        pipeline: CommandTarget,
        *,
        levels: Levels | None = None,
        handlers: Mapping[str, Handler] | None = None,
        microphone: str | None = None,
    ) -> None:
        """Let the page pause and resume sources, and whatever else there is a handler for (`enroll`)."""
        control = CommandDispatcher(pipeline=pipeline, handlers=handlers)
        commands = ("pause", "resume", *(handlers or {}))

        async def answer(text: str) -> str:
            return (await control.answer(text, allowed=commands)).model_dump_json()

        self.feed.powers = PageCapabilities(
            commands=commands, answer=answer, levels=levels, microphone=microphone, about=_about(self._settings)
        )
        self.feed.wake()

    async def __aenter__(self) -> Self:
        """Serve. Raises `ListenError` if the port cannot be had."""
        await self.site.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the last state go out, and close."""
        if kind is None and len(self.feed.wall):
            await asyncio.sleep(LAST_LOOK_S)
        await self.site.__aexit__(kind, error, trace)


def _about(settings: Settings) -> dict[str, Any]:
    """What the page tells of the settings: secrets are masked, and of enrolled people there are only the names."""
    tree = settings.model_dump(mode="json")
    tree["speakers"]["enrolled"] = sorted(tree["speakers"]["enrolled"])
    return {"version": __version__, "node": settings.node, "settings": tree}
