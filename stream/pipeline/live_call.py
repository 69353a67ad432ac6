"""The calls that are on: which parties belong together, and one account for both.

A call is known before its tracks begin to be heard (`expect`), so that neither runs ahead of a party that is just being
put through. Each track then speaks over a `Line` of its own; the call's account (`CallTracker`) is told under the call's
name, in order, whichever track moved it. When the last party has left, the call is over and its name is free again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from stream.calls.tracker import CallTracker
from stream.clock import ArrivalLog, samples
from stream.errors import SourceError
from stream.events import Body, EmotionBody, Party
from stream.pipeline.publisher import Publisher
from stream.settings import Settings
from stream.types import SpeechSegment, Task


class _Call:
    """One call that is on. Its account is moved by one track at a time."""

    def __init__(self, settings: Settings) -> None:
        self.keeper = CallTracker(settings=settings)
        self.parties: set[Party] = set()
        self.open: set[Party] = set()
        self.moving = asyncio.Lock()
        self.told = False  # its feed is open


class Line:
    """One track's way to its call."""

    def __init__(self, *, board: Switchboard, call: str, party: Party) -> None:
        self.call, self.party = call, party
        self._board = board

    def feel(self, emotion: EmotionBody) -> None:
        """How the party sounds; to be told before the talk that reaches there."""
        self._board.calls[self.call].keeper.feel(self.party, emotion)

    async def hear(self, talk: Sequence[SpeechSegment], settled: int) -> None:
        """The party's talk up to `settled`; tells what follows for the call."""
        call = self._board.calls[self.call]
        async with call.moving:
            await self._board.tell(self.call, call.keeper.hear(self.party, talk, settled))

    async def leave(self) -> None:
        """The party's track has ended."""
        await self._board.leave(self.call, self.party)


class Switchboard:
    """All calls of a run."""

    def __init__(self, *, settings: Settings, publisher: Publisher) -> None:
        self._settings, self._publisher = settings, publisher
        self.calls: dict[str, _Call] = {}

    def expect(self, call: str, parties: Iterable[Party]) -> None:
        """These parties will be heard. Raises `SourceError` when one of them is on the line already."""
        expected, there = list(parties), self.calls.get(call)
        taken = set(expected) & there.parties if there is not None else set[Party]()
        taken |= {party for party in expected if expected.count(party) > 1}
        if taken:
            both = " and ".join(sorted(taken))
            raise SourceError(
                f"the {both} of the call {call!r} is on the line already; give each call a name of its own"
            )
        if there is None:
            there = self.calls[call] = _Call(self._settings)
        for party in expected:
            there.keeper.join(party)
            there.parties.add(party)
            there.open.add(party)

    def line(self, call: str, party: Party, arrivals: ArrivalLog) -> Line:
        """A way to the call for a party that is expected; `arrivals` tells when its sound was captured."""
        if not self.calls[call].told:
            self.calls[call].told = True
            self._publisher.open(call, arrivals, tasks=(Task.EMOTION,), call=call)
        return Line(board=self, call=call, party=party)

    async def leave(self, call_id: str, party: Party) -> None:
        """A party has hung up, or was never put through; the last one ends the call."""
        call = self.calls[call_id]
        async with call.moving:
            if party not in call.open:
                return
            call.open.discard(party)
            bodies = call.keeper.leave(party)
            if not call.open:
                del self.calls[call_id]  # before anything is awaited: the next call may have the same name
            if call.told:
                await self.tell(call_id, bodies)
                if not call.open:
                    self._publisher.close_feed(call_id)

    async def tell(self, call: str, bodies: Iterable[Body]) -> None:
        """Publish what a call's account says, in order."""
        for body in bodies:
            await self._publisher.publish(call, body, heard_sample=samples(body.end_s))
