"""The connection of `tonewatch send`: audio goes out, events may come back, and a lost node is found again."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from stream.app import registry
from stream.app.signals import SignalHandler
from stream.errors import SettingsError
from stream.events.text import printable
from stream.pipeline.failures import root_error
from stream.settings import SourceSettings
from stream.sinks.tls import verifying_context
from stream.tools.send.unsent import MAX_UNSENT_S, UnsentAudio
from stream.types import Interruption, Source

DEFAULT_PORT = 8765
PATH = "/v1/stream"

MAX_PAUSE_S = 10.0
"""Longest pause between two attempts to connect: what is kept has to last beyond it."""

ANSWER_TIMEOUT_S = 30.0
"""Longest wait for the node to start a stream, and for its last events."""

PING_S = 5.0
"""Interval of pings, and longest wait for the answer to one: what a frozen network swallows is lost."""

CATCH_UP_PACE = 2.0
"""Speed at which audio is sent that was kept during an outage; at once, the node would leave out most windows."""

MAX_BURST_S = 2.0
"""Audio that is sent at once."""

MIN_AGE_S = 1.0
"""Age from which the node gets to know when audio was recorded."""

MAX_AGE_S = 300.0
"""Greatest age that a node accepts."""

PERMANENT = frozenset({"malformed", "unauthorized"})
"""Errors of a node that another attempt does not change."""


class NodeRefused(ConnectionError):
    """The node ended the stream, for now."""


class Sender:
    """Sends the audio of a source to a node until it ends, or `stop` is called.

    Args:
        source: Whose audio is sent.
        url: Address of the node, as `node_url` returns it.
        name: Name that the stream asks for.
        token: Token of the node; empty: none.
        ca_file: Certificates of the authority of a `wss` node; empty: the system's.
        on_event: Called with each event, a line of JSON; None: no events are asked for.
        sleep: Waits for a number of seconds.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        *,
        source: Source,
        url: str,
        name: str,
        token: str = "",
        ca_file: str = "",
        on_event: Callable[[str], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._url, self._name, self._on_event = source, url, name, on_event
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._tls = verifying_context(ca_file, key="--ca-file") if url.startswith("wss:") else None
        self._sleep, self._clock = sleep, clock
        self._reason = ""  # why there is no connection

    def stop(self) -> None:
        """End the audio; what was recorded is sent."""
        self._source.stop()

    async def run(self) -> None:
        """Send everything. Raises `SourceError`, or `SettingsError` if the node refuses for good."""
        async with self._source.blocks() as blocks:
            audio = self._source.format
            unsent = UnsentAudio(rate_hz=audio.rate_hz, live=self._source.live, clock=self._clock)
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._keep_sending(unsent), name="send")
                async for block in blocks:
                    if not isinstance(block, Interruption):
                        await unsent.put(block.samples)
                await unsent.close()
                await sending
        _tell_dropped(unsent)

    async def _keep_sending(self, unsent: UnsentAudio) -> None:
        pause_s = 1.0
        while True:
            try:
                async with connect(
                    self._url,
                    ssl=self._tls,
                    additional_headers=self._headers,
                    ping_interval=PING_S,
                    ping_timeout=PING_S,
                ) as connection:
                    await self._start(connection, unsent)
                    pause_s = 1.0
                    await self._exchange(connection, unsent)
                    return
            except InvalidStatus as error:
                self._judge(error.response.status_code)
                reason = f"status {error.response.status_code}"
            except InvalidURI as error:
                raise SettingsError(f"{self._url!r} is no address of a node ({error}); use ws://HOST:8765") from None
            except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake) as error:
                reason = str(error) or type(error).__name__
            if reason != self._reason:  # each once
                self._reason = reason
                _print(f"{self._url}: not connected ({printable(reason)}); trying again")
            await self._sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter keeps many clients apart
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _judge(self, status: int) -> None:
        """Raise `SettingsError` for an answer to the request that another attempt does not change."""
        if status in (401, 403):
            raise SettingsError("the node refused the token; set serve.token, or serve.token_file, to the node's")
        if status == 404:  # noqa: PLR2004 - as in HTTP
            raise SettingsError(f"no node listens at {self._url}; use ws://HOST:PORT{PATH}")

    async def _start(self, connection: ClientConnection, unsent: UnsentAudio) -> None:
        """Open the stream. Raises `SettingsError` or `NodeRefused` if the node does not."""
        audio = self._source.format
        start = {
            "type": "start",
            "rate_hz": audio.rate_hz,
            "channels": audio.channels,
            "format": "s16le",
            "source": self._name,
            "events": self._on_event is not None,
        }
        if (age_s := unsent.age_s) >= MIN_AGE_S:
            start["age_s"] = round(min(age_s, MAX_AGE_S), 3)
        await connection.send(json.dumps(start))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            answer = _parsed(await connection.recv())
        _raise_error(answer)
        self._reason = ""
        _print(f"sending to {self._url} as {printable(str(answer.get('source', self._name)))!r}")
        _tell_dropped(unsent)

    async def _exchange(self, connection: ClientConnection, unsent: UnsentAudio) -> None:
        """Send until the audio ends, receive until the node has said so."""
        receiving = asyncio.create_task(self._receive(connection), name="events")
        try:
            sending = asyncio.create_task(self._send(connection, unsent), name="audio")
            try:
                await asyncio.wait([receiving, sending], return_when=asyncio.FIRST_COMPLETED)
                if not sending.done():  # the node has ended the stream
                    await receiving
                    raise NodeRefused("the node ended the stream")
                await sending
            finally:
                sending.cancel()
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if not await receiving:
                    _print(f"{self._url}: the node did not confirm the end; its last audio may be lost")
        finally:
            receiving.cancel()

    async def _send(self, connection: ClientConnection, unsent: UnsentAudio) -> None:
        started_s, sent_s = self._clock(), 0.0
        while (chunk := await unsent.first()) is not None:
            data, length_s = chunk
            early_s = sent_s - MAX_BURST_S - CATCH_UP_PACE * (self._clock() - started_s)
            if early_s > 0:
                await self._sleep(early_s / CATCH_UP_PACE)
            await connection.send(data)
            sent_s += length_s
            await unsent.remove_first(data)
        await connection.send(json.dumps({"type": "stop"}))

    async def _receive(self, connection: ClientConnection) -> bool:
        """Pass events on; returns whether the node has confirmed the end. Raises `SettingsError` or `NodeRefused`."""
        async for message in connection:
            answer = _parsed(message)
            if answer.get("type") == "stopped":
                return True
            _raise_error(answer)
            if self._on_event is not None and "schema" in answer:
                self._on_event(message if isinstance(message, str) else message.decode())
        return False


