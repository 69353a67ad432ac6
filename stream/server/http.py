"""An ASGI application served by uvicorn inside the run's event loop, without uvicorn's signal handlers and logs.

The port is opened before anything is served, so that a port in use is one error message; port 0 selects a free one.
Signals belong to the run, which closes the server. uvicorn's access log is off because it contains URLs, and a URL may
contain a token.

What arrives before anybody has proved who they are is bounded here, for all applications: sockets (`SocketBudget`), the
time for a request, the number and size of headers, and a `Host` that can be parsed; uvicorn has no time-out for it.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import h11
import uvicorn
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from stream.errors import ListenError
from stream.server.access import hostname, is_loopback
from stream.server.descriptors import MAX_BACKLOG, MAX_DESCRIPTORS, accept_backlog, socket_limit
from stream.server.sockets import PROOF_TIMEOUT_S, SocketBudget, SocketSlot

MAX_HEADERS = 64
MAX_HEADER_BYTES = 8_000
"""Longest header, or request line: the WebSocket library takes 8,192 bytes a line (RFC 9110 recommends 8,000)."""

INVALID_REQUEST = "invalid request: too many or too long headers, two lengths of its body, or a malformed Host"

UNKNOWN_ADDRESS = "unknown"
"""Stands for the client's address where a proxy gives none that is valid."""

CANCEL_S = 1.0
"""Limit of a request to end after it was cancelled because the server closes."""

log = logging.getLogger(__name__)


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with a slot for its socket and a time limit for requests.

    The slot is in the connection's ASGI state (`state["slot"]`), also after an upgrade to WebSocket.
    """

    def __init__(self, *, budget: SocketBudget, app_state: dict[str, Any], **options: Any) -> None:
        self._budget = budget
        self._slot: SocketSlot | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._is_upgraded = False
        super().__init__(app_state=dict(app_state), **options)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a slot, or close a socket for which there is none."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        self._slot = self._budget.admit(address=address, is_local=is_loopback(address), abort=transport.abort)
        if self._slot is None:
            log.warning("no room for more connections (%d are open)", len(self._budget))
            transport.abort()
            return
        self.app_state["slot"] = self._slot
        self._limit_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the slot."""
        self._cancel_deadline()
        if self._slot is not None:
            self._slot.release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Limit the time until the request is complete."""
        super().data_received(data)
        if self._is_upgraded or self.conn.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            self._cancel_deadline()
        elif self._deadline is None:
            self._limit_time()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Answer a request that the WebSocket library would leave without an answer."""
        if len(event.target) > MAX_HEADER_BYTES or not _has_sound_headers(self.headers):
            self.send_400_response(INVALID_REQUEST)
            return
        self._is_upgraded = True
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; behind the beginning of another response, only close."""
        self.app_state["slot"].is_refused = True
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Limit the time until the next request."""
        super().on_response_complete()
        if self._deadline is None and not self.transport.is_closing():
            self._limit_time()

    def _limit_time(self) -> None:
        self._deadline = self.loop.call_later(PROOF_TIMEOUT_S, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _RequestGuard:
    """Middleware that rejects requests with too many or too long headers, two lengths, or a malformed `Host`.

    What a trusted proxy says about the client is taken only if it is an address.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        target_bytes = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
        if scope["type"] == "http" and (target_bytes > MAX_HEADER_BYTES or not _has_sound_headers(scope["headers"])):
            app = PlainTextResponse(f"{INVALID_REQUEST}\n", 400, headers={"connection": "close"})
        if scope.get("client") is not None and not _is_address(scope["client"][0]):
            scope["client"] = (UNKNOWN_ADDRESS, 0)
        try:
            await app(scope, receive, send)
        except ClientDisconnect:  # in the middle of a request
            return
        except h11.LocalProtocolError:  # 400 was sent meanwhile, because of what followed the request
            if not scope["state"]["slot"].is_refused:
                raise


class _TraceFilter(logging.Filter):
    """Leaves traces out of lines about text that is no UTF-8, and about a lack of descriptors: both are no defects."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the line; it is written in any case."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, UnicodeDecodeError):
            record.exc_info = None
        elif isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            record.exc_info = None
            record.msg, record.args = "no file descriptor is left for a connection; raise `ulimit -n` (LimitNOFILE)", ()
        return True


_TRACE_FILTER = _TraceFilter()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _has_sound_headers(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    names = {name for name, _ in headers}
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    return (
        len(headers) <= MAX_HEADERS
        and not {b"content-length", b"transfer-encoding"} <= names  # a proxy may see another end of the request
        and all(len(name) + len(value) <= MAX_HEADER_BYTES for name, value in headers)
        and len(hosts) <= 1
        and all(not host or hostname(host) for host in hosts)
    )


class _UvicornServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: the run has its own."""
        yield


class HttpServer:
    """Serves one application on one port while entered.

    `setting` is the settings key of the port, for error messages; `options` are uvicorn's. `shutdown_timeout_s` limits
    how long requests may take to complete when the server closes. Headers of the `trusted_proxies` (networks) say who
    the client is, and whether it uses TLS. `max_sockets` of them may be open, as many as the process may have if None.
    """

    def __init__(
        self,
        *,
        app: ASGIApp,
        host: str,
        port: int,
        setting: str,
        shutdown_timeout_s: int,
        trusted_proxies: Sequence[str] = (),
        max_sockets: int | None = None,
        **options: Any,
    ) -> None:
        self.host, self.port = host, port  # the actual port once entered
        self._setting = setting
        self.budget = SocketBudget(max_sockets=min(socket_limit(), max_sockets or MAX_DESCRIPTORS))
        self._config = uvicorn.Config(
            _RequestGuard(app),
            http=partial(GuardedProtocol, budget=self.budget),  # type: ignore[arg-type]
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            backlog=accept_backlog(self.budget.max_sockets),
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=[str(ipaddress.ip_network(network, strict=False)) for network in trusted_proxies],
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
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).addFilter(_TRACE_FILTER)
        self._server = _UvicornServer(self._config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name=self._setting)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections and the port; no task of the server remains."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            if cancelled := self._server.server_state.tasks:  # by uvicorn, which does not wait for them
                await asyncio.wait(cancelled, timeout=CANCEL_S)


def bind(host: str, port: int, *, setting: str) -> socket.socket:
    """Open a listening socket. Raises `ListenError`, which names the setting to change."""
    try:
        name = host.strip("[]")
        family = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.create_server((name, port), family=family, backlog=MAX_BACKLOG)
    except (OSError, OverflowError) as error:
        why: object = getattr(error, "strerror", None) or error
        if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
            why = os.strerror(error.errno)  # without the address, which `create_server` repeats
        raise ListenError(
            f"cannot listen on {host}:{port} ({why}); choose another {setting} (0: any free port)"
        ) from None
    # Accepted sockets inherit it. asyncio sets it on those of its own listeners only; without it, what follows another
    # small message waits for the client's delayed acknowledgement, 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setblocking(False)
    return listening
