"""The webhook sink against a real receiver: order, signature, outages, refusals, and what survives a kill."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from stream.app.assembly import assemble
from stream.errors import SettingsError
from stream.settings import Settings, WebhookSettings
from stream.sinks.webhook.delivery import SUSPECT_ATTEMPTS, CloseLimits
from stream.sinks.webhook.sink import WebhookSink
from tests.support import examples
from tests.support.receiver import Received, Receiver
from tests.support.waiting import wait_until

SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OUTAGE_S = 600.0


class FakeClock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0
        self.pauses_s: list[float] = []

    async def sleep(self, duration_s: float) -> None:
        self.pauses_s.append(duration_s)
        self.now_s += duration_s
        await asyncio.sleep(0)


def sink_to(receiver: Receiver, clock: FakeClock, *, scheme: str = "http", **webhook: Any) -> WebhookSink:
    return WebhookSink(
        target=f"{scheme}://localhost:{receiver.port}/hook/private",
        settings=Settings(webhook=WebhookSettings(**{"outbox": "", **webhook})),
        limits=CloseLimits(flush_s=5.0, after_error_s=0.05),
        clock=lambda: clock.now_s,
        time_of_day=lambda: clock.now_s,
        sleep=clock.sleep,
    )


async def send_turns(sink: WebhookSink, numbers: range) -> list[str]:
    turns = [examples.event(examples.turn(number), seq=number) for number in numbers]
    for turn in turns:
        await sink.send(turn)
    return [turn.id for turn in turns]


def test_wanted_events_arrive_signed_and_in_order() -> None:
    async def check() -> None:
        clock = FakeClock()
        async with Receiver() as receiver:
            async with sink_to(receiver, clock, secret=SECRET, token="t" * 20) as sink:
                await sink.send(examples.event(examples.turn(0, "start"), seq=0))
                await sink.send(examples.event(examples.emotion(), seq=1))
                await sink.send(examples.event(examples.call("live"), seq=2))
                ids = await send_turns(sink, range(3, 6))
                await sink.send(examples.event(examples.call("final"), seq=6))
            assert receiver.accepted_ids == [*ids, "s/room/6"]
            request = receiver.requests[0]
            assert request.path == "/hook/private"
            assert request.headers["authorization"] == f"Bearer {'t' * 20}"
            signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
            digest = base64.b64encode(hmac.digest(bytes(range(24)), signed, hashlib.sha256)).decode()
            assert request.headers["webhook-signature"] == f"v1,{digest}"
            assert int(request.headers["webhook-timestamp"]) == int(clock.now_s)

    asyncio.run(check())


def test_a_receiver_that_is_down_for_ten_minutes_gets_every_event_once(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        clock = FakeClock()
        async with Receiver() as receiver, sink_to(receiver, clock) as sink:
            ids = await send_turns(sink, range(20))
            await wait_until(lambda: len(receiver.accepted_ids) == 20)
            await receiver.stop()
            down_s = clock.now_s
            ids += await send_turns(sink, range(20, 120))
            await wait_until(lambda: clock.now_s - down_s >= OUTAGE_S)
            await receiver.start()
            await wait_until(lambda: sink.counters().pending == 0)
            assert receiver.accepted_ids == ids, "none lost, none twice, in order"
            assert max(clock.pauses_s) <= 60, "webhook.retry_max_s"
            assert len(clock.pauses_s) < 60

    with caplog.at_level(logging.WARNING):
        asyncio.run(check())
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2, texts
    assert "retrying" in texts[0]
    assert "answers again after" in texts[1]
    assert "private" not in caplog.text, "the path may be a secret"


@pytest.mark.slow
def test_a_killed_sender_loses_nothing_and_repeats_under_the_same_id(tmp_path: Path) -> None:
    """The receiver has taken some events and holds the answer of one when the sender is killed."""
    program = (
        "import asyncio, sys\n"
        "from stream.settings import Settings, WebhookSettings\n"
        "from stream.sinks.webhook.sink import WebhookSink\n"
        "from tests.support import examples\n"
        "async def main():\n"
        "    settings = Settings(webhook=WebhookSettings(outbox=sys.argv[2]))\n"
        "    async with WebhookSink(target=sys.argv[1], settings=settings) as sink:\n"
        "        await sink.send_all([examples.event(examples.turn(n), seq=n) for n in range(40)])\n"
        "        print('stored', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )

    async def check() -> None:
        async with Receiver(lambda request, number: "200 OK" if number < 10 else "") as receiver:  # noqa: ARG005
            target = f"http://localhost:{receiver.port}/hook/private"
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, target, str(tmp_path), stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            assert await process.stdout.readline() == b"stored\n"
            await wait_until(lambda: len(receiver.requests) > 10)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            receiver.script = lambda request, number: "200 OK"  # noqa: ARG005
            clock = FakeClock()
            async with sink_to(receiver, clock, outbox=str(tmp_path)) as sink:
                await wait_until(lambda: sink.counters().pending == 0)
            ids = [f"s/room/{number}" for number in range(40)]
            assert list(dict.fromkeys(receiver.accepted_ids)) == ids, "none lost, in order"
            by_event: dict[str, set[str]] = {}
            for request in receiver.requests:
                by_event.setdefault(request.event["id"], set()).add(request.headers["webhook-id"])
            assert all(len(headers) == 1 for headers in by_event.values()), "a repeat has the same id"
            assert not list(tmp_path.iterdir())

    asyncio.run(check())


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "410 Gone", "301 Moved\r\nlocation: /other"])
def test_what_is_refused_is_set_aside_and_reported(status: str, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        clock = FakeClock()
        async with Receiver(lambda request, number: status if number == 1 else "200 OK") as receiver:  # noqa: ARG005
            async with sink_to(receiver, clock) as sink:
                ids = await send_turns(sink, range(3))
            assert receiver.accepted_ids == [ids[0], ids[2]]
            assert {request.path for request in receiver.requests} == {"/hook/private"}, "no redirect is followed"
            assert sink.counters().refused == 1
            assert not clock.pauses_s

    with caplog.at_level(logging.WARNING):
        asyncio.run(check())
    assert status[:3] in caplog.text
    assert "set aside" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "at_least_s"),
    [
        ("503 Service Unavailable\r\nretry-after: 120", 120.0),
        ("429 Too Many Requests\r\nretry-after: Fri, 15 Jan 2027 08:05:00 GMT", 300.0),
        ("500 Internal Server Error", 0.5),
        ("408 Request Timeout\r\nretry-after: soon", 0.5),
        ("503 Service Unavailable\r\nretry-after: 999999999", 3_600.0),
        ("", 0.5),
    ],
)
def test_what_failed_is_repeated_after_the_pause_that_was_asked_for(status: str, at_least_s: float) -> None:
    async def check() -> None:
        clock = FakeClock()
        async with Receiver(lambda request, number: status if number == 0 else "200 OK") as receiver:  # noqa: ARG005
            async with sink_to(receiver, clock) as sink:
                ids = await send_turns(sink, range(2))
                await wait_until(lambda: sink.counters().pending == 0)
            assert receiver.accepted_ids == ids
            assert at_least_s <= clock.pauses_s[0] <= max(at_least_s, 1.0)

    asyncio.run(check())


def test_an_event_that_the_receiver_stumbles_over_does_not_hold_back_the_others() -> None:
    async def check() -> None:
        def script(request: Received, number: int) -> str:  # noqa: ARG001
            return "500 Internal Server Error" if request.event["id"] == "s/room/1" else "200 OK"

        clock = FakeClock()
        async with Receiver(script) as receiver, sink_to(receiver, clock) as sink:
            ids = await send_turns(sink, range(4))
            await wait_until(lambda: sink.counters().pending == 0)
            assert receiver.accepted_ids == [ids[0], ids[2], ids[3]]
            assert len(clock.pauses_s) == SUSPECT_ATTEMPTS - 1
            assert sink.counters().refused == 1

    asyncio.run(check())


def test_streams_do_not_wait_for_each_other_and_keep_their_order() -> None:
    async def check() -> None:
        clock, waiting = FakeClock(), asyncio.Event()
        async with Receiver() as receiver:
            receiver.hold = lambda request: waiting.wait() if request.event["source"] == "slow" else None
            async with sink_to(receiver, clock) as sink:
                for number in range(3):
                    for source in ("slow", "a", "b"):
                        await sink.send(examples.event(examples.turn(number), seq=number, source=source))
                await wait_until(lambda: len(receiver.accepted_ids) >= 2)
                waiting.set()
                await wait_until(lambda: sink.counters().pending == 0)
            for source in ("slow", "a", "b"):
                got = [identifier for identifier in receiver.accepted_ids if f"/{source}/" in identifier]
                assert got == [f"s/{source}/{number}" for number in range(3)]

    asyncio.run(check())


@pytest.mark.parametrize("status", ["502 Bad Gateway", "500 Internal Server Error"])
def test_an_outage_sets_nothing_aside(status: str) -> None:
    async def check() -> None:
        clock = FakeClock()
        receiver = Receiver(lambda request, number: status)  # noqa: ARG005
        async with receiver, sink_to(receiver, clock) as sink:
            await send_turns(sink, range(4))
            await wait_until(lambda: len(clock.pauses_s) > 3 * SUSPECT_ATTEMPTS)
            assert (sink.counters().refused, sink.counters().pending) == (0, 4)

    asyncio.run(check())


@pytest.mark.slow
def test_the_certificate_is_verified(certificates: Path) -> None:
    async def check() -> None:
        receiver = Receiver()
        receiver.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        receiver.tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        async with receiver:
            clock = FakeClock()
            async with sink_to(receiver, clock, scheme="https") as sink:
                await send_turns(sink, range(1))
                await wait_until(lambda: len(clock.pauses_s) > 2)
            assert not receiver.requests, "an unknown authority is not trusted"
            async with sink_to(receiver, clock, scheme="https", ca_file=str(certificates / "server.pem")) as sink:
                await send_turns(sink, range(1))
            assert len(receiver.accepted_ids) == 1

    asyncio.run(check())


@pytest.mark.parametrize(
    ("target", "webhook", "sentence"),
    [
        ("https:///path", {}, "no address of a webhook; use https://host/path"),
        ("https://user@host/path", {}, "set webhook.token or webhook.token_file"),
        ("https://host:99999/path", {}, "no address of a webhook"),
        ("https://host", {"secret": "short"}, "use at least 16 bytes"),
        ("https://host", {"secret": "whsec_!"}, "not Base64"),
        ("https://host", {"ca_file": "/nowhere.pem"}, "cannot load webhook.ca_file '/nowhere.pem'"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(target: str, webhook: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        WebhookSink(target=target, settings=Settings(webhook=WebhookSettings.model_validate(webhook)))


def test_addresses_are_shown_without_what_may_be_secret() -> None:
    target = "https://hooks.example:8443/services/T0/secret?key=secret"
    settings = Settings(sinks=(target, "stdout"))
    assert "secret" not in settings.model_dump_json(include={"sinks"})
    with pytest.raises(SettingsError, match="no source given"):
        asyncio.run(assemble(settings))
    with pytest.raises(ValueError, match="TONEWATCH__WEBHOOK__TOKEN"):
        Settings(sinks=("https://user:word@host/path",))
