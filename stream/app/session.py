"""tonewatch inside a program: a session holds loaded models, and runs recordings, microphones and feeds on them.

Everything runs in the event loop of the program, but inference, which has threads of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from stream.app.assembly import LoadedModels, assemble, load, model_for
from stream.app.feed import AudioFeed, FeedRouter, Handover, float_frames
from stream.app.registry import parse_source
from stream.errors import EnrolmentRefused, SettingsError, TonewatchError
from stream.events import Event
from stream.pipeline.pipeline import Pipeline
from stream.profiles.enrolment_audio import EnrolmentAudio
from stream.profiles.store import read_calibration
from stream.settings import DEFAULT_PRESET, Settings
from stream.settings import load as load_settings
from stream.tracking.scoring import Scorer, build_scorer
from stream.tracking.voice import Voice, unit
from stream.types import Task

_loaded: WeakValueDictionary[str, LoadedModels] = WeakValueDictionary()
"""Models that a session holds, by their settings: sessions side by side share them, and the last one frees them."""

_loading = threading.Lock()


@dataclass(frozen=True, slots=True)
class Embedding:
    """The voice of a recording: an x-vector of unit length, its model, and the seconds of speech behind it."""

    vector: NDArray[np.float32] = field(repr=False)
    model: str
    revision: str
    speech_s: float


class Session:
    """Loaded models with settings; use as an async context manager.

    `preset`, `config` and `settings` (keys with dots, such as `{"turns.pause_s": 0.8}`) are layers as of the command
    line; the environment is not read. `profiles` is the database of enrolled people, empty for none; by default that of
    the command line. Entering raises any `TonewatchError`.
    """

    def __init__(
        self,
        preset: str = DEFAULT_PRESET,
        *,
        config: str | Path | None = None,
        profiles: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._preset, self._config = preset, Path(config) if config is not None else None
        self._flags = dict(settings or {}) | ({"speakers.profiles": str(profiles)} if profiles is not None else {})
        self._open: _Open | None = None

    @property
    def settings(self) -> Settings:
        """The settings. Raises `SettingsError` outside `async with`."""
        return self._opened.settings

    async def __aenter__(self) -> Self:
        """Read the settings and load the models."""
        settings = load_settings(preset=self._preset, config=self._config, flags=_nested(self._flags))
        loaded = await asyncio.to_thread(_shared_models, settings)
        tasks = await asyncio.TaskGroup().__aenter__()
        self._open = _Open(settings=settings, loaded=loaded, tasks=tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all runs and feeds, and wait until they have ended."""
        opened, self._open = self._opened, None
        opened.stop()
        # the group waits; an error of the program's own must not cancel runs that are just being stopped
        await opened.tasks.__aexit__(None, None, None)

    async def run(
        self, *sources: str | Path, realtime: bool = False, channels: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of sources: files, `microphone`, `microphone:NAME`, `demo`, or those of the settings.

        They are the events of `tonewatch run`, in the same order. A program that does not read holds back a file; of a
        microphone it then gets the newest events, and the `health` event counts what was dropped. Leaving the loop
        stops the run. Raises any `TonewatchError`, after the events before it.
        """
        opened, settings = self._opened, self._opened.settings
        if sources:
            given = {"realtime": realtime} | ({"channels": channels} if channels is not None else {})
            flags = self._flags | {"sources": [{**parse_source(str(source)), **given} for source in sources]}
            settings = load_settings(preset=self._preset, config=self._config, flags=_nested(flags))
        handover = Handover(policy="wait")  # the pipeline's own queue before it drops, and counts, if a source is live
        pipeline = await assemble(settings, sinks={"program": handover}, loaded=opened.loaded)
        task = opened.tasks.create_task(opened.drive(pipeline, handover), name="run of a session")
        try:
            async for event in handover.events():
                yield event
        finally:
            handover.close()
            pipeline.stop()
            await asyncio.wait([task])

    def open(self, name: str, *, rate_hz: int, channels: int = 1, live: bool = True) -> AudioFeed:
        """Open a stream that the program feeds with samples.

        Live feeds share their batches. A feed that is not `live` loses nothing, however fast it is written: for
        recordings. Raises `SettingsError` for a name or format that cannot be, `AudioFormatError` for a name in use.
        """
        opened = self._opened
        source = {"kind": "pipe", "id": name, "rate_hz": rate_hz, "pcm_channels": channels}
        load_settings(preset=self._preset, config=self._config, flags=_nested(self._flags | {"sources": [source]}))
        feed = AudioFeed(name=name, rate_hz=rate_hz, channels=channels, live=live)
        if live:
            opened.router.register(feed)
        opened.tasks.create_task(opened.run_feed(feed), name=f"feed {name}")
        return feed

    def embed(self, samples: NDArray[np.int16] | NDArray[np.float32], rate_hz: int) -> Embedding:
        """Return the voice in a recording of one person; blocks for about a hundredth of its length.

        Samples have shape (frames,) or (frames, channels). Raises `EnrolmentRefused` without enough speech,
        `AudioFormatError` for other samples, `SettingsError` without a speaker model.
        """
        loaded, block = self._opened.loaded, np.asarray(samples)
        model = model_for(Task.SPEAKER, loaded.models)
        if model is None:
            raise SettingsError("no speaker model; set models.speaker.name")
        channels = block.shape[1] if block.ndim == 2 else 1  # noqa: PLR2004
        audio = EnrolmentAudio(
            settings=self._opened.settings,
            model=model,
            detector=loaded.detector,
            rate_hz=rate_hz,
            segmentation=model_for(Task.OVERLAP, loaded.models),
        )
        audio.push(float_frames(block, channels=channels))
        audio.finish()
        if not audio.exemplars:
            raise EnrolmentRefused(f"{audio.speech_s:.1f} s of speech, too little for an x-vector; give more audio")
        weights = np.array([exemplar.speech_s for exemplar in audio.exemplars], np.float32)
        vectors = np.stack([unit(exemplar.vector) for exemplar in audio.exemplars])
        info = model.info
        return Embedding(unit(weights @ vectors), info.name, info.revision, round(audio.speech_s, 3))

    def compare(self, one: Embedding, other: Embedding) -> float:
        """Return the probability (0 to 1) that two recordings are of the same person, with even prior odds.

        Raises `SettingsError` unless both are of the speaker model in use.
        """
        model = model_for(Task.SPEAKER, self._opened.loaded.models)
        if model is None or {(one.model, one.revision), (other.model, other.revision)} != {
            (model.info.name, model.info.revision)
        }:
            raise SettingsError(f"embeddings of {one.model} and {other.model} cannot be compared; embed both again")
        less, more = sorted((_voice(one), _voice(other)), key=lambda voice: voice.evidence_s)
        return self._opened.scorer.probability(less, more)

    @property
    def _opened(self) -> _Open:
        if self._open is None:
            raise SettingsError("the session is not open; use it in `async with`")
        return self._open


class _Open:
    """What a session holds while it is open."""

    def __init__(self, *, settings: Settings, loaded: LoadedModels, tasks: asyncio.TaskGroup) -> None:
        self.settings, self.loaded, self.tasks = settings, loaded, tasks
        self.router = FeedRouter()
        self._pipelines: dict[Pipeline, Handover | FeedRouter] = {}
        self._is_stopping = False
        self._live: asyncio.Future[Pipeline] | None = None
        self._scorer: Scorer | None = None

    @property
    def scorer(self) -> Scorer:
        """The scorer of the speaker model, with the calibration fitted on the enrolled people, if there is one."""
        if self._scorer is None:
            speaker = model_for(Task.SPEAKER, self.loaded.models)
            assert speaker is not None  # noqa: S101 - checked by the caller
            fitted = read_calibration(speaker.info, self.settings.speakers)
            info = fitted.applied(speaker.info) if fitted is not None else speaker.info
            self._scorer = build_scorer(info, self.settings.speakers.threshold)
        return self._scorer

    def stop(self) -> None:
        """Stop all pipelines, also those that are still being assembled."""
        self._is_stopping = True
        for pipeline, handover in self._pipelines.items():
            handover.close()  # its events have no reader any more
            pipeline.stop()

    async def drive(self, pipeline: Pipeline, handover: Handover | FeedRouter) -> None:
        """Run a pipeline to its end; what ends it is raised where its events are read."""
        self._pipelines[pipeline] = handover
        if self._is_stopping:  # while it was assembled
            self.stop()
        error: TonewatchError | None = None
        try:
            report = await pipeline.run()
            error = next(iter(report.failures), None)
        except TonewatchError as raised:
            error = raised
        finally:
            del self._pipelines[pipeline]
            handover.close(error)

    async def run_feed(self, feed: AudioFeed) -> None:
        """Let a feed join the pipeline of live feeds, or run it in one of its own."""
        try:
            if feed.live:
                (await self._live_pipeline()).add(feed.source)
            else:
                pipeline = await assemble(
                    self.settings, sources=[feed.source], sinks={"program": feed.handover}, loaded=self.loaded
                )
                await self.drive(pipeline, feed.handover)
        except TonewatchError as error:
            self.router.unregister(feed)
            feed.handover.close(error)

    async def _live_pipeline(self) -> Pipeline:
        """Return the pipeline that live feeds share, started by the first one."""
        if self._live is None:
            self._live = asyncio.get_running_loop().create_future()
            try:
                pipeline = await assemble(
                    self.settings, sinks={"feeds": self.router}, loaded=self.loaded, keep_running=True
                )
            except TonewatchError as error:
                self._live.set_exception(error)
            else:
                self.tasks.create_task(self.drive(pipeline, self.router), name="live feeds")
                await pipeline.wait_until_accepting()
                self._live.set_result(pipeline)
        return await self._live


def _shared_models(settings: Settings) -> LoadedModels:
    key = settings.models.model_dump_json()
    with _loading:
        loaded = _loaded.get(key)
        if loaded is None:
            loaded = _loaded[key] = load(settings)
    return loaded


def _voice(embedding: Embedding) -> Voice:
    return Voice(name="", exemplars=[embedding.vector], enrolled=False, evidence_s=embedding.speech_s)


def _nested(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys with dots as a nested layer of settings."""
    tree: dict[str, Any] = {}
    for key, value in flags.items():
        *branches, leaf = key.split(".")
        branch = tree
        for part in branches:
            branch = branch.setdefault(part, {})
        branch[leaf] = value
    return tree
