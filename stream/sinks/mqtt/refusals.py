"""What a broker refuses, and which packet it closed a connection for (pure).

A broker may answer a refused packet with a reason code (MQTT 5), announce its limits when it accepts a connection, or
just close the connection, as EMQX and AWS IoT do for a topic that their access list denies, and mosquitto 2.0.11 after
acknowledging the packet. Published again after every reconnect, such a packet would close every connection and block
all others. So the topics of all packets that were in flight when a broker closed a connection, and of the one that was
acknowledged just before, are *suspects*: each is published alone, until it is acknowledged and the connection outlives
that by `SETTLE_S`. A packet that was alone when a connection was closed twice, or once with a reason code about the
packet, is set aside:

* its topic, if nothing was ever acknowledged there,
* or packets of its size and larger ones, if it is the largest so far,
* or else this packet only.

The first packet on each topic is published alone as well, where the broker answers quickly: mosquitto loses the
acknowledgements of what it received before a denied packet, and those messages would arrive twice.

A broker that refuses a packet by a reason code and then closes the connection (mosquitto 2.0.11 with MQTT 5) needs no
search: the topic of that packet is set aside.

A verdict about a topic or a size is tried again after `RETRY_S`, since access lists change.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

MIN_FAILURE_CODE = 0x80
"""Reason codes from here on are failures (MQTT 5, section 2.4)."""

NOT_AUTHORIZED = 0x87
PACKET_TOO_LARGE = 0x95
QUOTA_EXCEEDED = 0x97

ABOUT_THE_PACKET = frozenset({0x80, 0x81, 0x83, NOT_AUTHORIZED, 0x90, PACKET_TOO_LARGE, 0x99, 0x9A, 0x9B})
"""Reasons of a DISCONNECT that the packet before it may have caused."""

MAX_STRIKES = 2
"""Connections closed without a reason, with one packet in flight, before it is set aside."""

CULPRIT_WINDOW_S = 3.0
"""A connection that is closed later than this after a packet was sent was not closed for it."""

ANSWER_WINDOW_S = 0.2
"""A connection that is closed later than this after an acknowledgement was not closed for the packet acknowledged."""

SETTLE_S = 0.1
"""Time that a connection must outlive the acknowledgement of a suspect; more than a round trip is not needed."""

RETRY_S = 600.0
"""Time after which a topic or size that was set aside is tried again."""

DENIED_SOURCES = 3
"""Denied topics of one kind after which all of the kind are, unless one was ever accepted: sources come and go."""

MAX_TOPICS = 4_096
"""Topics whose acknowledgements are remembered."""


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What a broker announces when it accepts a connection (MQTT 5); the defaults are those of the protocol."""

    max_packet_bytes: int | None = None
    max_in_flight: int = 65_535
    max_qos: int = 2
    can_retain: bool = True


@dataclass(frozen=True, slots=True)
class Packet:
    """One publication that was sent at `sent_s`."""

    topic: str
    payload: str | bytes
    size: int
    sent_s: float


