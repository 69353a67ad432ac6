"""One connection to an MQTT broker; only this module and `properties` import aiomqtt and paho.

`BrokerConnection` extends aiomqtt's client:

* `post` publishes without a task per message and reports the broker's reason code through a callback; aiomqtt's own
  `publish` takes a message that an access list refused (MQTT 5) for a delivered one.
* A socket whose TLS or WebSocket handshake fails is closed; paho leaves it open.
* `abort_connect` interrupts a connection attempt, so that an unresponsive broker cannot delay a shutdown by paho's
  timeouts: connecting blocks a thread that the event loop waits for.
* The queue of incoming messages is bounded; messages beyond it are dropped.
* What the broker announces in CONNACK is honoured: its maximum packet size, receive maximum, maximum QoS and whether it
  retains messages (paho honours the keep-alive; topic aliases and sessions are not used). What `refusals` has a verdict
  about is not sent either. In both cases `post` reports a refusal, as if the broker had.

A connection is used once: paho keeps messages in flight and would resend them without the outbox knowing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from stream.clock import steady_s
from stream.settings import MqttSettings
from stream.sinks.mqtt.refusals import (
    MIN_FAILURE_CODE,
    NOT_AUTHORIZED,
    PACKET_TOO_LARGE,
    BrokerLimits,
    Packet,
    Refusals,
    acknowledgements,
)
from stream.sinks.mqtt.topics import BrokerAddress

MAX_IN_FLIGHT_MESSAGES = 20
"""Messages published but not acknowledged; brokers accept at least as many (mosquitto's receive maximum)."""

MAX_INCOMING_MESSAGES = 64
"""Default bound of the queue of incoming messages."""

RECEIVED_BYTES = 65_536
"""Bytes read from a connection that is lost."""

CONNECT_TIMEOUT_S = 5.0
SUBSCRIBE_TIMEOUT_S = 10.0
SHUTDOWN_TIMEOUT_S = 1.0
VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}

BrokerError = aiomqtt.MqttError
IncomingMessage = aiomqtt.Message

client_log = logging.getLogger("mqtt")
client_log.addFilter(lambda record: not str(record.msg).startswith("failed to receive on socket"))  # reported as a loss

KEEP_ALIVE_TIMEOUT = 0x8D
"""paho's reason when the broker did not answer a ping."""

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
        refusals: Refusals | None = None,
    ) -> None:
        self.limits = BrokerLimits()
        """What the broker announced, once connected."""
        self.closed_by_broker = False
        self.disconnect_code, self.disconnect_reason = 0, ""
        """The broker's reason code and its name, 0 and "" if it gave none."""
        self._refusals = refusals or Refusals(clock=steady_s)
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
            logger=client_log,
        )
        self._disconnected.add_done_callback(_retrieve_exception)
        self._outcomes: dict[int, tuple[Packet, Outcome]] = {}
        self._unconfirmed: deque[Packet] = deque(maxlen=MAX_IN_FLIGHT_MESSAGES)  # of QoS 0: nothing acknowledges them
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
        """Publish; `outcome` is called on the acknowledgement (QoS 0: once it is sent) or refusal.

        Raises `BrokerError`.
        """
        packet = Packet(topic, payload, self._size(topic, payload, properties), steady_s())
        limit = self.limits.max_packet_bytes
        if limit is not None and packet.size > limit:
            outcome(PACKET_TOO_LARGE, f"the broker takes packets of {limit} bytes at most; this one has {packet.size}")
            return
        if verdict := self._refusals.verdict(topic, payload, packet.size):
            outcome(NOT_AUTHORIZED, verdict)
            return
        if self._refusals.has_suspects:
            qos = max(qos, 1)  # only an acknowledgement clears a suspect
        qos = min(qos, self.limits.max_qos)
        info = self._client.publish(topic, payload, qos, retain and self.limits.can_retain, properties)
        if info.rc:
            raise aiomqtt.MqttCodeError(info.rc, "could not publish")
        if not qos:
            self._unconfirmed.append(packet)
        if info.is_published():
            outcome(0, "")
        else:
            self._outcomes[info.mid] = packet, outcome

    @property
    def in_flight(self) -> list[Packet]:
        """Packets that the broker has not acknowledged, and the newest ones of QoS 0."""
        return [packet for packet, _ in self._outcomes.values()] + list(self._unconfirmed)

    def _size(self, topic: str, payload: str | bytes, properties: Properties | None) -> int:
        """Return the size of a PUBLISH packet; at most a few bytes too large."""
        parts = len(topic.encode()) + len(payload if isinstance(payload, bytes) else payload.encode())
        packed: Any = properties.pack() if properties is not None else b"\0" * self.v5  # type: ignore[no-untyped-call]
        return parts + 9 + len(packed)

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

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        self.limits = BrokerLimits(
            max_packet_bytes=getattr(properties, "MaximumPacketSize", None),
            max_in_flight=min(MAX_IN_FLIGHT_MESSAGES, getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT_MESSAGES)),
            max_qos=getattr(properties, "MaximumQoS", 2),
            can_retain=bool(getattr(properties, "RetainAvailable", 1)),
        )
        # paho queues messages beyond this; its setter refuses a change on a connection, though none was sent yet
        self._client._max_inflight_messages = self.limits.max_in_flight  # noqa: SLF001
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        if not self._disconnected.done():
            self.closed_by_broker = reason_code.value not in (0, KEEP_ALIVE_TIMEOUT)
            if flags.is_disconnect_packet_from_server:
                self.disconnect_code, self.disconnect_reason = reason_code.value, str(reason_code)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_socket_close(self, client: Any, userdata: Any, sock: Any) -> None:
        """Read the acknowledgements that arrived before the connection was lost, or their messages would be sent twice.

        paho closes a socket when it cannot write to it, without reading what it holds.
        """
        packet = client._in_packet  # noqa: SLF001
        if isinstance(sock, socket.socket) and (
            not packet["command"] or (packet["have_remaining"] and not packet["to_process"])
        ):
            with suppress(OSError, ValueError, KeyError):
                sock.setblocking(False)
                for mid, code in acknowledgements(sock.recv(RECEIVED_BYTES)):
                    self._settle(mid, ReasonCode(PacketTypes.PUBACK, identifier=code))
        super()._on_socket_close(client, userdata, sock)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        if mid not in self._outcomes:
            super()._on_publish(client, userdata, mid, reason_code, properties)
            return
        self._settle(mid, reason_code)

    def _settle(self, mid: int, reason: Any) -> None:
        """Report the broker's answer to a packet."""
        if mid not in self._outcomes:
            return
        packet, outcome = self._outcomes.pop(mid)
        if reason.value < MIN_FAILURE_CODE:
            self._refusals.acknowledged(packet)
        else:
            self._refusals.refused(packet, code=reason.value)
        outcome(reason.value, f"{reason}, code 0x{reason.value:02X}")

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
