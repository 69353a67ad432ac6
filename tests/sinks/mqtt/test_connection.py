"""Connections to a real mosquitto: protocol versions, transports, TLS, passwords."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.client import Client as PahoClient
from pydantic import SecretStr

from stream.errors import BrokerUnreachable, SettingsError
from stream.settings import MqttSettings
from stream.sinks.mqtt.connection import BrokerConnection
from stream.sinks.mqtt.credentials import read_password
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.mqtt import FAST_LIMITS, mqtt_sink, subscriber
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TURN = "home/kitchen/room/turn"


@pytest.mark.parametrize("options", [{"protocol": "3.1.1"}, {"scheme": "mqtt+ws", "websocket_path": "/mqtt"}])
def test_protocol_3_and_websockets_deliver_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    websockets = options.get("scheme") == "mqtt+ws"

    async def check() -> None:
        port = broker.websocket_port if websockets else broker.port
        async with subscriber(broker.port) as received, mqtt_sink(port, **options) as sink:
            for number in range(30):
                await sink.send(examples.event(examples.turn(number), seq=number))
            await received.until(lambda: len(received.payloads(TURN)) == 30)
            ids = [json.loads(payload)["id"] for payload in received.payloads(TURN)]
            assert ids == [f"s/room/{number}" for number in range(30)]
        assert sink.statistics().sent >= 30

    with Broker(tmp_path, websockets=websockets) as broker:
        asyncio.run(check())


def test_a_server_is_trusted_by_its_certificate_only(tmp_path: Path, certificates: Path) -> None:
    async def send_one(ca_file: str, **options: Any) -> int:
        async with mqtt_sink(broker.port, scheme="mqtts", host="localhost", ca_file=ca_file, **options) as sink:
            await sink.send(examples.event(examples.turn(1)))
        return sink.statistics().sent

    with Broker(tmp_path, certificates=certificates) as broker:
        assert asyncio.run(send_one(str(certificates / "server.pem"))) == 1
        with pytest.raises(BrokerUnreachable, match=r"could not reach .*CERTIFICATE_VERIFY_FAILED"):
            asyncio.run(send_one("", limits=FAST_LIMITS))
        gc.collect()  # an open socket would be a warning here, and so an error


def test_a_client_certificate_is_accepted(tmp_path: Path, authority: Path) -> None:
    async def send_one(**options: Any) -> int:
        ca_file = str(authority / "ca.pem")
        async with mqtt_sink(broker.port, scheme="mqtts", host="localhost", ca_file=ca_file, **options) as sink:
            await sink.send(examples.event(examples.turn(1)))
            if "cert_file" in options:
                await wait_until(lambda: sink.statistics().waiting == 0)
        return sink.statistics().sent

    certificate = {"cert_file": str(authority / "client.pem"), "key_file": str(authority / "client.key")}
    with Broker(tmp_path, certificates=authority, client_authority=authority / "ca.pem") as broker:
        assert asyncio.run(send_one(**certificate)) == 1
        with pytest.raises(BrokerUnreachable):
            asyncio.run(send_one(limits=FAST_LIMITS))
    with pytest.raises(SettingsError, match=r"cannot load mqtt\.cert_file .*nowhere\.pem"):
        asyncio.run(send_one(cert_file=str(authority / "nowhere.pem")))


def test_a_password_file_must_be_private_and_hold_one_line(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("right-one\n")
    secret.chmod(0o644)

    async def send_one() -> int:
        async with mqtt_sink(broker.port, username="me", password_file=str(secret)) as sink:
            await sink.send(examples.event(examples.turn(1)))
            await wait_until(lambda: sink.statistics().waiting == 0)
        return sink.statistics().sent

    with Broker(tmp_path, users={"me": "right-one"}) as broker:
        with pytest.raises(SettingsError, match="readable by others"):
            asyncio.run(send_one())
        secret.chmod(0o600)
        assert asyncio.run(send_one()) == 1
    secret.write_text("")
    with pytest.raises(SettingsError, match="write one line"):
        asyncio.run(send_one())


@pytest.mark.parametrize("name", ["/tmp", "/dev/zero"])  # noqa: S108 - it is refused
def test_what_is_no_file_holds_no_password(name: str) -> None:
    with pytest.raises(SettingsError, match=r"mqtt\.password_file '.*' is not a file; name a text file"):
        read_password(MqttSettings(username="me", password_file=name))


def test_a_wrong_password_is_reported_and_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def send_one(password: str, **options: Any) -> None:
        async with mqtt_sink(broker.port, username="me", password=SecretStr(password), **options) as sink:
            await sink.send(examples.event(examples.turn(1)))
            await wait_until(lambda: sink.statistics().waiting == 0 or "cannot connect" in caplog.text)

    caplog.set_level(logging.WARNING)
    with Broker(tmp_path, users={"me": "right-one"}) as broker:
        asyncio.run(send_one("right-one"))
        with pytest.raises(BrokerUnreachable):
            asyncio.run(send_one("wrong-one", limits=FAST_LIMITS))
    assert "ot authorized" in caplog.text
    assert "wrong-one" not in caplog.text


def test_private_methods_that_are_replaced_still_exist() -> None:
    for name in ("_create_socket_connection", "_ssl_wrap_socket", "_reset_sockets"):
        assert callable(getattr(PahoClient, name)), name
    assert issubclass(BrokerConnection, aiomqtt.Client)
    assert callable(aiomqtt.Client._on_publish)
