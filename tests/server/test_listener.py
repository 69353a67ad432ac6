"""The real listener on loopback: authentication, mounts, shutdown, and hostile clients."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import socket
from typing import Any

import numpy as np
import pytest
import websockets
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from stream.errors import ListenError, SettingsError
from stream.events import CallEvent
from stream.server.access import COOKIE, AccessPolicy
from stream.server.gateway import Gateway
from stream.server.listener import NetworkListener
from stream.settings import ServeSettings
from tests.server.protocols.corruption import corrupted
from tests.server.protocols.messages import EXCHANGES, HANG_UP_PACKET
from tests.server.telephone import SYSTEMS, AudioHook, StereoCall, connect, receive_all, twilio_messages
from tests.support.node import network_node
from tests.support.waiting import wait_until

LOUD = (np.random.default_rng(3).uniform(-0.4, 0.4, (8_000 * 3, 2)) * 32_767).astype(np.int16)
CALL = StereoCall.of(LOUD)
START = {"type": "start", "rate_hz": 8_000, "source": "desk", "events": False}


async def is_accepted(listener: NetworkListener, path: str, **more: Any) -> bool:
    try:
        async with connect(listener, path, **more) as link:
            if "twilio" in path:
                for message in twilio_messages(CALL)[:3]:
                    await link.send(json.dumps(message))
                await link.close()
                return bool(link.close_code != 1008)
            return True
    except (websockets.InvalidStatus, websockets.ConnectionClosed):
        return False


def test_every_endpoint_requires_the_token() -> None:
    async def check() -> None:
        async with network_node(serve={"token": "sesame-open-sesame"}) as tested:
            for path in ("/v1/stream", "/v1/asterisk", "/v1/audiohook"):
                assert not await is_accepted(tested.listener, path)
                assert not await is_accepted(tested.listener, f"{path}?token=wrong")
                assert await is_accepted(tested.listener, f"{path}?token=sesame-open-sesame")
                assert await is_accepted(
                    tested.listener, path, additional_headers={"Authorization": "Bearer sesame-open-sesame"}
                )
                dashboard_access = AccessPolicy(host="127.0.0.1", token="sesame-open-sesame")
                cookie = f"{COOKIE}={dashboard_access.cookie_value('admin')}"
                assert await is_accepted(tested.listener, path, additional_headers={"Cookie": cookie})
            messages = twilio_messages(CALL)
            for token, code in (("wrong", 1008), ("sesame-open-sesame", 1000)):
                async with connect(tested.listener, "/v1/twilio") as link:
                    messages[1]["start"]["customParameters"] = {"token": token}
                    for message in messages:
                        await link.send(json.dumps(message))
                    await link.wait_closed()
                    assert link.close_code == code
            assert tested.rejected["unauthorized"] == 7  # Twilio's wrong token among them

    asyncio.run(check())


def test_keys_and_signatures_are_required_if_set() -> None:
    async def check() -> None:
        async with network_node(
            serve={"twilio_auth_token": "t", "audiohook_api_key": "k", "public_url": "wss://c.org"}
        ) as tested:
            assert not await is_accepted(tested.listener, "/v1/twilio")
            digest = hmac.new(b"t", b"wss://c.org/v1/twilio", hashlib.sha1).digest()
            signed = {"X-Twilio-Signature": base64.b64encode(digest).decode()}
            assert await is_accepted(tested.listener, "/v1/twilio", additional_headers=signed)
            assert not await is_accepted(tested.listener, "/v1/audiohook", additional_headers={"X-API-KEY": "x"})
            assert await is_accepted(tested.listener, "/v1/audiohook", additional_headers={"X-API-KEY": "k"})

    asyncio.run(check())


def test_pages_of_other_origins_are_rejected() -> None:
    async def check() -> None:
        async with network_node(serve={"origins": ["https://pages.example"]}) as tested:
            own = f"http://127.0.0.1:{tested.listener.port}"
            for origin, accepted in ((own, True), ("https://pages.example", True), ("https://evil.example", False)):
                assert await is_accepted(tested.listener, "/v1/stream", origin=origin) == accepted

    asyncio.run(check())


def test_other_addresses_than_loopback_need_a_token() -> None:
    async def check(branch: str = "serve", **settings: Any) -> None:
        async with NetworkListener(gateway=Gateway(settings=ServeSettings(**settings)), branch=branch):
            pass

    with pytest.raises(SettingsError, match="TONEWATCH__SERVE__TOKEN"):
        asyncio.run(check(host="0.0.0.0", port=0))  # noqa: S104
    with pytest.raises(SettingsError, match="audiosocket_peers"):
        asyncio.run(check(port=0, audiosocket_peers=["everywhere"]))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for branch in ("serve", "dashboard"):  # `tonewatch dashboard` listens by the settings of the dashboard
            with pytest.raises(ListenError) as refused:
                asyncio.run(check(branch, port=port))
            text = f"cannot listen on 127.0.0.1:{port} (Address already in use); choose another {branch}.port"
            assert str(refused.value) == f"{text} (0: any free port)"


def test_audiosocket_accepts_only_the_configured_networks() -> None:
    async def check() -> bytes:
        async with network_node(serve={"audiosocket_peers": ["10.0.0.0/8"]}) as tested:
            reader, writer = await asyncio.open_connection("127.0.0.1", tested.listener.audiosocket_port)
            received = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return received

    assert asyncio.run(check()) == HANG_UP_PACKET, "Asterisk would hang up the caller without it"


def test_an_application_can_be_mounted_beside_the_endpoints() -> None:
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(f"page {scope['path']}")(scope, receive, send)

    async def check() -> bytes:
        async with network_node(mounts=(("/", page),)) as tested:
            reader, writer = await asyncio.open_connection("127.0.0.1", tested.listener.port)
            writer.write(b"GET /wall HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = await reader.read()
            writer.close()
            assert await is_accepted(tested.listener, "/v1/stream")
            return received

    assert b"page /wall" in asyncio.run(check())


def test_the_audio_of_an_aborted_connection_is_flushed() -> None:
    async def check() -> int | None:
        token = "sesame-open-sesame"
        proxied = {"X-Forwarded-For": "203.0.113.5", "Authorization": f"Bearer {token}"}
        async with (
            network_node(serve={"token": token, "trusted_proxies": ["127.0.0.1"]}) as tested,
            connect(tested.listener, "/v1/stream", additional_headers=proxied) as link,
        ):
            await link.send(json.dumps(START))
            await link.recv()
            await link.send(LOUD[:8_000, 0].astype("<i2").tobytes())
            await tested.first_event()
            (connection,) = tested.gateway._connections
            connection._transport.abort()
            await link.wait_closed()
            await tested.wait_ended("desk")
            code: int | None = link.close_code
            return code

    assert asyncio.run(check()) == 1006


def test_an_audiohook_probe_opens_no_call() -> None:
    async def check() -> list[Any]:
        async with network_node() as tested:
            async with connect(tested.listener, "/v1/audiohook") as link:
                client = AudioHook(link)
                await client.open(probe=True)
                await client.send("close", {"reason": "end"})
                await client.receive("closed")
            return tested.events

    assert not asyncio.run(check())


def test_events_are_sent_to_genesys() -> None:
    async def check() -> list[str]:
        async with network_node() as tested:
            return await SYSTEMS["audiohook"](tested.listener, CALL)

    messages = [json.loads(message) for message in asyncio.run(check())]
    assert [message["type"] for message in messages[:2]] == ["opened", "pong"]
    assert messages[-1]["type"] == "closed"
    calls = [
        entity["data"]
        for message in messages
        if message["type"] == "event"
        for entity in message["parameters"]["entities"]
        if entity["data"]["type"] == "call"
    ]
    assert calls[-1]["phase"] == "final"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EXCHANGES))
def test_hostile_connections_do_not_affect_a_call(name: str) -> None:
    """A hundred connections send corrupted messages while a call is in progress."""
    chance = random.Random(11)

    async def attack(tested: Any) -> None:
        valid = EXCHANGES[name][1]
        invalid = corrupted(valid, chance)
        messages = [*valid[: chance.randrange(len(valid))], *(next(invalid) for _ in range(20))]
        try:
            if name == "audiosocket":
                _, writer = await asyncio.open_connection("127.0.0.1", tested.listener.audiosocket_port)
                for message in messages:
                    writer.write(message.encode("utf-8", "replace") if isinstance(message, str) else message)
                await writer.drain()
                writer.close()
                return
            async with connect(tested.listener, f"/v1/{'stream' if name == 'generic' else name}") as link:
                for message in messages:
                    await link.send(
                        message.encode("utf-8", "replace").decode() if isinstance(message, str) else message
                    )
        except (websockets.ConnectionClosed, ConnectionError):
            return

    async def check() -> tuple[CallEvent, int]:
        async with network_node(serve={"max_streams": 10_000, "streams_per_peer": 10_000}) as tested:
            call = asyncio.create_task(SYSTEMS["generic"](tested.listener, CALL, name="undisturbed"))
            for _ in range(10):
                await asyncio.gather(*(attack(tested) for _ in range(10)))
            await call
            final = next(
                event
                for event in tested.events
                if isinstance(event, CallEvent) and event.phase == "final" and event.call == "undisturbed"
            )
            await wait_until(lambda: not any(row.open for row in tested.gateway.statistics().protocols))
            return final, tested.gateway.statistics().streams

    final, streams = asyncio.run(asyncio.wait_for(check(), 60))
    assert final.end_s == 3.0
    assert streams == 0


def test_a_stop_gives_each_caller_the_figures_of_its_call_before_the_good_bye() -> None:
    async def caller(listener: NetworkListener, number: int, started: asyncio.Barrier) -> list[Any]:
        async with connect(listener, "/v1/stream") as link:
            parties = {"call": f"desk{number}", "channels": 2, "parties": ["customer", "agent"]}
            await link.send(json.dumps({"type": "start", "rate_hz": 8_000, **parties}))
            received = [json.loads(await link.recv())]
            await link.send(LOUD[:8_000].astype("<i2").tobytes())
            await started.wait()
            return received + [json.loads(message) for message in await receive_all(link)]

    async def check() -> list[list[Any]]:
        started = asyncio.Barrier(11)
        async with network_node() as tested:
            calls = [asyncio.create_task(caller(tested.listener, number, started)) for number in range(10)]
            await started.wait()
            tested.pipeline.stop()
            return await asyncio.gather(*calls)

    for received in asyncio.run(check()):
        assert (received[-2]["type"], received[-2]["phase"]) == ("call", "final")
        assert received[-1]["code"] == "stopping"
