"""Runs from start to exit code, for a terminal, a pipe, the dashboard or the network.

Exit codes: 0, 1 for a source that failed, the code of the error that ended the run, or 128 + the number of the signal
that stopped it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from stream.app.alert_commands import alert_handlers
from stream.app.assembly import assemble
from stream.app.signals import EXIT_SIGNAL, SignalHandler, exit_now
from stream.calls.current_alerts import CurrentAlerts
from stream.monitoring.node import NodeMonitor
from stream.pipeline.pipeline import Pipeline, Report
from stream.profiles.registrar import Registrar
from stream.settings import ServiceSettings, Settings
from stream.sinks.terminal.panel import PanelSink
from stream.sinks.terminal.summary import SummarySink
from stream.types import Sink

if TYPE_CHECKING:
    from stream.dashboard.page import Dashboard
    from stream.server.draining import Drain

Branch = Literal["serve", "dashboard"]
"""The branch of the settings that the address of a listener and its token come from."""


def run_until_stopped(settings: Settings, *, quiet: bool, dashboard: bool = False, keep_dashboard: bool = False) -> int:
    """Run a pipeline and return the exit code; `keep_dashboard` keeps its dashboard up when all sources have ended.

    Raises `TonewatchError`.
    """
    if not (settings.sinks or keep_dashboard or sys.stdout.isatty()):
        settings = settings.model_copy(update={"sinks": ("stdout",)})
    sinks = _terminal_sinks(settings, quiet=quiet)
    return run_with_sinks(settings, sinks, dashboard=dashboard, keep_dashboard=keep_dashboard)


def run_with_sinks(
    settings: Settings, sinks: dict[str, Sink], *, dashboard: bool = False, keep_dashboard: bool = False
) -> int:
    """Run a pipeline into `sinks` and those of the settings only, and return the exit code. Raises `TonewatchError`."""
    signals = SignalHandler()
    if dashboard:
        report = asyncio.run(_run_with_dashboard(settings, sinks, signals, keep_dashboard=keep_dashboard))
    else:
        report = asyncio.run(_run(settings, sinks, signals))
    _print_failures(report)
    code = signals.exit_code or (report.failures[0].exit_code if report.failures else 0)
    if report.timed_out:
        exit_now(code)  # a thread may still be inside a model
    return code


def run_remote_dashboard(settings: Settings, target: str) -> int:
    """Show what other nodes publish to the broker `target` on a dashboard, until a signal. Raises `TonewatchError`."""
    return asyncio.run(_run_remote_dashboard(settings, target))


def serve_until_stopped(settings: Settings, *, quiet: bool, dashboard: bool = False, branch: Branch = "serve") -> int:
    """Process audio from the network until a signal, and return the exit code.

    `dashboard` serves a dashboard on the same port. `branch` is the one of the settings that address and token come
    from: with that of `serve` and without sinks, events go to a standard output that is no terminal. Raises
    `TonewatchError`.
    """
    if branch == "serve" and not settings.sinks and not sys.stdout.isatty():
        settings = settings.model_copy(update={"sinks": ("stdout",)})
    signals = SignalHandler()
    sinks = _terminal_sinks(settings, quiet=quiet)
    report = asyncio.run(_serve(settings, sinks, signals, dashboard=dashboard, branch=branch))
    _print_failures(report)
    if report.timed_out:
        exit_now(signals.exit_code)
    if signals.exit_code == EXIT_SIGNAL + signal.SIGTERM:  # the regular end of a service
        return 0
    return signals.exit_code


def serve_at_dashboard(settings: Settings) -> Settings:
    """Return settings that listen for network audio at the dashboard's address, with its token if it has one."""
    page = settings.dashboard
    given = {"host": page.host, "port": page.port} | ({"token": page.token} if page.token.get_secret_value() else {})
    return settings.model_copy(update={"serve": settings.serve.model_copy(update=given)})


def _terminal_sinks(settings: Settings, *, quiet: bool) -> dict[str, Sink]:
    """Return the panel, on a terminal that does not carry events, and the summary."""
    sinks: dict[str, Sink] = {}
    if quiet:
        return sinks
    if sys.stdout.isatty() and "stdout" not in settings.sinks:
        sinks["panel"] = PanelSink(console=Console())
        sinks["summary"] = SummarySink(console=Console())
    else:
        sinks["summary"] = SummarySink(console=Console(stderr=True))
    return sinks


def _print(message: str) -> None:
    sys.stderr.write(f"tonewatch: {message}\n")


def _announcer(sinks: Mapping[str, Sink]) -> Callable[[str], None] | None:
    """Return what prints a sentence on the machine, beside the summary only: `--quiet` leaves out both."""
    return _print if "summary" in sinks else None


def _print_failures(report: Report) -> None:
    for failure in report.failures:
        _print(str(failure))


async def _run(settings: Settings, sinks: dict[str, Sink], signals: SignalHandler) -> Report:
    signals.install(asyncio.get_running_loop())
    pipeline = await assemble(settings, sinks=sinks, announce=_announcer(sinks))
    signals.run = pipeline
    return await _run_monitored(pipeline, settings.service)


