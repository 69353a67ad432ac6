"""The layout of MQTT topics (pure).

PREFIX/NODE/availability          online | offline       retained, and the will
PREFIX/NODE/info                  versions, models, …    retained
PREFIX/NODE/health                health event           retained: rolling state
PREFIX/NODE/outbox                what had to be dropped retained, when something was
PREFIX/NODE/command               commands               ours to read, if any are allowed
PREFIX/NODE/response              their answers          not retained
PREFIX/NODE/SOURCE/availability   online | offline       retained
PREFIX/NODE/SOURCE/state          what the stream does   retained
PREFIX/NODE/SOURCE/emotion        emotion event          retained: rolling state
PREFIX/NODE/SOURCE/speaker        speaker event          retained: rolling state
PREFIX/NODE/SOURCE/call           call events            retained: rolling state; not the final one
PREFIX/NODE/SOURCE/alert          alert events           not retained
PREFIX/NODE/SOURCE/speaker_resolved  corrections          not retained
PREFIX/NODE/SOURCE/turn           turn events            not retained: each counts, once
PREFIX/NODE/SOURCE/stream         stream events          not retained
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from stream.errors import SettingsError
from stream.events import NODE, Event
from stream.settings import MqttSettings

TRANSPORTS: dict[str, tuple[int, bool, Literal["tcp", "websockets"]]] = {
    "mqtt": (1883, False, "tcp"),
    "mqtts": (8883, True, "tcp"),
    "mqtt+ws": (80, False, "websockets"),
    "mqtt+wss": (443, True, "websockets"),
}
DEFAULT_PREFIX = "tonewatch"
RETAINED = ("availability", "state", "emotion", "speaker", "call")
"""What the broker keeps of a source, until it is taken back."""

_UNFIT = re.compile(r"[+#/%\x00-\x1f\x7f]")  # wildcards, the separator, what stands for them, controls


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where to connect, as whom, and under which prefix to publish."""

    host: str
    port: int
    tls: bool
    username: str
    prefix: str
    transport: Literal["tcp", "websockets"] = "tcp"


def parse(target: str, settings: MqttSettings) -> BrokerAddress:
    """`mqtt://[user@]host[:port][/prefix]`; `mqtts://`, `mqtt+ws://`, `mqtt+wss://`. Raises `SettingsError`."""
    try:
        url = urlsplit(target)
        usual, tls, transport = TRANSPORTS.get(url.scheme, (0, False, "tcp"))
        host, port = url.hostname, url.port or usual
    except ValueError:
        host, port = None, 0
    if not host or not port or url.scheme not in TRANSPORTS:
        raise SettingsError(f"{_shown(target)} is no broker; write mqtt://HOST:PORT/PREFIX or mqtts://HOST:PORT/PREFIX")
    if url.password is not None:
        raise SettingsError(
            "a password does not belong into a sink's address, where others can read it; "
            "set the environment variable TONEWATCH__MQTT__PASSWORD instead"
        )
    prefix = unquote(url.path).strip("/") or DEFAULT_PREFIX
    if _UNFIT.search(prefix.replace("/", "")) or "#" in target or "?" in target:  # an address ends where these begin
        raise SettingsError(f"the topic prefix in {_shown(target)} must not hold +, # or ?")
    return BrokerAddress(
        host=host,
        port=port,
        tls=tls or settings.tls,
        username=unquote(url.username or "") or settings.username,
        prefix=prefix,
        transport=transport,
    )


def level(name: str) -> str:
    """A name as one level of a topic; different names give different levels (`a/b` gives `a%2Fb`)."""
    return (
        "".join(
            f"%{ord(letter):02X}" if _UNFIT.match(letter) else letter
            for letter in name.encode(errors="replace").decode()
        )
        or "%"
    )


def of_node(prefix: str, node: str, leaf: str) -> str:
    """A topic of the node's own."""
    return f"{prefix}/{level(node)}/{leaf}"


def of_source(prefix: str, node: str, source: str, leaf: str) -> str:
    """A topic of one stream."""
    return f"{prefix}/{level(node)}/{level(source)}/{leaf}"


def of(event: Event, *, prefix: str, node: str) -> str:
    """Where an event goes."""
    if event.source == NODE:
        return of_node(prefix, node, event.type)
    return of_source(prefix, node, event.source, event.type)


def _shown(target: str) -> str:
    """A target without what might be a password."""
    scheme, _, rest = target.partition(":")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if "@" in rest else target
