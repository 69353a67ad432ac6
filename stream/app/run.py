"""One run at a terminal or behind a pipe: which sinks there are, what signals do, how it ends.

The first SIGINT or SIGTERM ends the sources, so that everything already heard is still told, open turns are ended and
sinks say good-bye; the second leaves at once. Before there is anything to end, the first one leaves, too. Exit codes:
0, 1 for a failed source, an error's own, or 128 + the signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NoReturn, Protocol

from rich.console import Console

from stream.app.assembly import assemble
from stream.monitoring.node import NodeMonitor
from stream.pipeline.pipeline import Report
from stream.profiles.registrar import Registrar
from stream.settings import Settings
from stream.sinks.terminal.panel import PanelSink
from stream.sinks.terminal.summary import SummarySink
from stream.types import Sink

if TYPE_CHECKING:
    from stream.dashboard.page import Dashboard

log = logging.getLogger(__name__)


def run_until_stopped(settings: Settings, *, quiet: bool, page: bool = False, stay: bool = False) -> int:
    """Run a pipeline to its end and return the exit code; `page` shows it in browsers, `stay` also when it has ended.

    Raises `TonewatchError`.
    """
    if not (settings.sinks or stay or sys.stdout.isatty()):
        settings = settings.model_copy(update={"sinks": ("stdout",)})
    return run_into(settings, _own_sinks(settings, quiet=quiet), page=page, stay=stay)


def run_into(settings: Settings, sinks: dict[str, Sink], *, page: bool = False, stay: bool = False) -> int:
    """The same, told to `sinks` beside those of the settings and to nobody else."""
    signals = _Signals()
    report = asyncio.run(_run_shown(settings, sinks, signals, stay=stay) if page else _run(settings, sinks, signals))
    for failure in report.failures:
        sys.stderr.write(f"tonewatch: {failure}\n")
    code = signals.exit_code or (report.failures[0].exit_code if report.failures else 0)
    if report.cut_off:
        _leave(code)  # a thread may still be inside a model; nobody waits for it
    return code


def _own_sinks(settings: Settings, *, quiet: bool) -> dict[str, Sink]:
    """What a person sees: the panel on a terminal that carries no events, and the summary."""
    sinks: dict[str, Sink] = {}
    if quiet:
        return sinks
    if sys.stdout.isatty() and "stdout" not in settings.sinks:
        sinks["panel"] = PanelSink(console=Console())
        sinks["summary"] = SummarySink(console=Console())
    else:
        sinks["summary"] = SummarySink(console=Console(stderr=True))
    return sinks


async def _run(settings: Settings, sinks: dict[str, Sink], signals: _Signals) -> Report:
    signals.listen(asyncio.get_running_loop())
    pipeline = await assemble(settings, sinks=sinks)
    signals.pipeline = pipeline
    node = NodeMonitor(pipeline=pipeline, stall_timeout_s=settings.service.stall_timeout_s)
    async with _port(settings, node), node:
        return await pipeline.run()


def _port(settings: Settings, node: NodeMonitor) -> AbstractAsyncContextManager[object]:
    """The port for probes and metrics, where one is asked for: its libraries are imported only then."""
    if not settings.service.port:
        return contextlib.nullcontext()
    from stream.monitoring.http import site  # noqa: PLC0415

    return site(settings=settings.service, node=node)


async def _run_shown(settings: Settings, sinks: dict[str, Sink], signals: _Signals, *, stay: bool) -> Report:
    """The same with a page, which is there before the models are and, if it is to stay, until a signal."""
    from stream.dashboard.page import Dashboard  # noqa: PLC0415 - not everybody needs a web server

    signals.listen(asyncio.get_running_loop())
    async with Dashboard(settings=settings) as page:
        sys.stderr.write(f"tonewatch: the page is at {page.url}\n")
        registrar = Registrar(settings=settings)
        pipeline = await assemble(settings, sinks={**sinks, "dashboard": page.sink()}, registrar=registrar)
        page.control(pipeline, levels=pipeline.levels_dbfs, handlers=registrar.handlers)
        signals.pipeline = pipeline
        node = NodeMonitor(pipeline=pipeline, stall_timeout_s=settings.service.stall_timeout_s)
        async with _port(settings, node), node:
            report = await pipeline.run()
        if stay and not signals.exit_code:
            sys.stderr.write("tonewatch: the sound has ended; the page stays until Ctrl-C\n")
            await signals.received.wait()
            signals.exit_code = 0  # nothing was broken off
    return report


def show_remote(settings: Settings, target: str) -> int:
    """A page fed by a broker's topics, until a signal. Raises `TonewatchError`."""
    return asyncio.run(_show_remote(settings, target))


