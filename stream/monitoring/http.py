"""`/healthz`, `/readyz` and `/metrics` on a port of their own, opt-in, on loopback or behind a token.

They are answered inside the event loop of the run: an answer therefore also says that the loop runs.
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
from stream.server.access import is_same
from stream.server.http import HttpServer
from stream.settings import ServiceSettings

GOODBYE_S = 1


def application(*, node: NodeMonitor, token: str) -> ASGIApp:
    """What answers the probes."""

    def guarded(answer: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            shown = request.headers.get("authorization", "")
            if token and not is_same(shown, f"Bearer {token}"):
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


def site(*, settings: ServiceSettings, node: NodeMonitor) -> HttpServer:
    """The port, while it is entered."""
    return HttpServer(
        app=application(node=node, token=settings.token.get_secret_value()),
        host=settings.host,
        port=settings.port,
        setting="service.port",
        goodbye_s=GOODBYE_S,
        ws="none",
        limit_concurrency=32,
    )
