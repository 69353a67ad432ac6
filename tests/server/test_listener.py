"""The real listener on loopback: who gets in, who does not, and what hostile clients can do to others."""

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
from tests.server.node import node
from tests.server.protocols.test_malformed import GOOD, broken
from tests.server.telephone import SYSTEMS, AudioHook, StereoCall, connect, twilio_messages

LOUD = (np.random.default_rng(3).uniform(-0.4, 0.4, (8_000 * 3, 2)) * 32_767).astype(np.int16)
CALL = StereoCall.of(LOUD)
START = {"type": "start", "rate_hz": 8_000, "source": "desk", "events": False}


async def is_let_in(listener: NetworkListener, path: str, **more: Any) -> bool:
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


def test_a_token_is_asked_for_at_every_door() -> None:
    async def check() -> None:
        async with node(serve={"token": "sesame-open-sesame"}) as tested:
            for path in ("/v1/stream", "/v1/asterisk", "/v1/audiohook"):
                assert not await is_let_in(tested.listener, path)
                assert not await is_let_in(tested.listener, f"{path}?token=wrong")
                assert await is_let_in(tested.listener, f"{path}?token=sesame-open-sesame")
                assert await is_let_in(tested.listener, path, additional_headers={"Authorization": "Bearer sesame-open-sesame"})
                cookie = f"{COOKIE}={AccessPolicy(host='127.0.0.1', token='sesame-open-sesame').pass_value}"  # a page's
                assert await is_let_in(tested.listener, path, additional_headers={"Cookie": cookie})
            messages = twilio_messages(CALL)
            for token, code in (("wrong", 1008), ("sesame-open-sesame", 1000)):
                async with connect(tested.listener, "/v1/twilio") as link:
                    messages[1]["start"]["customParameters"] = {"token": token}
                    for message in messages:
                        await link.send(json.dumps(message))
                    await link.wait_closed()
                    assert link.close_code == code
            assert tested.refused["unauthorized"] == 7  # Twilio's wrong token among them

    asyncio.run(check())


def test_keys_and_signatures_are_asked_for_where_they_are_set() -> None:
    async def check() -> None:
        async with node(
            serve={"twilio_auth_token": "t", "audiohook_api_key": "k", "public_url": "wss://c.org"}
        ) as tested:
            assert not await is_let_in(tested.listener, "/v1/twilio")
            digest = hmac.new(b"t", b"wss://c.org/v1/twilio", hashlib.sha1).digest()
            good = {"X-Twilio-Signature": base64.b64encode(digest).decode()}
            assert await is_let_in(tested.listener, "/v1/twilio", additional_headers=good)
            assert not await is_let_in(tested.listener, "/v1/audiohook", additional_headers={"X-API-KEY": "x"})
            assert await is_let_in(tested.listener, "/v1/audiohook", additional_headers={"X-API-KEY": "k"})

    asyncio.run(check())


def test_pages_of_other_origins_stay_out() -> None:
    async def check() -> None:
        async with node(serve={"origins": ["https://pages.example"]}) as tested:
            own = f"http://127.0.0.1:{tested.listener.port}"
            for origin, taken in ((own, True), ("https://pages.example", True), ("https://evil.example", False)):
                assert await is_let_in(tested.listener, "/v1/stream", origin=origin) == taken

    asyncio.run(check())


def test_it_listens_elsewhere_only_with_a_token() -> None:
    async def check(**settings: Any) -> None:
        async with NetworkListener(gateway=Gateway(settings=ServeSettings(**settings))):
            pass

    with pytest.raises(SettingsError, match="TONEWATCH__SERVE__TOKEN"):
        asyncio.run(check(host="0.0.0.0", port=0))  # noqa: S104
    with pytest.raises(SettingsError, match="audiosocket_peers"):
        asyncio.run(check(port=0, audiosocket_peers=["everywhere"]))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}"):
            asyncio.run(check(port=port))


def test_audiosocket_takes_only_the_networks_it_is_told() -> None:
    async def check() -> bytes:
        async with node(serve={"audiosocket_peers": ["10.0.0.0/8"]}) as tested:
            reader, writer = await asyncio.open_connection("127.0.0.1", tested.listener.audiosocket_port)
            came = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return came

    assert asyncio.run(check()) == b""


def test_a_page_can_be_mounted_behind_the_endpoints() -> None:
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(f"page {scope['path']}")(scope, receive, send)

    async def check() -> bytes:
        async with node(mounts=(("/", page),)) as tested:
            reader, writer = await asyncio.open_connection("127.0.0.1", tested.listener.port)
            writer.write(b"GET /wall HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            came = await reader.read()
            writer.close()
            assert await is_let_in(tested.listener, "/v1/stream")
            return came

    assert b"page /wall" in asyncio.run(check())


def test_a_connection_can_be_cut_off_and_its_sound_is_flushed() -> None:
    async def check() -> int | None:
        proxied = {"X-Forwarded-For": "203.0.113.5"}
        async with node() as tested, connect(tested.listener, "/v1/stream", additional_headers=proxied) as link:
            await link.send(json.dumps(START))
            await link.recv()
            await link.send(LOUD[:8_000, 0].astype("<i2").tobytes())
            await tested.first()
            (connection,) = tested.gateway._connections
            connection._link.abort()
            await link.wait_closed()
            await tested.ended("desk")
            code: int | None = link.close_code
            return code

    assert asyncio.run(check()) == 1006


def test_an_audiohook_probe_makes_no_call() -> None:
    async def check() -> list[Any]:
        async with node() as tested:
            async with connect(tested.listener, "/v1/audiohook") as link:
                client = AudioHook(link)
                await client.open(probe=True)
                await client.say("close", {"reason": "end"})
                await client.hear("closed")
            return tested.own

    assert not asyncio.run(check())


def test_results_go_back_to_genesys() -> None:
    async def check() -> list[str]:
        async with node() as tested:
            return await SYSTEMS["audiohook"](tested.listener, CALL)

    came = [json.loads(message) for message in asyncio.run(check())]
    assert [message["type"] for message in came[:2]] == ["opened", "pong"]
    assert came[-1]["type"] == "closed"
    calls = [
        entity["data"]
        for message in came
        if message["type"] == "event"
        for entity in message["parameters"]["entities"]
        if entity["data"]["type"] == "call"
    ]
    assert calls[-1]["phase"] == "final"


@pytest.mark.parametrize("name", sorted(GOOD))
def test_hostile_connections_do_not_touch_a_call(name: str) -> None:
    """A hundred connections that send nonsense, while a call goes on over the same protocol's door."""
    chance = random.Random(11)

    async def attack(tested: Any) -> None:
        good = GOOD[name][1]
        nonsense = broken(good, chance)
        messages = [*good[: chance.randrange(len(good))], *(next(nonsense) for _ in range(20))]
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
        async with node(serve={"max_streams": 10_000, "streams_per_peer": 10_000}) as tested:
            call = asyncio.create_task(SYSTEMS["generic"](tested.listener, CALL, name="undisturbed"))
            for _ in range(10):
                await asyncio.gather(*(attack(tested) for _ in range(10)))
            await call
            final = next(
                event
                for event in tested.own
                if isinstance(event, CallEvent) and event.phase == "final" and event.call == "undisturbed"
            )
            while any(row.open for row in tested.gateway.statistics().protocols):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
            return final, tested.gateway.statistics().streams

    final, streams = asyncio.run(asyncio.wait_for(check(), 60))
    assert final.end_s == 3.0
    assert streams == 0
