"""An ASGI app on a port of ours, inside the event loop of the run: uvicorn without its signals and its logs.

The port is opened before anything is served, so that one that is taken is refused in one sentence; port 0 takes any
free one. Signals are the run's business: it ends the site, not the other way round. What uvicorn would log are
addresses, and an address may hold a token.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from stream.errors import ListenError

BACKLOG = 512
"""Connections that may wait to be taken."""


class _UvicornServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: the run has its own handlers."""
        yield


class HttpServer:
    """One app on one port, from entering to leaving.

    `setting` is what the port is called where it is set; `options` are uvicorn's. `goodbye_s` is how long requests
    under way may take when the site closes.
    """

    def __init__(self, *, app: ASGIApp, host: str, port: int, setting: str, goodbye_s: int, **options: Any) -> None:
        self.host, self.port = host, port  # the port is known for certain once the site has been entered
        self._setting = setting
        self._config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=goodbye_s,
            **options,
        )
        self._server: _UvicornServer | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Listen. Raises `ListenError` where that cannot be."""
        opened = bind(self.host, self.port, setting=self._setting)
        self.port = opened.getsockname()[1]
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        self._server = _UvicornServer(self._config)
        self._task = asyncio.create_task(self._server.serve(sockets=[opened]), name=self._setting)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections and the port."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task


def bind(host: str, port: int, *, setting: str) -> socket.socket:
    """A listening socket. Raises `ListenError`, naming the setting to change."""
    try:
        name = host.strip("[]")
        family = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        opened = socket.create_server((name, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ListenError(
            f"cannot listen on {host}:{port} ({why}); choose another {setting} (0: any free port)"
        ) from None
    opened.setblocking(False)
    return opened
