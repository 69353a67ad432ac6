"""The layout of MQTT topics (pure).

PREFIX/NODE/availability        online | offline      retained, and the will
PREFIX/NODE/info                versions, schema       retained
PREFIX/NODE/health              health event           retained
PREFIX/NODE/SOURCE/emotion      emotion event          retained: rolling state
PREFIX/NODE/SOURCE/speaker      speaker event          retained: rolling state
PREFIX/NODE/SOURCE/turn         turn events            not retained: each counts, once
PREFIX/NODE/SOURCE/stream       stream events          not retained
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from stream import events
from stream.errors import SettingsError
from stream.events import Event
from stream.settings import MqttSettings

PORTS = {"mqtt": 1883, "mqtts": 8883}
DEFAULT_PREFIX = "tonewatch"
_UNFIT = re.compile(r"[+#/\x00-\x1f]")  # wildcards, the separator, controls


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to connect, as whom, and under which prefix to publish."""

    host: str
    port: int
    tls: bool
    username: str
    prefix: str


def parse(target: str, settings: MqttSettings) -> Broker:
    """`mqtt://[user@]host[:port][/prefix]`, or `mqtts://` for TLS. Raises `SettingsError`."""
    url = urlsplit(target)
    try:
        port = url.port or PORTS.get(url.scheme, 0)
    except ValueError:
        port = 0
    if url.scheme not in PORTS or not url.hostname or not port:
        raise SettingsError(f"{_shown(target)} is no broker; write mqtt://HOST:PORT/PREFIX or mqtts://HOST:PORT/PREFIX")
    if url.password is not None:
        raise SettingsError(
            "a password does not belong into a sink's address, where others can read it; "
            "set the environment variable TONEWATCH__MQTT__PASSWORD instead"
        )
    prefix = unquote(url.path).strip("/") or DEFAULT_PREFIX
    if _UNFIT.search(prefix.replace("/", "")) or "#" in target or "?" in target:  # an address ends where these begin
        raise SettingsError(f"the topic prefix in {_shown(target)} must not hold +, # or ?")
    return Broker(
        host=url.hostname,
        port=port,
        tls=url.scheme == "mqtts" or settings.tls,
        username=unquote(url.username or "") or settings.username,
        prefix=prefix,
    )


def level(name: str) -> str:
    """A name as one level of a topic."""
    return _UNFIT.sub("_", name) or "_"


def availability(prefix: str, node: str) -> str:
    """Whether the node is there."""
    return f"{prefix}/{level(node)}/availability"


def info(prefix: str, node: str) -> str:
    """What the node is."""
    return f"{prefix}/{level(node)}/info"


def of(event: Event, *, prefix: str, node: str) -> str:
    """Where an event goes."""
    if event.source == events.NODE:
        return f"{prefix}/{level(node)}/{event.type}"
    return f"{prefix}/{level(node)}/{level(event.source)}/{event.type}"


def _shown(target: str) -> str:
    """A target without what might be a password."""
    scheme, _, rest = target.partition(":")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if "@" in rest else target
