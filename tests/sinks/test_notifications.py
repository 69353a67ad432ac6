"""Notifications: one at once, many as one, repeated until accepted, and never more often than allowed."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import pytest

from stream.app import registry
from stream.errors import SettingsError
from stream.events import AlertEvent
from stream.settings import AppriseSettings, Settings
from stream.sinks.notifications import MAX_WAITING, NotificationSink, notification
from tests.support import examples
from tests.support.receiver import Receiver
from tests.support.waiting import wait_until

PLUGINS = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
"""Apprise imports the libraries of all its services."""


def alert(number: int, phase: str = "start", **more: Any) -> AlertEvent:
    body = examples.alert(phase).model_copy(update={"alert": f"a{number}", **more})
    event = examples.event(body, seq=2 * number + (phase == "end"), source="nursery")
    assert isinstance(event, AlertEvent)
    return event


class Phone:
    """Notes what arrives; the pauses of its sink end when a test says so."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.accepts = accepts
        self.got: list[tuple[str, str]] = []
        self.pauses_s: list[float] = []
        self.pause_over = asyncio.Event()

    def notify(self, title: str, text: str) -> bool:
        self.got.append((title, text))
        return self.accepts

    async def sleep(self, duration_s: float) -> None:
        self.pauses_s.append(duration_s)
        await self.pause_over.wait()
        self.pause_over.clear()

    def sink(self, **apprise: Any) -> NotificationSink:
        settings = Settings(node="home", apprise=AppriseSettings(**apprise))
        return NotificationSink(target="apprise", settings=settings, notify=self.notify, sleep=self.sleep)


def test_the_first_alert_rings_at_once_and_the_others_once() -> None:
    async def check() -> None:
        phone = Phone()
        first = alert(0, kind="rule", rule="stranger", speaker=None, person="S1", detail="found")
        async with phone.sink() as sink:
            await sink.send(first)
            await wait_until(lambda: phone.pauses_s)
            for number in range(1, 13):
                await sink.send(alert(number))
                await sink.send(alert(number, "end"))
            assert len(phone.got) == 1
            phone.pause_over.set()
            await wait_until(lambda: len(phone.got) == 2)
        (title, text), (many, listed) = phone.got
        assert title == "nursery: stranger"
        assert text == f"{first.time.astimezone():%H:%M:%S} nursery: stranger (S1, found)\n(home)"
        assert many == "12 alerts"
        assert listed.count("sustained anger (customer)") == 10
        assert listed.endswith("and 2 more\n(home)")
        assert phone.pauses_s[0] == 30

    asyncio.run(check())


def test_what_is_not_accepted_is_repeated_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        phone = Phone(accepts=False)
        async with phone.sink() as sink:
            await sink.send(alert(0))
            while len(phone.pauses_s) < 8:
                waited = len(phone.pauses_s)
                phone.pause_over.set()
                await wait_until(partial(lambda before: len(phone.pauses_s) > before, waited))
            assert phone.pauses_s == [30, 60, 120, 240, 480, 600, 600, 600]
            assert sink.counters().pending == 1
            phone.accepts = True
            phone.pause_over.set()
            await wait_until(lambda: sink.counters().pending == 0)

    with caplog.at_level(logging.WARNING):
        asyncio.run(check())
    assert len(caplog.messages) == 1


def test_only_wanted_alerts_are_sent_and_waiting_ones_are_bounded() -> None:
    async def check() -> None:
        phone = Phone()
        async with phone.sink(alerts=["dead_air", "stranger"], ends=True) as sink:
            await sink.send(examples.event(examples.turn(0)))
            await sink.send(alert(0))
            await sink.send(alert(1, kind="rule", rule="stranger", speaker=None))
            await wait_until(lambda: phone.pauses_s)
            for number in range(MAX_WAITING + 5):
                await sink.send(alert(2 + number, "end", kind="dead_air"))
            assert (sink.counters().pending, sink.counters().dropped) == (MAX_WAITING, 5)
        assert [title for title, _ in phone.got] == ["nursery: stranger", f"{MAX_WAITING} alerts"]
        assert "dead air is over" in phone.got[1][1]

    asyncio.run(check())


def test_names_cannot_forge_lines() -> None:
    _, text = notification([alert(0, kind="rule", rule="x", person="Al\nice\x1b[2J")], node="home")
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text


@pytest.mark.slow
@PLUGINS
def test_apprise_delivers_to_a_service() -> None:
    async def check() -> None:
        async with Receiver() as receiver:
            async with registry.sink(f"apprise+json://localhost:{receiver.port}/x", Settings()) as sink:
                await sink.send(alert(0))
                await wait_until(lambda: receiver.requests)
            assert receiver.requests[0].event["title"] == "nursery: sustained anger"

    asyncio.run(check())


@PLUGINS
@pytest.mark.parametrize(
    ("target", "sentence"),
    [("apprise", "set apprise.url or apprise.url_file"), ("apprise+nosuch://secret", "know the address nosuch://…;")],
)
def test_an_address_that_cannot_work_is_refused(target: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        registry.sink(target, Settings())
    assert "secret" not in Settings(sinks=(target,)).model_dump_json(include={"sinks"})