def node_url(text: str) -> str:
    """Return the address of a node from `HOST`, `HOST:PORT` or `ws://HOST:PORT[/PATH]`. Raises `SettingsError`."""
    address = text if "://" in text else f"ws://{text}"
    try:
        url = urlsplit(address)
        host, port = url.hostname, url.port
    except ValueError:
        host, port = None, None
    if url.scheme not in ("ws", "wss") or not host or url.query or url.username:
        raise SettingsError(f"{text.partition('?')[0]!r} is no address of a node; use ws://HOST:{DEFAULT_PORT}")
    netloc = f"[{host}]" if ":" in host else host
    port = port or (DEFAULT_PORT if "://" not in text else None)
    return f"{url.scheme}://{netloc}{f':{port}' if port else ''}{url.path if url.path.strip('/') else PATH}"


def send_until_stopped(
    source: Mapping[str, Any], *, url: str, name: str, token: str, ca_file: str, with_events: bool
) -> int:
    """Send a source until it ends or a signal arrives, and return the exit code. Raises `TonewatchError`."""

    async def run() -> int:
        signals = SignalHandler()
        signals.install(asyncio.get_running_loop())
        settings = SourceSettings.model_validate(source)
        made = registry.source(settings)
        sender = signals.run = Sender(
            source=made,
            url=node_url(url),
            name=name or made.id,
            token=token,
            ca_file=ca_file,
            on_event=_print_event if with_events else None,
        )
        try:
            await sender.run()
        except BaseExceptionGroup as group:
            raise root_error(group) from None
        return signals.exit_code

    return asyncio.run(run())


def _tell_dropped(unsent: UnsentAudio) -> None:
    if dropped_s := unsent.take_dropped_s():
        _print(f"{dropped_s:.1f} s of audio dropped; without a connection {MAX_UNSENT_S:g} s are kept")


def _parsed(message: str | bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(message)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {}


def _raise_error(answer: Mapping[str, Any]) -> None:
    if answer.get("type") != "error":
        return
    message = printable(str(answer.get("message", "")))
    if answer.get("code") in PERMANENT:
        raise SettingsError(f"the node refused the stream: {message}")
    raise NodeRefused(message)


def _print_event(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _print(message: str) -> None:
    sys.stderr.write(f"tonewatch: {message}\n")
