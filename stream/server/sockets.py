"""How many sockets a listener holds, above all of clients that have not proved who they are (pure).

A client has proved itself once it is authorized, or has opened a stream. Before that it has `PROOF_TIMEOUT_S`, and
there is room for `MAX_UNPROVEN` of its kind, `MAX_UNPROVEN_PER_ADDRESS` of one remote address. Where there is no room
the oldest of them has to go, not the newest: a client takes milliseconds to prove itself, a silent socket never does.
The number of sockets in all leaves file descriptors for the node itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

PROOF_TIMEOUT_S = 5.0
"""Time from a connection, or from the end of a response, to a complete request; and to the proof after it."""

MAX_UNPROVEN = 1_024
MAX_UNPROVEN_PER_ADDRESS = 64

RESERVED_DESCRIPTORS = 128
"""File descriptors kept for files, models, microphones, sinks and the event loop."""


class SocketSlot:
    """The place of one socket; `abort` closes it at once."""

    __slots__ = ("_abort", "_budget", "address", "is_local", "is_proven", "is_refused")

    def __init__(self, budget: SocketBudget, *, address: str, is_local: bool, abort: Callable[[], None]) -> None:
        self._budget, self._abort = budget, abort
        self.address, self.is_local = address, is_local
        self.is_proven = False
        self.is_refused = False  # as malformed: it gets no answer of an application any more

    def prove(self) -> None:
        """The client has proved who it is."""
        self.is_proven = True
        self._budget.forget_unproven(self)

    def release(self) -> None:
        """The socket is closed."""
        self._budget.release(self)

    def abort(self) -> None:
        """Close the socket at once."""
        self._abort()


class SocketBudget:
    """All sockets of a listener. `max_sockets` is their number in all."""

    def __init__(self, *, max_sockets: int) -> None:
        self.max_sockets = max_sockets
        self.aborted = 0  # sockets that had to go
        self._slots: set[SocketSlot] = set()
        self._unproven: dict[SocketSlot, None] = {}  # in the order of their arrival
        self._by_address: Counter[str] = Counter()  # unproven ones of remote addresses

    def __len__(self) -> int:
        return len(self._slots)

    def admit(self, *, address: str, is_local: bool, abort: Callable[[], None]) -> SocketSlot | None:
        """Return a slot for a new socket, in place of an older one if need be; None if there is no room for it."""
        slot = SocketSlot(self, address=address, is_local=is_local, abort=abort)
        if not is_local and self._by_address[address] >= MAX_UNPROVEN_PER_ADDRESS:
            self._evict(address)
        if len(self._unproven) >= MAX_UNPROVEN or (self._unproven and len(self._slots) >= self.max_sockets):
            self._evict()
        if len(self._slots) >= self.max_sockets:
            self.aborted += 1
            return None
        self._slots.add(slot)
        self._unproven[slot] = None
        if not is_local:
            self._by_address[address] += 1
        return slot

    def forget_unproven(self, slot: SocketSlot) -> None:
        """Stop counting a slot as unproven."""
        if slot in self._unproven:
            del self._unproven[slot]
            if not slot.is_local:
                self._by_address[slot.address] -= 1
                if not self._by_address[slot.address]:
                    del self._by_address[slot.address]

    def release(self, slot: SocketSlot) -> None:
        """Free the slot of a closed socket."""
        self.forget_unproven(slot)
        self._slots.discard(slot)

    def _evict(self, address: str | None = None) -> None:
        """Close the oldest unproven socket, or that of an address."""
        oldest = next(slot for slot in self._unproven if address is None or slot.address == address)
        self.release(oldest)
        self.aborted += 1
        oldest.abort()
