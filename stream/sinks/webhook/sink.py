"""The webhook sink: turns, alerts and final figures reach an HTTP receiver at least once and in order.

`send` never waits for the receiver: events go to the outbox in memory and on disk, and `WebhookDelivery` sends them. A
receiver tells a repeated event by its `id` in the body, or by the header `webhook-id`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from stream import __version__, events
from stream.clock import steady_s
from stream.errors import SettingsError
from stream.events import AlertEvent, CallEvent, Event, SpeakerResolvedEvent, StreamEvent, TurnEvent
from stream.settings import Settings
from stream.settings.texts import shown_sink
from stream.settings.webhook import WebhookEvent
from stream.sinks.base import SinkCounters
from stream.sinks.outbox.files import file_name, state_folder
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message, Outbox
from stream.sinks.outbox.set_aside import SetAsideStore
from stream.sinks.tls import verifying_context
from stream.sinks.webhook.answers import Answer, judge
from stream.sinks.webhook.delivery import CloseLimits, WebhookDelivery
from stream.sinks.webhook.signing import headers, message_id, parse_secret

if TYPE_CHECKING:
    import httpx2

MAX_ANSWER_BYTES = 65_536
"""More of an answer is not read; its connection is closed."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

DEFAULT_LIMITS = CloseLimits()

log = logging.getLogger(__name__)


class WebhookSink:
    """Posts events to `https://host[:port]/path`."""

    def __init__(
        self,
        *,
        target: str,
        settings: Settings,
        limits: CloseLimits = DEFAULT_LIMITS,
        clock: Callable[[], float] = steady_s,
        time_of_day: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings.webhook
        self._name = f"webhook {shown_sink(target)}"
        self._target = _checked_address(target)
        self._secret = parse_secret(self._settings.secret.get_secret_value())
        self._wanted: frozenset[WebhookEvent] = frozenset(self._settings.events)
        self._limits, self._clock, self._time_of_day = limits, clock, time_of_day
        self._outbox = Outbox(
            capacity=self._settings.queue_events,
            capacity_bytes=self._settings.outbox_mb * 1e6,
            max_age_s=self._settings.outbox_age_s,
        )
        folder = state_folder(self._settings.outbox)
        name = file_name(settings.node, target)
        set_aside = SetAsideStore.of(folder, name, self._settings)
        self._journal = Journal(folder=folder, name=name, clock=clock, set_aside=set_aside)
        self._delivery = WebhookDelivery(
            name=self._name,
            post=self._post,
            outbox=self._outbox,
            journal=self._journal,
            retry_max_s=self._settings.retry_max_s,
            clock=clock,
            sleep=sleep,
            on_expired=self._report_dropped,
        )
        self._client = self._new_client()
        self._reported_full = False

    async def __aenter__(self) -> Self:
        """Load undelivered events of earlier runs and start sending."""
        self._report_dropped(self._outbox.restore(await self._journal.open()))
        self._delivery.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what the limits permit, and close the outbox."""
        timeout_s = self._limits.flush_s if kind is None else self._limits.after_error_s
        try:
            await self._delivery.close(timeout_s=timeout_s)
        finally:
            counts = self._outbox.statistics()
            kept = "; they are kept for the next run" if self._journal.durable else ""
            await self._journal.close()
            await self._client.aclose()
        if counts.waiting:
            log.warning("%s: %d events not delivered%s", self._name, counts.waiting, kept)
        if counts.refused:
            log.warning("%s: %d events set aside", self._name, counts.refused)

    async def send(self, event: Event) -> None:
        """Add an event to the outbox, if it is wanted."""
        await self.send_all([event])

    async def send_all(self, batch: Sequence[Event]) -> None:
        """Add events to the outbox; returns when they are on disk, or it was logged that the disk failed."""
        new: list[Message] = []
        dropped: list[Message] = []
        for event in batch:
            if _kind(event) in self._wanted:
                message, overflow = self._outbox.put(event.id, events.to_json(event), now_s=self._clock())
                new.append(message)
                dropped += overflow
        self._report_dropped(dropped)
        if new:
            self._delivery.wake()
            await self._journal.write([message for message in new if message not in dropped], obsolete=dropped)

    def counters(self) -> SinkCounters:
        """Counts for `health`, beyond those of the queue before this sink."""
        counts = self._outbox.statistics()
        return SinkCounters(
            dropped=counts.dropped,
            refused=counts.refused,
            pending=counts.waiting,
            not_persisted=self._journal.not_persisted,
            set_aside=self._delivery.set_aside(),
        )

    def _new_client(self) -> httpx2.AsyncClient:
        try:
            import httpx2  # noqa: PLC0415 - an extra
        except ImportError:
            raise SettingsError(
                "webhooks need httpx2; run `pip install '.[webhook]'` in a checkout of tonewatch"
            ) from None
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs whole addresses, also what is secret in them
        token = self._settings.token.get_secret_value()
        return httpx2.AsyncClient(
            verify=verifying_context(self._settings.ca_file, key="webhook.ca_file"),
            timeout=self._settings.timeout_s,
            follow_redirects=False,
            headers={
                "content-type": "application/json",
                "user-agent": f"tonewatch/{__version__}",
                **({"authorization": f"Bearer {token}"} if token else {}),
            },
        )

    async def _post(self, message: Message) -> Answer:
        """Make one attempt; whatever happens is an answer."""
        import httpx2  # noqa: PLC0415

        body, now_s = message.payload.encode(), self._time_of_day()
        identity = headers(identifier=message_id(message.topic), time_s=int(now_s), body=body, secret=self._secret)
        try:
            async with (
                asyncio.timeout(self._settings.timeout_s),
                self._client.stream("POST", self._target, content=body, headers=identity) as response,
            ):
                read = 0
                async for part in response.aiter_raw():  # an answer that was read leaves its connection usable
                    read += len(part)
                    if read > MAX_ANSWER_BYTES:
                        break
                return judge(response.status_code, retry_after=response.headers.get("retry-after", ""), time_s=now_s)
        except TimeoutError:
            return Answer("failed", f"no answer within {self._settings.timeout_s:g} s")
        except (httpx2.HTTPError, OSError) as error:
            return Answer("failed", str(error) or type(error).__name__)

    def _report_dropped(self, dropped: Sequence[Message]) -> None:
        if dropped and not self._reported_full:
            self._reported_full = True
            log.warning(
                "%s: outbox full, dropping the oldest events; check the receiver or raise webhook.queue_events, "
                "webhook.outbox_mb or webhook.outbox_age_s",
                self._name,
            )


def _kind(event: Event) -> WebhookEvent | None:
    """Return the kind under which an event is selected, None for rolling state."""
    match event:
        case TurnEvent():
            return "turn" if event.phase == "end" else "turn_start"
        case CallEvent():
            return "call" if event.phase == "final" else None
        case AlertEvent() | StreamEvent() | SpeakerResolvedEvent():
            return event.type
        case _:
            return None


def _checked_address(target: str) -> str:
    """Return the address, and warn of one without encryption. Raises `SettingsError`."""
    try:
        url = urlsplit(target)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    if not host or url.fragment:
        raise SettingsError(f"{shown_sink(target)!r} is no address of a webhook; use https://host/path")
    if url.username is not None:
        raise SettingsError("the address of a webhook has no user name; set webhook.token or webhook.token_file")
    if url.scheme == "http" and host not in LOOPBACK:
        log.warning("webhook %s: events travel unencrypted; use https", shown_sink(target))
    return target
