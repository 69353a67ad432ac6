"""The layout of MQTT topics (pure).

PREFIX/NODE/availability          online | offline       retained, and the will
PREFIX/NODE/info                  versions, models, …    retained
PREFIX/NODE/health                health event           retained: rolling state
PREFIX/NODE/rooms                 rooms event            retained: rolling state; with `rooms.enabled`
PREFIX/NODE/outbox                losses                 retained; published after the first loss only
PREFIX/NODE/command               commands               subscribed to, if any are allowed
PREFIX/NODE/response              command replies        not retained
PREFIX/NODE/SOURCE/availability   online | offline       retained
PREFIX/NODE/SOURCE/state          state of the stream    retained
PREFIX/NODE/SOURCE/emotion        emotion event          retained: rolling state
PREFIX/NODE/SOURCE/speaker        speaker event          retained: rolling state
PREFIX/NODE/SOURCE/call           call events            retained: rolling state; the final one is not
PREFIX/NODE/SOURCE/alert          alert events           not retained
PREFIX/NODE/SOURCE/speaker_resolved  corrections         not retained
PREFIX/NODE/SOURCE/turn           turn events            not retained
PREFIX/NODE/SOURCE/stream         stream events          not retained
PREFIX/NODE/SOURCE/home           who and how, for Home Assistant    retained
PREFIX/NODE/person/NAME/state     where a person was heard last      retained; opt-in, as the next
PREFIX/NODE/person/NAME/location  home | None            retained

A name becomes one level: `%XX` for what a topic cannot hold (`+`, `#`, `/`, `%`, control characters) and `%uXXXXXX` for
code points that MQTT forbids; different names give different levels, and `name_of_level` reverses it.
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
RETAINED = ("availability", "state", "emotion", "speaker", "call", "home")
"""Last levels of a source's retained topics."""

_RESERVED = re.compile(r"[+#/%\x00-\x1f\x7f]")  # wildcards, the separator, the escape character, control characters


_ENCODED = re.compile("%u([0-9A-F]{6})|%([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker's address, the user name, and the prefix of all topics."""

    host: str
    port: int
    tls: bool
    username: str
    prefix: str
    transport: Literal["tcp", "websockets"] = "tcp"

    @property
    def key(self) -> str:
        """What tells the outbox of this receiver from others."""
        return f"{self.host}\n{self.port}\n{self.prefix}"


def parse_address(target: str, settings: MqttSettings) -> BrokerAddress:
    """Parse `mqtt://[user@]host[:port][/prefix]`, also `mqtts`, `mqtt+ws`, `mqtt+wss`. Raises `SettingsError`."""
    try:
        url = urlsplit(target)
        default_port, tls, transport = TRANSPORTS.get(url.scheme, (0, False, "tcp"))
        host, port = url.hostname, url.port or default_port
    except ValueError:
        host, port = None, 0
    if not host or not port or url.scheme not in TRANSPORTS:
        raise SettingsError(
            f"invalid broker address {_without_password(target)!r}; "
            "use mqtt://HOST:PORT/PREFIX or mqtts://HOST:PORT/PREFIX"
        )
    if url.password is not None:
        raise SettingsError(
            "a broker address must not contain a password, which others can read; "
            "set the environment variable TONEWATCH__MQTT__PASSWORD instead"
        )
    prefix = unquote(url.path).strip("/") or DEFAULT_PREFIX
    if _RESERVED.search(prefix.replace("/", "")) or "#" in target or "?" in target:  # `#` and `?` end a URL's path
        raise SettingsError(
            f"invalid topic prefix in {_without_password(target)!r}; remove +, #, ? and control characters"
        )
    return BrokerAddress(
        host=host,
        port=port,
        tls=tls or settings.tls,
        username=unquote(url.username or "") or settings.username,
        prefix=prefix,
        transport=transport,
    )


def topic_level(name: str) -> str:
    """Encode a name as one topic level; different names give different levels (`a/b` gives `a%2Fb`)."""
    return "".join(map(_encoded, name)) or "%"


def name_of_level(level: str) -> str:
    """Return the name that a topic level encodes."""
    if level == "%":
        return ""
    return _ENCODED.sub(lambda match: chr(int(match[1] or match[2], 16)), level)


def _encoded(character: str) -> str:
    code = ord(character)
    if _RESERVED.match(character) or 0x80 <= code < 0xA0:  # noqa: PLR2004 - control characters of Latin-1
        return f"%{code:02X}"
    is_surrogate, is_noncharacter = 0xD800 <= code < 0xE000, 0xFDD0 <= code < 0xFDF0 or code & 0xFFFE == 0xFFFE  # noqa: PLR2004
    return f"%u{code:06X}" if is_surrogate or is_noncharacter else character


def node_topic(prefix: str, node: str, leaf: str) -> str:
    """Return a topic of the node itself."""
    return f"{prefix}/{topic_level(node)}/{leaf}"


def source_topic(prefix: str, node: str, source: str, leaf: str) -> str:
    """Return a topic of one stream or call."""
    return f"{prefix}/{topic_level(node)}/{topic_level(source)}/{leaf}"


def person_topic(prefix: str, node: str, name: str, leaf: str) -> str:
    """Return a topic of an enrolled person; it has one level more than those of streams, so that no name collides."""
    return f"{prefix}/{topic_level(node)}/person/{topic_level(name)}/{leaf}"


def event_topic(event: Event, *, prefix: str, node: str) -> str:
    """Return the topic of an event."""
    if event.source == NODE:
        return node_topic(prefix, node, event.type)
    return source_topic(prefix, node, event.source, event.type)


def _without_password(target: str) -> str:
    """Mask the user name and anything that may be a password."""
    scheme, _, rest = target.partition(":")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if "@" in rest else target
