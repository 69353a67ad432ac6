"""One connection to an MQTT broker: the only module of the sinks that imports aiomqtt and paho.

`BrokerConnection` extends aiomqtt's client:

* `post` publishes without a task per message and reports the broker's reason code through a callback; aiomqtt's own
  `publish` takes a message that an access list refused (MQTT 5) for a delivered one.
* A socket whose TLS or WebSocket handshake fails is closed; paho leaves it open.
* `abort_connect` interrupts a connection attempt, so that an unresponsive broker cannot delay a shutdown by paho's
  timeouts: connecting blocks a thread that the event loop waits for.
* The queue of incoming messages is bounded; messages beyond it are dropped.

A connection is used once: paho keeps messages in flight and would resend them without the outbox knowing.
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

MAX_IN_FLIGHT_MESSAGES = 20
"""Messages published but not acknowledged; brokers accept at least as many (mosquitto's receive maximum)."""

MAX_INCOMING_MESSAGES = 64
"""Default bound of the queue of incoming messages."""

MAX_PASSWORD_LENGTH = 65_535
"""The protocol's limit."""

MIN_FAILURE_CODE = 0x80
"""Reason codes from here on are failures (MQTT 5, section 2.4)."""

QUOTA_EXCEEDED = 0x97
"""The failure that permits a retry."""

CONNECT_TIMEOUT_S = 5.0
SUBSCRIBE_TIMEOUT_S = 10.0
SHUTDOWN_TIMEOUT_S = 1.0
VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}

BrokerError = aiomqtt.MqttError
IncomingMessage = aiomqtt.Message

Outcome = Callable[[int, str], None]
"""Called once with the broker's reason code and its name; with 0 and "" where there is none."""


def _retrieve_exception(disconnected: asyncio.Future[None]) -> None:
    """Mark the reason of a disconnect as read: the user of the connection reports it, asyncio must not log it again."""
    if not disconnected.cancelled():
        disconnected.exception()


class BrokerConnection(aiomqtt.Client):
    """One connection; it can be entered once. The broker publishes `will` when it is lost."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        settings: MqttSettings,
        identifier: str,
        tls: ssl.SSLContext | None,
        password: str,
        will: tuple[str, str] | None = None,
        max_incoming: int = MAX_INCOMING_MESSAGES,
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
            will=None if will is None else aiomqtt.Will(*will, qos=settings.qos, retain=True),
            transport=address.transport,
            websocket_path=settings.websocket_path if address.transport == "websockets" else None,
            tls_context=tls,
            max_inflight_messages=MAX_IN_FLIGHT_MESSAGES,
            max_queued_incoming_messages=max_incoming,
        )
        self._disconnected.add_done_callback(_retrieve_exception)
        self._outcomes: dict[int, Outcome] = {}
        self._connecting: list[socket.socket] = []
        self._connecting_lock = threading.Lock()
        self._aborted = False
        paho: Any = self._client  # both replaced methods are private to paho; a test checks that they still exist
        paho._create_socket_connection = self._open_socket  # noqa: SLF001
        paho._ssl_wrap_socket = self._wrap_socket  # noqa: SLF001

    def abort_connect(self) -> None:
        """Interrupt a connection attempt; an established connection is not affected."""
        with self._connecting_lock:
            self._aborted = True
            for attempt in self._connecting:
                with suppress(OSError):
                    attempt.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for the broker

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
        """Publish; `outcome` is called on the acknowledgement (QoS 0: once it is sent). Raises `BrokerError`."""
        info = self._client.publish(topic, payload, qos, retain, properties)
        if info.rc:
            raise aiomqtt.MqttCodeError(info.rc, "could not publish")
        if info.is_published():
            outcome(0, "")
        else:
            self._outcomes[info.mid] = outcome

    async def subscribe_to(self, topic: str, *, qos: int = 1) -> str:
        """Subscribe and wait for the SUBACK; returns the reason of a refusal, else "". Raises `BrokerError`."""
        request = asyncio.create_task(
            self.subscribe(topic, qos=qos, timeout=SUBSCRIBE_TIMEOUT_S), name="mqtt subscription"
        )
        try:
            await asyncio.wait((request, self._disconnected), return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                raise aiomqtt.MqttError("connection lost before the subscription was acknowledged")
            code = request.result()[0]
        finally:
            request.cancel()
            with suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await request
        value = code if isinstance(code, int) else code.value
        return str(code) if value >= MIN_FAILURE_CODE else ""

    async def __aenter__(self) -> Self:
        """Connect. Raises `BrokerError`."""
        try:
            await super().__aenter__()
        except BaseException as error:
            self.abort_connect()
            self.close_without_disconnect()
            if isinstance(error, ValueError):  # a bad certificate or host name: paho does not translate these
                raise aiomqtt.MqttError(str(error)) from None
            raise
        with self._connecting_lock:
            self._connecting.clear()
        self.timeout = SHUTDOWN_TIMEOUT_S
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Disconnect; the socket is closed even if the broker does not answer."""
        try:
            await super().__aexit__(exc_type, exc, tb)
        except aiomqtt.MqttError:
            pass
        finally:
            self.close_without_disconnect()

    def close_without_disconnect(self) -> None:
        """Close the socket without a DISCONNECT packet, so that the broker publishes the will."""
        self._client._reset_sockets()  # noqa: SLF001 - paho's public way sends DISCONNECT

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        outcome = self._outcomes.pop(mid, None)
        if outcome is None:
            super()._on_publish(client, userdata, mid, reason_code, properties)
        else:
            outcome(reason_code.value, str(reason_code))

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002 - paho's own
        """Register a writer as aiomqtt does, except for a socket that was closed in the meantime."""

        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:  # noqa: BLE001 - any error means that the connection is lost
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def register() -> None:
            if sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), write)

        self._loop.call_soon_threadsafe(register)

    def _open_socket(self) -> socket.socket:
        """Open a TCP connection that `abort_connect` can interrupt; runs in a thread."""
        failure = OSError(f"host name {self._hostname!r} has no address")
        addresses = socket.getaddrinfo(self._hostname, self._port, 0, socket.SOCK_STREAM)
        for family, kind, protocol, _, address in addresses:
            attempt = socket.socket(family, kind, protocol)
            try:
                self._track(attempt)
                attempt.settimeout(CONNECT_TIMEOUT_S)
                attempt.connect(address)
            except OSError as error:
                attempt.close()
                failure = error
            else:
                if not self._aborted:
                    return attempt
                attempt.close()
        raise failure

    def _wrap_socket(self, tcp: socket.socket) -> ssl.SSLSocket:
        """Do the TLS handshake, and close a socket that fails it; runs in a thread."""
        context = self._client._ssl_context  # noqa: SLF001 - the context given to `tls_set_context` has no public name
        assert context is not None  # noqa: S101 - paho calls this only with a context
        secured = context.wrap_socket(tcp, server_hostname=self._hostname, do_handshake_on_connect=False)
        try:
            self._track(secured)
            secured.settimeout(CONNECT_TIMEOUT_S)
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        return secured

    def _track(self, attempt: socket.socket) -> None:
        """Make a socket known to `abort_connect`. Raises `OSError` after an abort."""
        with self._connecting_lock:
            if self._aborted:
                raise OSError("connection attempt aborted")
            self._connecting.append(attempt)


