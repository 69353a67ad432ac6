"""`/healthz`, `/readyz`, `/metrics` and `/drain` on a separate port, opt-in, on loopback or with a token.

Requests are answered on the event loop of the run, so an answer also shows that the loop runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream.control.commands import DrainCommand
from stream.monitoring import metrics
from stream.monitoring.node import NodeMonitor
from stream.server.access import is_same_secret
from stream.server.draining import Drain
from stream.server.http import HttpServer
from stream.server.refusals import RefusedRequests
from stream.settings import ServiceSettings

SHUTDOWN_TIMEOUT_S = 1

MAX_SOCKETS = 32
"""Sockets of the probe port; a silent one gives way to a newer one."""


def application(*, node: NodeMonitor, token: str) -> ASGIApp:
    """Return the application; with a `token`, every request needs it as its bearer token."""
    refused = RefusedRequests("service")

    def guarded(answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if token and not is_same_secret(given, f"Bearer {token}"):
                peer = request.client.host if request.client is not None else "unknown"
                await refused.add(peer, "missing or wrong bearer token (service.token)")
                return PlainTextResponse("missing or wrong bearer token\n", 401, {"WWW-Authenticate": "Bearer"})
            return answer(request)

        return respond

    def health(_: Request) -> Response:
        stalled = node.stalled()
        if stalled:
            return PlainTextResponse(f"stuck: {', '.join(stalled)}\n", 503)
        return PlainTextResponse("ok\n")

    def readiness(request: Request) -> Response:
        reason = node.why_not_ready()
        # HAProxy goes on sending what belongs to calls of a node that answers 404 (`http-check disable-on-404`)
        is_busy = node.is_ready and request.query_params.get("busy") == "404"
        return PlainTextResponse(f"{reason}\n", 404 if is_busy else 503) if reason else PlainTextResponse("ready\n")

    def metrics_page(_: Request) -> Response:
        return Response(metrics.exposition(node.health(), node.status()), media_type=metrics.CONTENT_TYPE)

    pages = {"/healthz": health, "/readyz": readiness, "/metrics": metrics_page}
    routes = [Route(path, guarded(answer)) for path, answer in pages.items()]
    return Starlette(routes=[*routes, Route("/drain", guarded(partial(_drain, node.drain)), methods=["GET", "POST"])])


def _drain(drain: Drain | None, request: Request) -> Response:
    """Answer how many calls are left, and start draining if it is a POST."""
    if drain is None:
        return PlainTextResponse("this node takes no calls (`tonewatch serve` does); stop it with SIGTERM\n", 404)
    if request.method != "POST":
        return JSONResponse(asdict(drain.state()))
    if "origin" in request.headers:  # a web page in the browser of a user who may reach this port
        return PlainTextResponse("web pages may not drain a node; use `tonewatch drain`\n", 403)
    try:
        command = DrainCommand.model_validate({"within_s": request.query_params.get("within_s")})
    except ValidationError:
        return PlainTextResponse("`within_s` must be a number of seconds, at most 86400\n", 400)
    return JSONResponse(asdict(drain.start(within_s=command.within_s)))


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
