"""One connection to an MQTT broker: the only file that knows aiomqtt and paho.

`BrokerConnection` is aiomqtt's client with four things of ours:

* `post` publishes without a task a message and tells by a callback what became of it, the broker's reason included:
  aiomqtt's own `publish` takes a message that an access list refused (MQTT 5) for one that was delivered.
* A socket whose TLS or WebSocket handshake fails is closed; paho forgets it.
* `abandon` breaks off a connection that is still being made, so that a broker that does not answer cannot hold up the
  end of a run by paho's timeouts: connecting blocks a thread that the event loop waits for.
* Incoming messages are few and small, or they are dropped.

A connection is used once. paho keeps what was in flight and would send it again behind our back.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from stream.errors import SettingsError
from stream.settings import MqttSettings
from stream.sinks.mqtt.topics import BrokerAddress

IN_FLIGHT = 20
"""Messages published but not yet acknowledged; brokers promise to take as many (mosquitto's receive maximum)."""

INCOMING = 64
"""Messages from the broker that may wait to be read."""

FAILURE = 0x80
"""Reason codes from here on are refusals (MQTT 5, 2.4)."""

QUOTA_EXCEEDED = 0x97
"""The one refusal that says: later."""

CONNECT_S = 5.0
SUBSCRIBE_S = 10.0
GOODBYE_S = 1.0
VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}

BrokerError = aiomqtt.MqttError
IncomingMessage = aiomqtt.Message

Outcome = Callable[[int, str], None]
"""Called once with the broker's reason code and its name; 0 where there is none."""


def _look_at(gone: asyncio.Future[None]) -> None:
    """Why a connection broke is told by whoever used it; asyncio would log an error of which nobody else asked."""
    if not gone.cancelled():
        gone.exception()


class BrokerConnection(aiomqtt.Client):
    """One connection; entered once."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        settings: MqttSettings,
        identifier: str,
        will: tuple[str, str],
        tls: ssl.SSLContext | None,
        password: str,
    ) -> None:
        self.v5 = settings.protocol == "5"
        super().__init__(
            address.host,
            address.port,
            identifier=identifier,
            username=address.username or None,
            password=password or None,
            protocol=VERSIONS[settings.protocol],
            keepalive=settings.keepalive_s,
            will=aiomqtt.Will(*will, qos=settings.qos, retain=True),
            transport=address.transport,
            websocket_path=settings.websocket_path if address.transport == "websockets" else None,
            tls_context=tls,
            max_inflight_messages=IN_FLIGHT,
            max_queued_incoming_messages=INCOMING,
        )
        self._disconnected.add_done_callback(_look_at)
        self._outcomes: dict[int, Outcome] = {}
        self._dialling: list[socket.socket] = []
        self._dialled = threading.Lock()
        self._abandoned = False
        paho: Any = self._client  # these two are not meant to be replaced; a test watches that they are still there
        paho._create_socket_connection = self._dial  # noqa: SLF001
        paho._ssl_wrap_socket = self._secure  # noqa: SLF001

    def abandon(self) -> None:
        """Break off a connection that is being made; one that is made is not touched."""
        with self._dialled:
            self._abandoned = True
            for half in self._dialling:
                with suppress(OSError):
                    half.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for the broker

    def post(
        self,
        topic: str,
        payload: str | bytes,
        *,
        qos: int,
        retain: bool,
        properties: Properties | None = None,
        outcome: Outcome = lambda code, reason: None,  # noqa: ARG005
    ) -> None:
        """Publish; `outcome` is told when the broker has answered (QoS 0: when it has left). Raises `BrokerError`."""
        info = self._client.publish(topic, payload, qos, retain, properties)
        if info.rc:
            raise aiomqtt.MqttCodeError(info.rc, "could not publish")
        if info.is_published():
            outcome(0, "")
        else:
            self._outcomes[info.mid] = outcome

    async def listen_to(self, topic: str) -> str:
        """Subscribe; returns why not, or nothing. Raises `BrokerError`."""
        codes = await self.subscribe(topic, qos=1, timeout=SUBSCRIBE_S)
        code = codes[0]
        value = code if isinstance(code, int) else code.value
        return str(code) if value >= FAILURE else ""

    async def __aenter__(self) -> Self:
        """Connect. Raises `BrokerError`."""
        try:
            await super().__aenter__()
        except BaseException as error:
            self.abandon()
            self.drop()
            if isinstance(error, ValueError):  # a certificate's, or a host name's: paho lets these through
                raise aiomqtt.MqttError(str(error)) from None
            raise
        with self._dialled:
            self._dialling.clear()
        self.timeout = GOODBYE_S
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Disconnect; from a broker that no longer listens, without its consent."""
        try:
            await super().__aexit__(exc_type, exc, tb)
        except aiomqtt.MqttError:
            pass
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the socket without a good-bye, so that the broker publishes the will."""
        self._client._reset_sockets()  # noqa: SLF001 - paho's own way says good-bye

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        outcome = self._outcomes.pop(mid, None)
        if outcome is None:
            super()._on_publish(client, userdata, mid, reason_code, properties)
        else:
            outcome(reason_code.value, str(reason_code))

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002 - paho's own
        """As aiomqtt does it, but a socket that was closed in the meantime is left alone."""

        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:  # noqa: BLE001 - whatever it is, the connection is lost
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def register() -> None:
            if sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), write)

        self._loop.call_soon_threadsafe(register)

    def _dial(self) -> socket.socket:
        """In a thread: a TCP connection that `abandon` can break off."""
        fault: OSError = OSError("the host's name leads nowhere")
        for family, kind, protocol, _, place in socket.getaddrinfo(self._hostname, self._port, 0, socket.SOCK_STREAM):
            half = socket.socket(family, kind, protocol)
            try:
                self._watch(half)
                half.settimeout(CONNECT_S)
                half.connect(place)
            except OSError as error:
                half.close()
                fault = error
            else:
                if not self._abandoned:
                    return half
                half.close()
        raise fault

    def _secure(self, tcp: socket.socket) -> ssl.SSLSocket:
        """In a thread: the TLS handshake; a socket that fails it is closed."""
        context = self._client._ssl_context  # noqa: SLF001 - there is no other way to what `tls_set_context` was given
        assert context is not None  # noqa: S101 - paho asks for this only with a context
        secured = context.wrap_socket(tcp, server_hostname=self._hostname, do_handshake_on_connect=False)
        try:
            self._watch(secured)
            secured.settimeout(CONNECT_S)
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        return secured

    def _watch(self, half: socket.socket) -> None:
        with self._dialled:
            if self._abandoned:
                raise OSError("the connection was given up")
            self._dialling.append(half)


@lru_cache(maxsize=32)
def _lasting(content_type: str) -> Properties:
    """What is said of a payload that does not expire: always the same, and slow to make."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = content_type
    return properties


