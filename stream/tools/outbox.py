"""What the receivers of a node refused: read, sent again, or deleted."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stream.clock import steady_s
from stream.errors import SettingsError, TonewatchError
from stream.settings import Settings
from stream.settings.outbox import OutboxSettings
from stream.settings.texts import shown_sink
from stream.sinks.mqtt.topics import TRANSPORTS, parse_address
from stream.sinks.outbox.files import file_name, state_folder
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message
from stream.sinks.outbox.set_aside import RefusedMessage, SetAsideStore
from stream.sinks.webhook.delivery import CloseLimits
from stream.sinks.webhook.sink import WebhookSink

WEBHOOK_SCHEMES = frozenset({"http", "https"})

SEND_LIMITS = CloseLimits(flush_s=600.0)
"""A receiver that does not answer ends the sending earlier, with its first failure."""


class OutboxError(TonewatchError):
    """The file of refused messages, or the outbox, cannot be used."""


@dataclass(frozen=True, slots=True)
class RefusingReceiver:
    """A sink with an outbox on disk, whose receiver may have refused messages."""

    target: str
    settings: Settings
    limits: OutboxSettings
    folder: Path
    name: str

    @classmethod
    def of(cls, target: str, settings: Settings) -> RefusingReceiver | None:
        """Return the receiver of a sink; None if the sink has no outbox on disk. Raises `SettingsError`."""
        scheme = target.partition("://")[0]
        limits: OutboxSettings
        if scheme in WEBHOOK_SCHEMES:
            limits, key = settings.webhook, target
        elif scheme in TRANSPORTS:
            limits, key = settings.mqtt, parse_address(target, settings.mqtt).key
        else:
            return None
        folder = state_folder(limits.outbox)
        return None if folder is None else cls(target, settings, limits, folder, file_name(settings.node, key))

    @property
    def is_webhook(self) -> bool:
        """Whether the messages are HTTP requests."""
        return self.target.partition("://")[0] in WEBHOOK_SCHEMES

    @property
    def shown(self) -> str:
        """The target without what may be secret in it."""
        return shown_sink(self.target)

    def refused(self) -> list[RefusedMessage]:
        """Return the refused messages, oldest first. Raises `OutboxError`."""
        with self._store() as store:
            return store.read()

    def discard(self, messages: Sequence[RefusedMessage]) -> None:
        """Delete refused messages. Raises `OutboxError`."""
        with self._store() as store:
            store.remove(messages)

    async def resend(self, messages: Sequence[RefusedMessage]) -> int:
        """Return refused messages to the outbox, and send those of a webhook; returns how many are still to be sent.

        Those of a broker are sent when the node starts again, since its client may exist once only. Raises
        `OutboxError`.
        """
        journal = Journal(folder=self.folder, name=self.name, clock=steady_s)
        first = len(await journal.open())
        await journal.write(
            [
                Message(one.topic, one.payload, rolling=False, number=first + place, added_s=steady_s())
                for place, one in enumerate(messages)
            ]
        )
        is_safe = journal.durable
        await journal.close()
        if not is_safe:
            raise OutboxError(f"cannot write the outbox in {self.folder}; free disk space and try again")
        self.discard(messages)
        if not self.is_webhook:
            return first + len(messages)
        async with WebhookSink(target=self.target, settings=self.settings, limits=SEND_LIMITS) as sink:
            pass  # closing it sends what waits
        return sink.counters().pending

    @contextmanager
    def _store(self) -> Iterator[SetAsideStore]:
        store = SetAsideStore.of(self.folder, self.name, self.limits)
        assert store is not None  # noqa: S101 - there is a folder
        try:
            yield store
        except (sqlite3.Error, OSError) as error:
            raise OutboxError(f"cannot use the refused messages in {self.folder}: {error}") from None
        finally:
            store.close()


def receivers(settings: Settings) -> list[RefusingReceiver]:
    """Return the receivers of all sinks that have an outbox on disk. Raises `SettingsError` if none has."""
    found = [one for target in settings.sinks if (one := RefusingReceiver.of(target, settings)) is not None]
    if not found:
        raise SettingsError("no sink has an outbox on disk; name one with --sink, or the node's settings with --config")
    return found


def summary(messages: Sequence[RefusedMessage]) -> list[str]:
    """Return one line for each reason: how many messages of which kinds, and when."""
    by_reason: dict[str, list[RefusedMessage]] = defaultdict(list)
    for message in messages:
        by_reason[message.reason].append(message)
    lines = []
    for reason, group in by_reason.items():
        kinds = Counter(map(_kind, group))
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        times = [datetime.fromtimestamp(one.refused_s).astimezone() for one in (group[0], group[-1])]
        lines.append(f"{reason}: {counts}; {times[0]:%Y-%m-%d %H:%M:%S} to {times[1]:%Y-%m-%d %H:%M:%S}")
    return lines


def _kind(message: RefusedMessage) -> str:
    """Return the type of an event, plain or in a CloudEvents object."""
    content = json.loads(message.payload)
    return str(content.get("data", content)["type"])
