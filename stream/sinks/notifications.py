"""Alerts as notifications on people's phones, by any of the services that apprise knows.

The first alert is sent at once; those that follow within `apprise.pause_s` become one notification at the end of that
time, so that a hundred alerts ring once. What a service does not accept is tried again, with growing pauses.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

from stream.errors import SettingsError
from stream.events import AlertEvent, Event
from stream.events.labels import alert_label
from stream.events.text import printable
from stream.settings import Settings
from stream.sinks.base import SinkCounters
from stream.sinks.pauses import pause

PREFIX = "apprise+"

MAX_WAITING = 100
"""Alerts that wait for a notification; beyond them the oldest are dropped."""

MAX_LINES = 10
"""Alerts that one notification lists; it counts the others."""

MAX_RETRY_S = 600.0

FLUSH_TIMEOUT_S = 5.0
"""Longest wait of a close for the last notification."""

Notify = Callable[[str, str], bool]
"""Sends a title and a text; returns whether every service accepted them. Blocks."""

log = logging.getLogger(__name__)


class NotificationSink:
    """Sends alerts to `apprise+SCHEME://…`, or for `apprise` to the address in the settings."""

    def __init__(
        self,
        *,
        target: str,
        settings: Settings,
        notify: Notify | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings.apprise
        self._node = settings.node
        self._notify = notify or _service(target, self._settings.url.get_secret_value())
        self._sleep = sleep
        self._waiting: deque[AlertEvent] = deque()
        self._dropped = 0
        self._is_failing = False
        self._wake, self._closing = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tonewatch-notify")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start sending."""
        self._task = asyncio.create_task(self._run(), name="notifications")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what waits, once."""
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=FLUSH_TIMEOUT_S if kind is None else 0)
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False, cancel_futures=True)
        if lost := len(self._waiting) + self._dropped:
            log.warning("notifications: %d alerts not sent", lost)

    async def send(self, event: Event) -> None:
        """Queue an alert that is wanted."""
        if not isinstance(event, AlertEvent) or (event.phase == "end" and not self._settings.ends):
            return
        if self._settings.alerts and not {event.kind, event.rule} & set(self._settings.alerts):
            return
        self._waiting.append(event)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._dropped += 1
        self._wake.set()

    def counters(self) -> SinkCounters:
        """Alerts that wait, all of them in memory, and those that were dropped."""
        return SinkCounters(dropped=self._dropped, pending=len(self._waiting), not_persisted=len(self._waiting))

    async def _run(self) -> None:
        pause_s = self._settings.pause_s
        while True:
            while not self._waiting:
                if self._closing.is_set():
                    return
                self._wake.clear()
                await self._wake.wait()
            alerts = tuple(self._waiting)
            title, text = notification(alerts, node=self._node)
            if await asyncio.get_running_loop().run_in_executor(self._thread, self._notify, title, text):
                sent = {alert.id for alert in alerts}
                self._waiting = deque(alert for alert in self._waiting if alert.id not in sent)
                pause_s, self._is_failing = self._settings.pause_s, False
            elif not self._is_failing:
                self._is_failing = True
                log.warning("notifications: a service did not accept a notification, retrying; check its address")
            else:
                pause_s = min(2 * pause_s, max(MAX_RETRY_S, self._settings.pause_s))
            if self._closing.is_set():
                return
            await pause(pause_s, sleep=self._sleep, until=self._closing)


def notification(alerts: Sequence[AlertEvent], *, node: str) -> tuple[str, str]:
    """Return title and text of one notification for some alerts, the oldest first."""
    first = alerts[0]
    title = f"{printable(first.source)}: {_label(first)}" if len(alerts) == 1 else f"{len(alerts)} alerts"
    lines = [_line(alert) for alert in alerts[:MAX_LINES]]
    if len(alerts) > MAX_LINES:
        lines.append(f"and {len(alerts) - MAX_LINES} more")
    return title, "\n".join([*lines, f"({node})"])


def _label(alert: AlertEvent) -> str:
    label = printable(alert_label(alert.kind, alert.rule))
    return label if alert.phase == "start" else f"{label} is over"


def _line(alert: AlertEvent) -> str:
    """Return when, where and what happened, and to whom."""
    about = ", ".join(printable(one) for one in (alert.person or alert.speaker, alert.detail) if one)
    where = f"{alert.time.astimezone():%H:%M:%S} {printable(alert.source)}: {_label(alert)}"
    return f"{where} ({about})" if about else where


def _service(target: str, configured: str) -> Notify:
    """Return the function that sends notifications. Raises `SettingsError`."""
    try:
        import apprise  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "notifications need apprise; run `pip install '.[apprise]'` in a checkout of tonewatch"
        ) from None
    addresses = target.removeprefix(PREFIX) if target.startswith(PREFIX) else configured
    if not addresses:
        raise SettingsError("the sink `apprise` has no address; set apprise.url or apprise.url_file")
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines may show parts of an address
    services = apprise.Apprise(asset=apprise.AppriseAsset(app_id="tonewatch", secure_logging=True))
    if not services.add(addresses):
        raise SettingsError(
            f"apprise does not know the address {addresses.partition(':')[0]}://…; its documentation lists the services"
        )
    return lambda title, text: bool(services.notify(body=text, title=title, notify_type=apprise.NotifyType.WARNING))