@lru_cache(maxsize=32)
def _permanent_properties(content_type: str) -> Properties:
    """Properties of a payload that does not expire, cached because they are slow to build."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = content_type
    return properties


def publish_properties(*, content_type: str, expires_s: float | None, v5: bool) -> Properties | None:
    """Build the MQTT 5 properties of a payload; None for a 3.1.1 connection."""
    if not v5:
        return None
    if expires_s is None:
        return _permanent_properties(content_type)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = content_type
    properties.MessageExpiryInterval = max(1, math.ceil(expires_s))
    return properties


def response_target(message: IncomingMessage, *, v5: bool) -> tuple[str, Properties | None]:
    """Return a request's response topic (MQTT 5; "" if it names none) and the properties of the response."""
    properties = publish_properties(content_type="application/json", expires_s=None, v5=v5)
    request = message.properties
    correlation = getattr(request, "CorrelationData", None)
    if properties is not None and correlation:
        properties = copy(properties)
        properties.CorrelationData = correlation
    return str(getattr(request, "ResponseTopic", "") or ""), properties


def tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """Load the trusted authorities and the client certificate. Raises `SettingsError`."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"cannot load mqtt.ca_file {settings.ca_file!r} ({error}); name a PEM file of certificates"
        ) from None
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file or None, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"cannot load mqtt.cert_file {settings.cert_file!r} ({error}); name a PEM certificate and its key"
            ) from None
    return context


def read_password(settings: MqttSettings) -> str:
    """Return `mqtt.password`, or the content of `mqtt.password_file`. Raises `SettingsError`."""
    if not settings.password_file:
        return settings.password.get_secret_value()
    path = Path(settings.password_file)
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"mqtt.password_file {str(path)!r} is readable by others; run `chmod 600 {path}`")
        text = path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read mqtt.password_file {str(path)!r} ({error}); name a text file") from None
    if not text or "\n" in text or len(text) > MAX_PASSWORD_LENGTH:
        raise SettingsError(f"mqtt.password_file {str(path)!r} is not a password; write one line, the password")
    return text


def _no_password() -> str:
    """Refuse an encrypted key, for which OpenSSL would otherwise prompt on the terminal."""
    raise ssl.SSLError("the private key is encrypted; use an unencrypted key readable by its owner only")


async def cancel_and_wait(task: asyncio.Task[None], *, retry_s: float) -> None:
    """Cancel a task that uses a connection, again every `retry_s`, and wait until it has ended.

    aiomqtt may lose a cancellation while it connects (`asyncio.wait_for` of Python 3.11, gh-86296).
    """
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=retry_s)