def about(*, content_type: str, expires_s: float | None, v5: bool) -> Properties | None:
    """What MQTT 5 says about a payload; None where it cannot be said."""
    if not v5:
        return None
    if expires_s is None:
        return _lasting(content_type)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = content_type
    properties.MessageExpiryInterval = max(1, math.ceil(expires_s))
    return properties


def answering(message: IncomingMessage, *, v5: bool) -> tuple[str, Properties | None]:
    """Where the asker wants his answer (MQTT 5; empty: he did not say), and what must go with it."""
    properties = about(content_type="application/json", expires_s=None, v5=v5)
    given = message.properties
    correlation = getattr(given, "CorrelationData", None)
    if properties is not None and correlation:
        properties = copy(properties)
        properties.CorrelationData = correlation
    return str(getattr(given, "ResponseTopic", "") or ""), properties


def tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """Whom to trust, and whom to be. Raises `SettingsError`."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"mqtt.ca_file: {settings.ca_file} cannot be used: {error}") from None
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file or None, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"mqtt.cert_file: {settings.cert_file} cannot be used: {error}") from None
    return context


def password(settings: MqttSettings) -> str:
    """The password set, or the one in its file. Raises `SettingsError`."""
    if not settings.password_file:
        return settings.password.get_secret_value()
    path = Path(settings.password_file)
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"mqtt.password_file: others can read {path}; run `chmod 600 {path}`")
        text = path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"mqtt.password_file: {path} cannot be read: {error}") from None
    if not text or "\n" in text or len(text) > 65_535:  # noqa: PLR2004 - MQTT's own limit
        raise SettingsError(f"mqtt.password_file: {path} must hold one line, the password")
    return text


def _no_password() -> str:
    """A key with a passphrase would otherwise be asked for at the terminal."""
    raise ssl.SSLError("the key is encrypted; give one that is not, readable by you only")
