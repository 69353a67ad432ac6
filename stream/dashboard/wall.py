"""The state behind all pages: events of any number of nodes in; a snapshot, or the changes since a version, out (pure).

Every change gives its card a new version. A page that has version `n` receives the cards with a higher one, each once
and in its newest state, so that no page needs a queue. Cards are kept in the order of their changes: finding the
changed ones costs their number, not the number of all cards.

The memory is bounded. Beyond `MAX_CARDS` the oldest ended cards go first, then those without an event for longest;
nodes beyond `MAX_NODES` are ignored.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from stream.dashboard.card import Card
from stream.dashboard.views import BrokerView, NodeHealthView, WallUpdate
from stream.events import NODE, Event, HealthEvent

MAX_CARDS = 600
MAX_NODES = 200
MAX_ENDED_CARDS = 100

EXPIRY_S = 300.0
"""Time without an event after which a card leaves."""

ABANDONED_S = 4.0
"""Time without an event after which a card of an earlier run of its node has ended."""

MAX_REMOVED_KEYS = 1_000
"""Keys of removed cards that are kept for deltas; a page further behind receives a snapshot."""


class Wall:
    """Cards and nodes under one version, which rises with every change."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.version = 0
        self.broker: BrokerView | None = None
        self.ignored_events = 0
        """Events of nodes beyond `MAX_NODES`."""
        self.records = False  # whether cards keep events for reports
        self._sessions: dict[str, str] = {}  # the newest of each node
        self._cards: OrderedDict[str, Card] = OrderedDict()  # in the order of their last change
        self._json: dict[str, tuple[int, str]] = {}
        self._nodes: dict[str, NodeHealthView] = {}
        self._node_versions: dict[str, int] = {}
        self._removed: deque[tuple[int, str]] = deque(maxlen=MAX_REMOVED_KEYS)

    def __len__(self) -> int:
        return len(self._cards)

    def apply(self, event: Event, *, node: str, retained: bool = False) -> None:
        """Apply one event of a node; `retained` marks a broker's memory of an earlier time."""
        if self._is_full(node):
            self.ignored_events += 1
            return
        if not retained:
            self._sessions[node] = event.session
        if event.source == NODE:
            if isinstance(event, HealthEvent):
                health = event.model_copy(update={"models": ()})
                given = {"health": health, "received_ms": min(self._now_ms(), event.time.timestamp() * 1000)}
                self._set_node(self._node(node).model_copy(update=given))
            return
        name = event.call or event.source
        key = f"{node}/{name}"
        card = self._cards.get(key)
        added = card is None
        if card is None:
            self._set_node(self._node(node))
            card = self._cards[key] = Card(key=key, name=name, node=node, records=self.records)
        had_ended = card.ended
        card.apply(event, now_ms=self._now_ms(), retained=retained)
        self._mark_changed(card)
        if added or (card.ended and not had_ended):
            self._remove_old()

    def update_node(self, node: str, *, online: bool | None = None, version: str | None = None) -> None:
        """Set whether a node is online, and its version."""
        if self._is_full(node):
            self.ignored_events += 1
            return
        before = self._node(node)
        given = {"online": online, "version": version}
        after = before.model_copy(update={name: value for name, value in given.items() if value is not None})
        self._set_node(after)
        if after.online != before.online:  # its cards show it
            for card in [card for card in self._cards.values() if card.node == node]:
                self._mark_changed(card)

    def set_broker(self, *, name: str, connected: bool, error: str = "") -> None:
        """Set whether the broker that the events come from is connected."""
        if self.broker is None or self.broker.connected != connected:
            self.version += 1
            self.broker = BrokerView(name=name, connected=connected, since_ms=self._now_ms(), error=error)

    def expire(self) -> bool:
        """Remove cards that have not ended, but of which no event came for `EXPIRY_S`; returns whether any was.

        A stream that is paused or stalled sends nothing: its card stays while its node sends events.
        """
        limit_ms = self._now_ms() - 1000 * EXPIRY_S
        stale = [
            key
            for key, card in self._cards.items()
            if not card.ended
            and card.received_ms < limit_ms
            and (card.state == "live" or (self._node(card.node).received_ms or 0.0) < limit_ms)
        ]
        self._remove(stale)
        return bool(stale)

    def end_abandoned(self) -> list[Card]:
        """End and return the cards that were live in an earlier run of their node: it was cut off and runs again."""
        limit_ms = self._now_ms() - 1000 * ABANDONED_S
        abandoned = [
            card
            for card in self._cards.values()
            if not card.ended
            and card.received_ms < limit_ms
            and self._sessions.get(card.node, card.session) != card.session
        ]
        for card in abandoned:
            card.abandon()
            self._mark_changed(card)
        return abandoned

    def card(self, key: str) -> Card | None:
        """Return the card of a key."""
        return self._cards.get(key)

    def message(self, since: int = 0) -> str:
        """Return what a page with the version `since` lacks, as JSON: a delta, or for 0 a snapshot."""
        oldest_removed = self._removed[0][0] if len(self._removed) == MAX_REMOVED_KEYS else 0
        whole = since == 0 or since < oldest_removed
        changed = []
        for key in reversed(self._cards):
            card = self._cards[key]
            if not whole and card.version <= since:
                break
            changed.append(self._card_json(card))
        head = WallUpdate(
            t="snapshot" if whole else "delta",
            version=self.version,
            broker=self.broker,
            nodes=tuple(entry for name, entry in self._nodes.items() if whole or self._node_versions[name] > since),
            removed=() if whole else tuple(key for version, key in self._removed if version > since),
        )
        return head.to_json()[:-1] + ',"cards":[' + ",".join(reversed(changed)) + "]}"

    def _now_ms(self) -> float:
        return round(1000 * self._clock())

    def _mark_changed(self, card: Card) -> None:
        self.version += 1
        card.version = self.version
        self._cards.move_to_end(card.key)

    def _card_json(self, card: Card) -> str:
        """Return a card as JSON, encoded once for all pages."""
        version, text = self._json.get(card.key, (0, ""))
        if version != card.version:
            text = card.view(offline=not self._node(card.node).online).to_json()
            self._json[card.key] = (card.version, text)
        return text

    def _is_full(self, node: str) -> bool:
        """Whether there is no place for a node."""
        return node not in self._nodes and len(self._nodes) >= MAX_NODES

    def _node(self, node: str) -> NodeHealthView:
        return self._nodes.get(node) or NodeHealthView(node=node)

    def _set_node(self, node: NodeHealthView) -> None:
        self.version += 1
        self._nodes[node.node] = node
        self._node_versions[node.node] = self.version

    def _remove_old(self) -> None:
        """Keep the number of cards, and of ended ones, within their bounds."""
        ended = [key for key, card in self._cards.items() if card.ended] if len(self._cards) > MAX_ENDED_CARDS else []
        stale = ended[: max(0, len(ended) - MAX_ENDED_CARDS)]
        excess = len(self._cards) - len(stale) - MAX_CARDS
        if excess > 0:
            already = set(stale)
            stale += [key for key in self._cards if key not in already][:excess]
        self._remove(stale)

    def _remove(self, stale: Iterable[str]) -> None:
        for key in stale:
            del self._cards[key]
            self._json.pop(key, None)
            self.version += 1
            self._removed.append((self.version, key))