class Refusals:
    """The verdicts about topics, sizes and packets of one broker, across connections."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._strikes: dict[str, int] = {}  # suspects
        self._answered: tuple[Packet, float] | None = None  # acknowledged last, and when
        self._in_doubt: list[Packet] = []  # acknowledged just before a connection was closed
        self._tried: set[str] = set()  # topics with an answer
        self._largest_accepted: OrderedDict[str, int] = OrderedDict()  # by topic
        self._accepted_kinds: set[str] = set()
        self._denied: OrderedDict[str, float] = OrderedDict()  # topics: time of the verdict
        self._denied_kinds: Counter[str] = Counter()
        self._refused: tuple[Packet, float] | None = None  # the newest one, and when
        self._too_large: tuple[int, float] | None = None  # size, time of the verdict
        self._set_aside: OrderedDict[tuple[str, str | bytes], None] = OrderedDict()

    def verdict(self, topic: str, payload: str | bytes, size: int) -> str:
        """Return why a packet must not be published, "" if it may be."""
        if self._is_denied(topic):
            return "the broker closes the connection on this topic"
        if self._too_large is not None:
            limit, since_s = self._too_large
            if self._clock() - since_s >= RETRY_S:
                self._too_large = None
            elif size >= limit:
                return f"the broker closes the connection on packets of {limit} bytes; this one has {size}"
        return "the broker closes the connection on this message" if (topic, payload) in self._set_aside else ""

    def is_suspect(self, topic: str) -> bool:
        """Return whether a packet on the topic must be the only one in flight."""
        return topic in self._strikes

    def is_untried(self, topic: str) -> bool:
        """Return whether a packet on the topic may be published, and none was ever answered, of `MAX_TOPICS` topics."""
        return topic not in self._tried and len(self._tried) < MAX_TOPICS and not self._is_denied(topic)

    @property
    def has_suspects(self) -> bool:
        """Whether any topic is a suspect."""
        return bool(self._strikes)

    def acknowledged(self, packet: Packet) -> None:
        """Note that the broker has acknowledged a packet, which some do before they close the connection for it."""
        self.settled()  # the broker went on after the one before
        self._tried.add(packet.topic)
        self._answered = packet, self._clock()

    @property
    def is_settled(self) -> bool:
        """Whether no acknowledged packet is in question any more."""
        return self._answered is None

    def settled(self) -> None:
        """Note that the connection has outlived the newest acknowledgement."""
        if self._answered is not None:
            self._accept(self._answered[0])
            self._answered = None

    def _accept(self, packet: Packet) -> None:
        self._strikes.pop(packet.topic, None)
        self._largest_accepted[packet.topic] = max(self._largest_accepted.get(packet.topic, 0), packet.size)
        self._largest_accepted.move_to_end(packet.topic)
        if len(self._largest_accepted) > MAX_TOPICS:
            self._largest_accepted.popitem(last=False)
        self._accepted_kinds.add(_kind(packet.topic))

    def refused(self, packet: Packet, *, code: int) -> None:
        """Note that the broker has refused a packet by a reason code."""
        self._tried.add(packet.topic)
        self._strikes.pop(packet.topic, None)
        if code == NOT_AUTHORIZED:
            self._refused = packet, self._clock()

    def closed(self, in_flight: Sequence[Packet], *, code: int) -> None:
        """Note that the broker closed a connection, with a reason code or 0, and what was in flight then."""
        now_s = self._clock()
        if self._refused is not None:
            (packet, since_s), self._refused = self._refused, None
            if now_s - since_s < CULPRIT_WINDOW_S:
                self._deny(packet.topic)
                in_flight = [other for other in in_flight if other.topic != packet.topic]
        in_question = [packet for packet in in_flight if now_s - packet.sent_s < CULPRIT_WINDOW_S]
        answered, self._answered = self._answered, None
        if answered is not None and now_s - answered[1] < ANSWER_WINDOW_S:
            in_question.append(answered[0])
            self._in_doubt = [*self._in_doubt, answered[0]][-MAX_STRIKES:]
        if not in_question or (code and code not in ABOUT_THE_PACKET):
            return
        topics = list(dict.fromkeys(packet.topic for packet in in_question))
        if len(topics) > 1 or len(in_flight) > 1:
            for topic in topics[: MAX_TOPICS - len(self._strikes)]:
                self._strikes.setdefault(topic, 0)
            return
        packet = in_question[0]
        strikes = self._strikes.get(packet.topic, 0) + 1
        if not code and strikes < MAX_STRIKES:
            self._strikes[packet.topic] = strikes
            return
        if in_flight:  # this broker does not acknowledge what it closes a connection for
            for other in self._in_doubt:
                self._accept(other)
        self._in_doubt.clear()
        self._strikes.pop(packet.topic, None)
        self._condemn(packet, code)

    def _condemn(self, packet: Packet, code: int) -> None:
        if code == PACKET_TOO_LARGE or (
            packet.topic in self._largest_accepted and packet.size > max(self._largest_accepted.values())
        ):
            self._too_large = (packet.size, self._clock())
        elif packet.topic in self._largest_accepted:
            self._set_aside[packet.topic, packet.payload] = None
            if len(self._set_aside) > MAX_TOPICS:
                self._set_aside.popitem(last=False)
        else:
            self._deny(packet.topic)

    def _deny(self, topic: str) -> None:
        if topic not in self._denied:
            self._denied_kinds[_kind(topic)] += 1
        self._denied[topic] = self._clock()
        if len(self._denied) > MAX_TOPICS:
            self._denied.popitem(last=False)

    def _is_denied(self, topic: str) -> bool:
        since_s = self._denied.get(topic)
        if since_s is not None and self._clock() - since_s >= RETRY_S:
            del self._denied[topic]
            self._strikes[topic] = MAX_STRIKES - 1  # alone, and one more closed connection is enough
            return False
        kind = _kind(topic)
        return since_s is not None or (self._denied_kinds[kind] >= DENIED_SOURCES and kind not in self._accepted_kinds)


def acknowledgements(data: bytes) -> Iterator[tuple[int, int]]:
    """Return packet identifier and reason code of each PUBACK and PUBCOMP among whole packets."""
    while len(data) >= 4:  # noqa: PLR2004 - type, length, identifier
        kind, length = data[0] >> 4, data[1]
        if length > 0x7F:  # noqa: PLR2004 - longer than any acknowledgement: a message to us
            return
        if kind in (4, 7):  # a failure has a reason code; success may leave it out
            yield int.from_bytes(data[2:4], "big"), data[4] if length > 2 and len(data) > 4 else 0  # noqa: PLR2004
        data = data[2 + length :]


def _kind(topic: str) -> str:
    return topic.rpartition("/")[2]
