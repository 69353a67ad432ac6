"""The registry of live streams: its invariants over any order of opening, pushing, pausing and closing."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter, defaultdict
from contextlib import suppress
from typing import Self

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import SourceError
from stream.events import NODE, Event
from stream.inference.pool import InferencePool
from stream.pipeline.live_stream import EventStream, LiveStream
from stream.pipeline.publisher import Publisher
from stream.pipeline.streams import StreamRegistry, Totals, dispatch_block
from stream.settings import Settings
from stream.types import AudioFormat, Block, Interruption, Source, Task
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink

RATE_HZ = 16_000
AUDIO = np.random.default_rng(5).uniform(-0.4, 0.4, (RATE_HZ * 20, 2)).astype(np.float32)
AUDIO[RATE_HZ * 2 : RATE_HZ * 4] = 0  # so that windows are gated
CHANNELS = ("mix", "split", "customer-agent", "customer", "agent")

Step = tuple[str, str, str]
"""An operation, the name of a source, and how its channels become streams."""

steps = st.lists(
    st.tuples(
        st.sampled_from(["toggle", "toggle", "toggle", "open", "push", "gap", "pause", "resume", "stall", "fail"]),
        st.sampled_from(["a", "a", "a-1"]),
        st.sampled_from(CHANNELS),
    ),
    max_size=25,
)
"""`toggle` closes the oldest open source of the name, or opens one; `open` opens another; `fail` never gets open."""


def source(name: str, channels: str) -> FakeSource:
    count = 1 if channels in ("customer", "agent") else 2
    return FakeSource([], source_id=name, channels=channels, audio_format=AudioFormat(RATE_HZ, count))


class Run:
    """A registry with lanes, workers and a sink, driven by hand."""

    def __init__(self) -> None:
        self.sink = ListSink()
        models = [FakeModel(task=Task.SPEAKER), FakeModel()]
        self.pool = InferencePool(
            settings=Settings().pool,
            models=models,
            ensembles=(),
            detector=FakeDetector(),
            thread_setup=lambda _: None,
            active_in=lambda lane: self.registry.active_in(lane),  # noqa: PLW0108 - built below
        )
        self.publisher = Publisher(sinks={"list": self.sink}, policy="drop_oldest")
        self.registry = StreamRegistry(
            settings=Settings(),
            models=models,
            slots=self.pool.slots,
            speech_lane=self.pool.speech_lane,
            publisher=self.publisher,
        )
        self.expected = Totals()  # of closed streams, added up here
        self.closed: list[weakref.ref[EventStream]] = []
        self._publishing: dict[LiveStream, asyncio.Task[None]] = {}
        self._frames: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._workers = asyncio.TaskGroup()
        await self._workers.__aenter__()
        self.publisher.start_sinks(self._workers)
        for lane in self.pool.lanes:
            self._workers.create_task(lane.run_worker())
        return self

    async def __aexit__(self, *_: object) -> None:
        for lane in self.pool.lanes:
            lane.close()
        self.publisher.close()
        await self._workers.__aexit__(None, None, None)

    async def try_open(self, added: Source) -> bool:
        """Open a source's streams; returns False if its names are taken."""
        taken = self.registry.is_name_taken(added.id)
        try:
            self.registry.register([added])
            streams = self.registry.open(added)
        except SourceError:
            assert taken or any(one.name.startswith(added.id) for one in self.registry.streams)
            if added in self.registry.sources:  # the parties of its call are reserved
                await self.registry.cancel_calls(added)
                self.registry.unregister(added)
            return False
        for stream in streams:
            self._publishing[stream] = asyncio.create_task(stream.processor.publish_events(self.publisher))
        return True

    async def fail(self, added: Source) -> None:
        """Register a source that then cannot be opened."""
        with suppress(SourceError):
            self.registry.register([added])
            await self.registry.cancel_calls(added)
            self.registry.unregister(added)

    async def step(self, operation: str, added: Source) -> None:
        """Apply one operation to the source, which has open streams."""
        streams = self.registry.of(added)
        if operation in ("push", "gap"):
            self._frames[added.id] += RATE_HZ if operation == "gap" else 0
            start = self._frames[added.id]
            samples = AUDIO[start % len(AUDIO) :][: RATE_HZ // 2, : added.format.channels]
            await dispatch_block(Block(added.id, start, samples), streams)
            self._frames[added.id] += len(samples)
        elif operation == "pause":
            await asyncio.gather(*(stream.processor.pause("") for stream in streams))
        elif operation == "resume":
            await asyncio.gather(*(stream.processor.resume("") for stream in streams))
        elif operation == "stall":
            await dispatch_block(Interruption(added.id, "stalled", ""), streams)

    async def close(self, closing: Source) -> None:
        streams = self.registry.of(closing)
        for stream in streams:
            await stream.processor.finish("")
        for stream in streams:
            await self._publishing.pop(stream)
            call = stream.call
            call_events = call.events if call is not None else None
            await self.registry.leave_call(stream)
            if call is not None and call_events is not None and not call.open_parties:
                self.closed.append(weakref.ref(call_events))
            self.expected = self.expected.plus(stream)
            self.registry.close(stream)
            self.closed.append(weakref.ref(stream))
        self.registry.unregister(closing)
        del self._frames[closing.id]


async def check(chosen: list[Step]) -> list[Event]:
    """Run the steps, checking the registry after each one and at the end; return all events."""
    async with Run() as run:
        open_sources: list[Source] = []
        for operation, name, channels in chosen:
            current = next((one for one in open_sources if one.id == name), None)
            if operation == "fail":
                await run.fail(source(name, channels))
            elif operation == "open" or (operation == "toggle" and current is None):
                added = source(name, channels)
                if await run.try_open(added):
                    open_sources.append(added)
            elif current is not None and operation == "toggle":
                open_sources.remove(current)
                await run.close(current)
            elif current is not None:
                await run.step(operation, current)
            check_names_and_totals(run)
        while open_sources:
            await run.close(open_sources.pop())
        await asyncio.sleep(0)
        check_nothing_is_left(run)
    return run.sink.events


def check_nothing_is_left(run: Run) -> None:
    assert not run.registry.streams
    assert not run.registry.sources
    assert not run.registry._calls
    assert run.registry.totals() == run.expected
    assert all(run.registry.active_in(lane) == 0 for lane in run.pool.lanes)
    assert [one() for one in run.closed if one() is not None] == [], "a closed record is still referred to"


def check_names_and_totals(run: Run) -> None:
    streams = run.registry.streams
    names = [stream.name for stream in streams] + list(run.registry._calls)
    assert len(set(names)) == len(names), "a name is unique while active"
    assert NODE not in names
    assert all(run.registry.is_name_taken(name) for name in names)
    assert all(run.registry.find(stream.name) is stream for stream in streams)
    totals = run.expected
    for stream in streams:
        totals = totals.plus(stream)
    assert run.registry.totals() == totals
    for lane in run.pool.lanes:
        assert run.registry.active_in(lane) == sum(lane in stream.lanes for stream in streams)


@settings(max_examples=30, deadline=None)
@given(chosen=steps)
def test_invariants_hold_in_any_order(chosen: list[Step]) -> None:
    gc.disable()  # closed records are freed at once, not when the collector runs
    try:
        events = asyncio.run(check(chosen))
    finally:
        gc.enable()
    numbers = defaultdict(list)
    for event in events:
        numbers[event.source].append(event.seq)
    for seqs in numbers.values():
        assert seqs == list(range(len(seqs))), "no sequence number of a name repeats or is missing"
