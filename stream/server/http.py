"""An ASGI application served by uvicorn inside the run's event loop, without uvicorn's signal handlers and logs.

The port is opened before anything is served, so that a port in use is one error message; port 0 selects a free one.
Signals belong to the run, which closes the server. uvicorn's access log is off because it contains URLs, and a URL may
contain a token.
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
"""Maximum number of connections that wait to be accepted."""


class _UvicornServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: the run has its own."""
        yield


class HttpServer:
    """Serves one application on one port while entered.

    `setting` is the settings key of the port, for error messages; `options` are uvicorn's. `shutdown_timeout_s` limits
    how long requests may take to complete when the server closes.
    """

    def __init__(
        self, *, app: ASGIApp, host: str, port: int, setting: str, shutdown_timeout_s: int, **options: Any
    ) -> None:
        self.host, self.port = host, port  # the actual port once entered
        self._setting = setting
        self._config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=shutdown_timeout_s,
            **options,
        )
        self._server: _UvicornServer | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open the port and serve. Raises `ListenError` if the port cannot be opened."""
        listening = bind(self.host, self.port, setting=self._setting)
        self.port = listening.getsockname()[1]
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        self._server = _UvicornServer(self._config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name=self._setting)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections and the port."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task


def bind(host: str, port: int, *, setting: str) -> socket.socket:
    """Open a listening socket. Raises `ListenError`, which names the setting to change."""
    try:
        name = host.strip("[]")
        family = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.create_server((name, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ListenError(
            f"cannot listen on {host}:{port} ({why}); choose another {setting} (0: any free port)"
        ) from None
    listening.setblocking(False)
    return listening
