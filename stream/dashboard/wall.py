"""All that pages show: events of any number of nodes in; a snapshot, or what changed since a version, out (pure).

Every change gives its card a new version. A page says which version it has and is told the cards that are newer, each
once and as it is now: that is all the conflation there is, and it needs no queue. Cards lie in the order of their
changes, so that finding them costs what they number, not what there is.

Bounded: beyond `MOST_CARDS` the ones that ended are forgotten, oldest first, then those not heard of for longest.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from stream.dashboard.card import Card
from stream.dashboard.history import Json

MOST_CARDS = 600
MOST_NODES = 200
ENDED_KEPT = 100
"""Streams that have ended and are still shown."""

FORGOTTEN = 1_000
"""Names of forgotten cards that are remembered, so that pages drop them; a page further behind begins anew."""

NODE_SOURCE = "node"


class Wall:
    """Cards and nodes, under one version that rises with every change."""

    def __init__(self) -> None:
        self.version = 0
        self._cards: OrderedDict[str, Card] = OrderedDict()  # the one changed last stands last
        self._texts: dict[str, tuple[int, str]] = {}
        self._nodes: dict[str, Json] = {}
        self._node_versions: dict[str, int] = {}
        self._gone: deque[tuple[int, str]] = deque(maxlen=FORGOTTEN)

    def __len__(self) -> int:
        return len(self._cards)

    def apply(self, event: Mapping[str, Any], *, node: str) -> None:
        """Take one event of a node in."""
        if event["source"] == NODE_SOURCE:
            if event.get("type") == "health":
                self._touch_node(node)["health"] = {**event, "models": None}
            return
        name = str(event.get("call") or event["source"])
        key = f"{node}/{name}"
        card = self._cards.get(key)
        if card is None:
            self._touch_node(node)
            card = self._cards[key] = Card(key=key, name=name, node=node)
            card.apply(event)
            self._changed(card)
            self._forget()
            return
        had_ended = card.ended
        card.apply(event)
        self._changed(card)
        if card.ended and not had_ended:
            self._forget()

    def tell_of(self, node: str, **what: Any) -> None:
        """Something about a node: `online`, `version`."""
        entry = self._touch_node(node)
        online = entry["online"]
        entry.update(what)
        if entry["online"] != online:  # its cards look different now
            for card in [card for card in self._cards.values() if card.node == node]:
                self._changed(card)

    def card(self, key: str) -> Card | None:
        """A card by its key."""
        return self._cards.get(key)

    def message(self, since: int = 0) -> str:
        """What a page that has version `since` must be told, as JSON; 0 asks for everything."""
        oldest_gone = self._gone[0][0] if len(self._gone) == FORGOTTEN else 0
        whole = since == 0 or since < oldest_gone
        newer = []
        for key in reversed(self._cards):
            card = self._cards[key]
            if not whole and card.version <= since:
                break
            newer.append(self._text(card))
        nodes = [entry for name, entry in self._nodes.items() if whole or self._node_versions[name] > since]
        head = {
            "t": "snapshot" if whole else "delta",
            "v": self.version,
            "nodes": nodes,
            "gone": [] if whole else [key for version, key in self._gone if version > since],
        }
        return json.dumps(head, separators=(",", ":"))[:-1] + ',"cards":[' + ",".join(reversed(newer)) + "]}"

    def _changed(self, card: Card) -> None:
        self.version += 1
        card.version = self.version
        self._cards.move_to_end(card.key)

    def _text(self, card: Card) -> str:
        """A card as JSON, made once for all pages."""
        version, text = self._texts.get(card.key, (0, ""))
        if version != card.version:
            offline = not self._nodes.get(card.node, {"online": True})["online"]
            text = json.dumps(card.view(offline=offline), separators=(",", ":"))
            self._texts[card.key] = (card.version, text)
        return text

    def _touch_node(self, node: str) -> Json:
        self.version += 1
        self._node_versions[node] = self.version
        if node not in self._nodes and len(self._nodes) >= MOST_NODES:
            node = next(iter(self._nodes))  # whoever publishes under ever new names gets no more memory
            self._node_versions[node] = self.version
        return self._nodes.setdefault(node, {"node": node, "online": True, "version": "", "health": None})

    def _forget(self) -> None:
        ended = [key for key, card in self._cards.items() if card.ended] if len(self._cards) > ENDED_KEPT else []
        stale = ended[: max(0, len(ended) - ENDED_KEPT)]
        room = len(self._cards) - len(stale) - MOST_CARDS
        if room > 0:
            stale += [key for key in self._cards if key not in set(stale)][:room]
        for key in stale:
            del self._cards[key]
            self._texts.pop(key, None)
            self.version += 1
            self._gone.append((self.version, key))