async def _run_monitored(pipeline: Pipeline, settings: ServiceSettings, drain: Drain | None = None) -> Report:
    """Run a pipeline, reporting to systemd and, if a port is set, answering probes and metrics requests."""
    node = NodeMonitor(pipeline=pipeline, stall_timeout_s=settings.stall_timeout_s, drain=drain)
    async with _probe_server(settings, node), node:
        return await pipeline.run()


def _probe_server(settings: ServiceSettings, node: NodeMonitor) -> AbstractAsyncContextManager[object]:
    if not settings.port:
        return contextlib.nullcontext()
    from stream.monitoring.http import probe_server  # noqa: PLC0415 - a web server, needed only with a port

    return probe_server(settings=settings, node=node)


async def _run_with_dashboard(
    settings: Settings, sinks: dict[str, Sink], signals: SignalHandler, *, keep_dashboard: bool
) -> Report:
    """Run a pipeline with a dashboard, which is up before the models are loaded."""
    from stream.dashboard.page import Dashboard  # noqa: PLC0415 - a web server, needed only for the dashboard

    signals.install(asyncio.get_running_loop())
    async with Dashboard(settings=settings) as page:
        _print(f"dashboard: {page.url}")
        registrar, alerts = Registrar(settings=settings), CurrentAlerts(settings.alerts)
        sinks = {**sinks, "dashboard": page.sink()}
        pipeline = await assemble(settings, sinks=sinks, registrar=registrar, alerts=alerts, announce=_announcer(sinks))
        handlers = {**registrar.handlers, **alert_handlers(alerts)}
        page.attach(pipeline, levels=pipeline.levels_dbfs, alerts=alerts, handlers=handlers)
        pipeline.set_protocol_health(page.refused.health)
        signals.run = pipeline
        report = await _run_monitored(pipeline, settings.service)
        if keep_dashboard and not signals.exit_code:
            _print("all sources have ended; the dashboard stays up until Ctrl-C")
            await signals.received.wait()
            signals.exit_code = 0  # the run itself was complete
    return report


async def _run_remote_dashboard(settings: Settings, target: str) -> int:
    from stream.dashboard.mqtt import MqttFeed  # noqa: PLC0415
    from stream.dashboard.page import Dashboard  # noqa: PLC0415

    signals = SignalHandler()
    page = Dashboard(settings=settings)
    feed = MqttFeed(target=target, settings=settings, feed=page.feed)
    signals.run = feed
    signals.install(asyncio.get_running_loop())
    async with page:
        _print(f"dashboard: {page.url}")
        await feed.run()
    return 0


async def _serve(
    settings: Settings, sinks: dict[str, Sink], signals: SignalHandler, *, dashboard: bool, branch: Branch
) -> Report:
    from stream.server.draining import Drain  # noqa: PLC0415 - a web server, needed only for `serve`
    from stream.server.gateway import Gateway  # noqa: PLC0415
    from stream.server.listener import NetworkListener  # noqa: PLC0415

    signals.install(asyncio.get_running_loop())
    gateway = Gateway(settings=settings.serve)
    page = _dashboard_of_server(settings) if dashboard else None
    mounts = (("/", page.app),) if page is not None else ()
    page_access = page.access if page is not None else None
    async with NetworkListener(gateway=gateway, mounts=mounts, page_access=page_access, branch=branch) as listener:
        sinks = {**sinks, "clients": gateway.clients}
        if page is not None:
            sinks["dashboard"] = page.sink()
            _print(f"dashboard: http://{settings.serve.host}:{listener.port}/")
        registrar, alerts = Registrar(settings=settings), CurrentAlerts(settings.alerts)
        drain = Drain(gateway, ready_streams=settings.service.ready_streams)
        pipeline = await assemble(
            settings,
            sinks=sinks,
            registrar=registrar,
            alerts=alerts,
            handlers=drain.handlers,
            keep_running=True,
            announce=_announcer(sinks),
        )
        gateway.attach(pipeline)
        if page is not None:
            handlers = {**registrar.handlers, **alert_handlers(alerts)}
            page.attach(
                pipeline,
                levels=pipeline.levels_dbfs,
                alerts=alerts,
                handlers=handlers,
                microphone="/v1/stream",
                doors=listener.doors,
            )
            pipeline.set_protocol_health(lambda: (*gateway.statistics().protocols, *page.refused.health()))
        signals.run = pipeline
        if settings.service.drain_s:
            signals.drain = partial(drain.start, within_s=settings.service.drain_s)
        _print(f"listening on ws://{settings.serve.host}:{listener.port}/v1/")
        if listener.audiosocket_port:
            _print(f"AudioSocket on {settings.serve.host}:{listener.audiosocket_port}")
        if listener.wyoming_port:
            _print(f"Wyoming on {settings.serve.host}:{listener.wyoming_port} for {settings.serve.wyoming_upstream}")
        return await _run_monitored(pipeline, settings.service, drain)


def _dashboard_of_server(settings: Settings) -> Dashboard:
    """Return a dashboard with the server's host, and with the server's token if it has none of its own."""
    from stream.dashboard.page import Dashboard  # noqa: PLC0415

    given: dict[str, object] = {"host": settings.serve.host}
    if not settings.dashboard.token.get_secret_value():
        given["token"] = settings.serve.token
    return Dashboard(settings=settings.model_copy(update={"dashboard": settings.dashboard.model_copy(update=given)}))
