"""An ASGI app on a port of ours, inside the event loop of the run: uvicorn without its signals and its logs.

The port is opened before anything is served, so that one that is taken is refused in one sentence; port 0 takes any
free one. Signals are the run's business: it ends the site, not the other way round.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from stream.dashboard.security import is_loopback
from stream.errors import SettingsError

GOODBYE_S = 3
"""How long requests under way may take when the site closes."""

LARGEST_FRAME = 65_536


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: the run has its own handlers."""
        yield


class Site:
    """One app on one port, from entering to leaving."""

    def __init__(self, *, app: ASGIApp, host: str, port: int) -> None:
        self._app, self._host, self._port = app, host, port
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where a browser finds it; the port is known once the site has been entered."""
        host = "localhost" if is_loopback(self._host) else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    async def __aenter__(self) -> Self:
        """Listen. Raises `SettingsError` where that cannot be."""
        opened = self._listen()
        self._port = opened.getsockname()[1]
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            ws="websockets-sansio",
            ws_max_size=LARGEST_FRAME,
            timeout_graceful_shutdown=GOODBYE_S,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[opened]), name="site")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections and the port."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((self._host.strip("[]"), self._port))
            opened.listen(128)
        except (OSError, OverflowError) as fault:
            opened.close()
            taken = isinstance(fault, OSError) and fault.errno == errno.EADDRINUSE
            why = "is taken by another program" if taken else f"cannot be used ({fault})"
            raise SettingsError(
                f"{self._host}:{self._port} {why}; choose another dashboard.port (0: any free one)"
            ) from None
        opened.setblocking(False)
        return opened
