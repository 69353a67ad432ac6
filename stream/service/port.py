"""`/healthz`, `/readyz` and `/metrics` on a port of their own, opt-in, on loopback or behind a token.

uvicorn serves inside the event loop of the run, without its signals and its logs: a probe that is answered therefore
also says that the loop runs.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream.errors import SettingsError
from stream.service import metrics
from stream.service.node import Node
from stream.settings_service import ServiceSettings

GOODBYE_S = 1


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: the run has its own handlers."""
        yield


def application(*, node: Node, token: str) -> ASGIApp:
    """What answers the probes."""

    def guarded(answer: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            shown = request.headers.get("authorization", "")
            if token and not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
                return PlainTextResponse("a token is needed\n", 401, {"WWW-Authenticate": "Bearer"})
            return answer()

        return respond

    def health() -> Response:
        stuck = node.stuck()
        return PlainTextResponse("ok\n") if not stuck else PlainTextResponse(f"stuck: {', '.join(stuck)}\n", 503)

    def readiness() -> Response:
        return PlainTextResponse("ready\n") if node.ready else PlainTextResponse("not ready\n", 503)

    def figures() -> Response:
        return Response(metrics.exposition(node.health(), node.status()), media_type=metrics.CONTENT_TYPE)

    pages = {"/healthz": health, "/readyz": readiness, "/metrics": figures}
    return Starlette(routes=[Route(path, guarded(answer)) for path, answer in pages.items()])


class Port:
    """The port, from entering to leaving; without one in the settings, nothing."""

    def __init__(self, *, settings: ServiceSettings, node: Node) -> None:
        self._settings = settings
        self._node = node
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Listen. Raises `SettingsError` where that cannot be."""
        if not self._settings.port:
            return self
        opened = self._listen()
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        app = application(node=self._node, token=self._settings.token.get_secret_value())
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            ws="none",
            limit_concurrency=32,
            timeout_graceful_shutdown=GOODBYE_S,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[opened]), name="service port")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections and the port."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    def _listen(self) -> socket.socket:
        host, port = self._settings.host, self._settings.port
        opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host, port))
        except OSError as error:
            opened.close()
            raise SettingsError(f"service.port: {host}:{port} cannot be used ({error.strerror or error})") from None
        return opened
