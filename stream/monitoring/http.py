"""`/healthz`, `/readyz` and `/metrics` on a separate port, opt-in, on loopback or with a token.

Requests are answered on the event loop of the run, so an answer also shows that the loop runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream.monitoring import metrics
from stream.monitoring.node import NodeMonitor
from stream.server.access import is_same_secret
from stream.server.http import HttpServer
from stream.server.refusals import RefusedRequests
from stream.settings import ServiceSettings

SHUTDOWN_TIMEOUT_S = 1

MAX_SOCKETS = 32
"""Sockets of the probe port; a silent one gives way to a newer one."""


def application(*, node: NodeMonitor, token: str) -> ASGIApp:
    """Return the application; with a `token`, every request needs it as its bearer token."""
    refused = RefusedRequests("service")

    def guarded(answer: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if token and not is_same_secret(given, f"Bearer {token}"):
                peer = request.client.host if request.client is not None else "unknown"
                await refused.add(peer, "missing or wrong bearer token (service.token)")
                return PlainTextResponse("missing or wrong bearer token\n", 401, {"WWW-Authenticate": "Bearer"})
            return answer()

        return respond

    def health() -> Response:
        stalled = node.stalled()
        if stalled:
            return PlainTextResponse(f"stuck: {', '.join(stalled)}\n", 503)
        return PlainTextResponse("ok\n")

    def readiness() -> Response:
        return PlainTextResponse("ready\n") if node.is_ready else PlainTextResponse("not ready\n", 503)

    def metrics_page() -> Response:
        return Response(metrics.exposition(node.health(), node.status()), media_type=metrics.CONTENT_TYPE)

    pages = {"/healthz": health, "/readyz": readiness, "/metrics": metrics_page}
    return Starlette(routes=[Route(path, guarded(answer)) for path, answer in pages.items()])


def probe_server(*, settings: ServiceSettings, node: NodeMonitor) -> HttpServer:
    """Return a server for the application, which listens while entered."""
    return HttpServer(
        app=application(node=node, token=settings.token.get_secret_value()),
        host=settings.host,
        port=settings.port,
        setting="service.port",
        shutdown_timeout_s=SHUTDOWN_TIMEOUT_S,
        max_sockets=MAX_SOCKETS,
        ws="none",
    )