async def _show_remote(settings: Settings, target: str) -> int:
    from stream.dashboard.mqtt import MqttFeed  # noqa: PLC0415
    from stream.dashboard.page import Dashboard  # noqa: PLC0415

    signals = _Signals()
    page = Dashboard(settings=settings)
    remote = MqttFeed(target=target, settings=settings, feed=page.feed)
    signals.pipeline = remote
    signals.listen(asyncio.get_running_loop())
    async with page:
        sys.stderr.write(f"tonewatch: the page is at {page.url}\n")
        await remote.run()
    return 0


def serve_until_stopped(settings: Settings, *, quiet: bool, page: bool = False, tell: bool = True) -> int:
    """Listen on the network until a signal; `page` serves a page there, too. Raises `TonewatchError`."""
    if tell and not settings.sinks and not sys.stdout.isatty():
        settings = settings.model_copy(update={"sinks": ("stdout",)})
    signals = _Signals()
    report = asyncio.run(_serve(settings, _own_sinks(settings, quiet=quiet), signals, page=page))
    for failure in report.failures:
        sys.stderr.write(f"tonewatch: {failure}\n")
    if report.cut_off:
        _leave(signals.exit_code)
    return 0 if signals.exit_code == 128 + signal.SIGTERM else signals.exit_code  # how a service is asked to end


def at_the_page(settings: Settings) -> Settings:
    """Listen on the network where the page is: what `tonewatch dashboard` does when there is nothing else to hear."""
    page = settings.dashboard
    given = {"host": page.host, "port": page.port} | ({"token": page.token} if page.token.get_secret_value() else {})
    return settings.model_copy(update={"serve": settings.serve.model_copy(update=given)})


async def _serve(settings: Settings, sinks: dict[str, Sink], signals: _Signals, *, page: bool) -> Report:
    from stream.server.gateway import Gateway  # noqa: PLC0415 - only who serves needs a web server
    from stream.server.listener import NetworkListener  # noqa: PLC0415

    signals.listen(asyncio.get_running_loop())
    gateway = Gateway(settings=settings.serve)
    shown = _page_of_server(settings) if page else None
    mounts = (("/", shown.app),) if shown is not None else ()
    page_door = shown.door if shown is not None else None
    async with NetworkListener(gateway=gateway, mounts=mounts, page=page_door) as listener:
        sinks = {**sinks, "clients": gateway.clients}
        if shown is not None:
            sinks["dashboard"] = shown.sink()
            sys.stderr.write(f"tonewatch: the page is at http://{settings.serve.host}:{listener.port}/\n")
        registrar = Registrar(settings=settings)
        pipeline = await assemble(settings, sinks=sinks, registrar=registrar, stays=True)
        gateway.attach(pipeline)
        if shown is not None:
            shown.control(pipeline, levels=pipeline.levels_dbfs, handlers=registrar.handlers, microphone="/v1/stream")
        signals.pipeline = pipeline
        sys.stderr.write(f"tonewatch: listening on ws://{settings.serve.host}:{listener.port}/v1/\n")
        if listener.audiosocket_port:
            sys.stderr.write(f"tonewatch: AudioSocket on {settings.serve.host}:{listener.audiosocket_port}\n")
        node = NodeMonitor(pipeline=pipeline, stall_timeout_s=settings.service.stall_timeout_s)
        async with _port(settings, node), node:
            return await pipeline.run()


def _page_of_server(settings: Settings) -> Dashboard:
    """A page behind the server's door: its address, and its token where the page has none of its own."""
    from stream.dashboard.page import Dashboard  # noqa: PLC0415

    given: dict[str, object] = {"host": settings.serve.host}
    if not settings.dashboard.token.get_secret_value():
        given["token"] = settings.serve.token
    return Dashboard(settings=settings.model_copy(update={"dashboard": settings.dashboard.model_copy(update=given)}))


class _Stoppable(Protocol):
    def stop(self) -> None:
        """End it in good order."""
        ...


class _Signals:
    """What Ctrl-C and a service manager's stop do."""

    def __init__(self) -> None:
        self.pipeline: _Stoppable | None = None
        self.exit_code = 0
        self.received = asyncio.Event()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._receive, number)

    def _receive(self, number: signal.Signals) -> None:
        again = bool(self.exit_code)
        self.exit_code = 128 + number
        self.received.set()
        if again or self.pipeline is None:
            _leave(self.exit_code)
        log.info("stopping; a second %s stops at once", number.name)
        self.pipeline.stop()


def _leave(code: int) -> NoReturn:
    """Leave without waiting for threads."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed by its reader
            stream.flush()
    os._exit(code)
