"""The tasks of a delivery and their order, on a fake connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, cast

import pytest

from stream.sinks.mqtt.connection import BrokerConnection, Outcome
from stream.sinks.mqtt.delivery import ACKNOWLEDGED_BATCH, Delivery
from stream.sinks.mqtt.limits import DeliveryLimits
from stream.sinks.mqtt.link import Link
from stream.sinks.mqtt.refusals import BrokerLimits, Packet, Refusals
from stream.sinks.mqtt.tasks import cancel_and_wait
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message, Outbox
from tests.support.waiting import wait_until

BIRTH, OFFLINE = ("node/availability", "online"), ("node/availability", "offline")


class FakeConnection:
    """Acknowledges every message at once and records it."""

    v5 = False
    limits = BrokerLimits(max_in_flight=20)
    closed_by_broker = False
    in_flight: tuple[Packet, ...] = ()

    def __init__(self) -> None:
        self.posted: list[tuple[str, str]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def post(self, topic: str, payload: str, *, outcome: Outcome, **_: Any) -> None:
        self.posted.append((topic, payload))
        asyncio.get_running_loop().call_soon(outcome, 0, "")


class ScriptedJournal(Journal):
    """A journal in memory; `on_write` is run by each write."""

    def __init__(self, on_write: Callable[[], Awaitable[None]]) -> None:
        super().__init__(folder=None, name="outbox", clock=time.monotonic)
        self._marked = 0
        self._on_write = on_write

    async def write(self, new: Sequence[Message] = (), *, obsolete: object = ()) -> None:  # noqa: ARG002
        await self._on_write()

    def mark_acknowledged(self, message: Message) -> int:  # noqa: ARG002
        self._marked += 1
        return self._marked


async def _return(connection: object) -> None:
    """Need no subscription."""


async def _wait_forever(connection: object) -> None:  # noqa: ARG001
    await asyncio.Event().wait()


@asynccontextmanager
async def fake_delivery(
    connection: FakeConnection,
    outbox: Outbox,
    *,
    journal: Journal,
    subscribe: Callable[[object], Coroutine[Any, Any, None]] = _return,
    refusals: Refusals | None = None,
    trial_s: float = 0.02,
) -> AsyncIterator[Delivery]:
    delivery = Delivery(
        broker="fake",
        connect=lambda: cast("BrokerConnection", connection),
        refusals=refusals or Refusals(clock=time.monotonic),
        link=Link(clock=time.monotonic),
        outbox=outbox,
        journal=journal,
        qos=1,
        reconnect_max_s=1.0,
        birth=[BIRTH],
        offline=OFFLINE,
        subscribe=subscribe,
        receive=_wait_forever,
        on_refused=lambda message, reason: None,  # noqa: ARG005
        housekeeping=lambda: None,
        content_type=lambda message: "text/plain",  # noqa: ARG005
        clock=time.monotonic,
        limits=DeliveryLimits(housekeeping_s=600.0, trial_s=trial_s),
    )
    delivery.start()
    try:
        yield delivery
    finally:
        await delivery.close(after_error=False)


def test_online_is_published_after_the_subscriptions_are_acknowledged() -> None:
    async def check() -> None:
        requested, acknowledged = asyncio.Event(), asyncio.Event()

        async def subscribe(connection: object) -> None:
            del connection
            requested.set()
            await acknowledged.wait()

        async def nothing() -> None:
            pass

        connection, outbox = FakeConnection(), Outbox(capacity=10)
        outbox.put("turn", "1")
        journal = ScriptedJournal(nothing)
        async with fake_delivery(connection, outbox, journal=journal, subscribe=subscribe) as delivery:
            await requested.wait()
            assert not connection.posted
            assert not delivery.connected
            acknowledged.set()
            await wait_until(lambda: outbox.empty)
        assert connection.posted == [BIRTH, ("turn", "1"), OFFLINE]

    asyncio.run(check())


class AnsweringConnection(FakeConnection):
    """Tells its `Refusals` of acknowledgements, and records for each message how many are in flight with it."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__()
        self.together: list[tuple[str, int]] = []
        self._refusals, self._unanswered = refusals, 0

    def post(self, topic: str, payload: str, *, outcome: Outcome, **_: Any) -> None:
        self._unanswered += 1
        self.together.append((topic, self._unanswered))

        def answer() -> None:
            self._unanswered -= 1
            self._refusals.acknowledged(Packet(topic, payload, 100, time.monotonic()))
            outcome(0, "")

        asyncio.get_running_loop().call_soon(answer)


@pytest.mark.parametrize(("trial_s", "together"), [(60.0, [1, 1, 1, 2, 3]), (-1.0, [2, 3, 4, 5, 6])])
def test_on_a_quick_broker_the_first_message_of_each_topic_is_alone(trial_s: float, together: list[int]) -> None:
    async def check() -> None:
        refusals = Refusals(clock=time.monotonic)
        connection, outbox = AnsweringConnection(refusals), Outbox(capacity=10)
        for topic in ("kitchen", "hall", "kitchen", "hall", "kitchen"):
            outbox.put(topic, "1")
        journal = Journal(folder=None, name="outbox", clock=time.monotonic)
        async with fake_delivery(connection, outbox, journal=journal, refusals=refusals, trial_s=trial_s):
            await wait_until(lambda: outbox.empty)
        turns = [count for topic, count in connection.together if topic in ("kitchen", "hall")]
        assert turns == together

    asyncio.run(check())


def test_a_batch_of_acknowledgements_is_written_by_a_task_of_the_delivery() -> None:
    """The write ends with the delivery, also while it is blocked."""

    async def check() -> None:
        writing = asyncio.Event()

        async def block() -> None:
            writing.set()
            await asyncio.Event().wait()

        outbox = Outbox(capacity=1_000)
        for number in range(ACKNOWLEDGED_BATCH):
            outbox.put("turn", str(number))
        before = asyncio.all_tasks()
        async with fake_delivery(FakeConnection(), outbox, journal=ScriptedJournal(block)):
            await writing.wait()
        assert asyncio.all_tasks() == before

    asyncio.run(check())


def test_a_journal_write_that_fails_ends_the_delivery_with_its_error() -> None:
    async def check() -> None:
        async def fail() -> None:
            raise ZeroDivisionError

        outbox = Outbox(capacity=1_000)
        for number in range(ACKNOWLEDGED_BATCH):
            outbox.put("turn", str(number))
        with suppress(BaseExceptionGroup):
            async with fake_delivery(FakeConnection(), outbox, journal=ScriptedJournal(fail)) as delivery:
                await wait_until(lambda: delivery._task is not None and delivery._task.done())
                with pytest.raises(BaseExceptionGroup, match="unhandled"):
                    delivery.wake()

    asyncio.run(check())


def test_a_cancellation_that_is_lost_while_connecting_is_repeated() -> None:
    async def check() -> int:
        lost = 0

        async def connect() -> None:
            nonlocal lost
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
            await asyncio.Event().wait()

        task = asyncio.create_task(connect())
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await cancel_and_wait(task, retry_s=0.01)
        assert task.cancelled()
        return lost

    assert asyncio.run(check()) == 1
