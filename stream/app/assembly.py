"""From settings to a pipeline that is ready to run: the only place that builds sources, models and sinks by name.

Sources and sinks are built first, since a wrong target is found at once; models last, since they import torch.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from stream.app import registry
from stream.app.alert_commands import alert_handlers
from stream.app.capacity import Capacity, estimate
from stream.calls.current_alerts import CurrentAlerts
from stream.control.dispatcher import CommandDispatcher, CommandSource, Handler
from stream.errors import SettingsError
from stream.events import NODE
from stream.events.text import identifier
from stream.inference.cluster_messages import CALLS_PER_REPLICA
from stream.inference.pool import blas_threads, by_lane
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.room_events import RoomsSink
from stream.profiles.registrar import Registrar
from stream.profiles.store import read_calibration
from stream.settings import ModelSettings, Settings, SourceSettings
from stream.settings.texts import shown_sink
from stream.sinks.base import ConditionsSink, LevelSink, NeighbourSink
from stream.types import Ensemble, Model, Sink, Source, SpeechDetector, Task

MAX_SOURCE_ID_LENGTH = 64


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class LoadedModels:
    """Models, ensembles with a shared backbone, speech detector, and thread setup; runs may share them."""

    models: Sequence[Model]
    ensembles: Sequence[Ensemble]
    detector: SpeechDetector
    thread_setup: Callable[[int], None]


def load(settings: Settings, *, is_lossless: bool = False) -> LoadedModels:
    """Load all models of the settings and find shared backbones. Blocks; raises `SettingsError` or `ModelError`.

    With a cluster they are loaded there, and only the speech detector here; `is_lossless`: no audio is live.
    """
    if settings.pool.cluster:
        return _load_on_cluster(settings, is_lossless=is_lossless)
    models, detector, setup = load_models(settings)
    ensembles = build_ensembles(models)
    # what computes outside the pool, as enrolment does, gets no more threads than a worker: see `limit_threads`
    setup(blas_threads(settings.pool, lanes=len(by_lane(models, ensembles))))
    return LoadedModels(models=models, ensembles=ensembles, detector=detector, thread_setup=setup)


def load_groups(settings: Settings) -> tuple[list[Ensemble], Callable[[int], None]]:
    """Load all models of the settings as ensembles, models alone as ensembles of one; run by a replica as well."""
    models, _, setup = load_models(settings)
    return by_lane(models, build_ensembles(models)), setup


def capacity(loaded: LoadedModels, settings: Settings) -> Capacity | None:
    """Estimate how many live sources this machine carries. Blocks. None if its processor does not run the models."""
    from stream.models.devices import resolve_device  # noqa: PLC0415 - torch

    if settings.pool.cluster or resolve_device("auto").type != "cpu":
        return None
    return estimate(by_lane(loaded.models, loaded.ensembles), settings, thread_setup=loaded.thread_setup)


def _load_on_cluster(settings: Settings, *, is_lossless: bool) -> LoadedModels:
    from stream.inference.cluster import ClusterModels  # noqa: PLC0415 - needs the extra
    from stream.models.devices import limit_threads  # noqa: PLC0415 - torch
    from stream.models.vad import SileroVad  # noqa: PLC0415

    loader = partial(load_groups, Settings(models=settings.models))  # without secrets
    cluster = ClusterModels(settings=settings.pool, load=loader, is_lossless=is_lossless)
    models = [model for ensemble in cluster.ensembles for model in ensemble.models]
    return LoadedModels(
        models=models,
        ensembles=cluster.ensembles,
        detector=SileroVad(),
        thread_setup=limit_threads,
    )


def _is_lossless(sources: Sequence[Source]) -> bool:
    return not any(source.live for source in sources)


def pool_on_cluster(settings: Settings) -> Settings:
    """Return settings with a thread for each call to the cluster: it waits, and computes only as the fallback."""
    if not settings.pool.cluster:
        return settings
    calls = {"workers": settings.pool.replicas * CALLS_PER_REPLICA}
    return settings.model_copy(update={"pool": settings.pool.model_copy(update=calls)})


async def assemble(
    settings: Settings,
    *,
    sources: Sequence[Source] = (),
    sinks: Mapping[str, Sink] | None = None,
    registrar: Registrar | None = None,
    alerts: CurrentAlerts | None = None,
    handlers: Mapping[str, Handler] | None = None,
    loaded: LoadedModels | None = None,
    keep_running: bool = False,
    announce: Callable[[str], None] | None = None,
) -> Pipeline:
    """Build everything that the settings name.

    `sources` and `sinks` are added to those of the settings; `registrar`, `alerts` and `loaded` replace those that
    would be built; `handlers` are those of further commands. A run with `keep_running` needs no source. `announce` is
    called with a sentence on how many live sources the machine carries, if any are live. Raises any `TonewatchError`.
    """
    sources = [*(registry.source(source) for source in assign_ids(settings.sources)), *sources]
    if not sources and not keep_running:
        raise SettingsError("no source given; name a file, `microphone` or `-` (raw PCM)")
    if not keep_running:
        _check_rules(settings, [source.id for source in sources])
    sinks = _named_sinks(settings) | dict(sinks or {})
    if settings.rooms.enabled and (keep_running or all(source.live or source.paced for source in sources)):
        sinks["rooms"] = RoomsSink(settings=settings)
    if loaded is None:
        is_lossless = not keep_running and _is_lossless(sources)
        loaded = await asyncio.to_thread(load, settings, is_lossless=is_lossless)
        if announce is not None and not is_lossless and (found := await asyncio.to_thread(capacity, loaded, settings)):
            announce(found.sentence())
    speaker, segmentation = (model_for(task, loaded.models) for task in (Task.SPEAKER, Task.OVERLAP))
    if settings.speakers.enrolled and speaker is None:
        raise SettingsError("speakers.enrolled needs a speaker model; set models.speaker.name")
    registrar, alerts = registrar or Registrar(settings=settings), alerts or CurrentAlerts(settings.alerts)
    enrolled = await registrar.read(speaker, loaded.detector, segmentation) if speaker is not None else ()
    pipeline = Pipeline(
        settings=pool_on_cluster(settings),
        sources=sources,
        models=loaded.models,
        detector=loaded.detector,
        sinks=sinks,
        ensembles=loaded.ensembles,
        enrolled=enrolled,
        calibration=await asyncio.to_thread(read_calibration, speaker.info, settings.speakers) if speaker else None,
        thread_setup=loaded.thread_setup,
        alerts=alerts,
        keep_running=keep_running,
    )
    registrar.attach(pipeline)
    handlers = {**registrar.handlers, **alert_handlers(alerts), **(handlers or {})}
    dispatcher = CommandDispatcher(pipeline=pipeline, handlers=handlers)
    _attach(sinks, pipeline, dispatcher, alerts)
    return pipeline


def _attach(
    sinks: Mapping[str, Sink], pipeline: Pipeline, dispatcher: CommandDispatcher, alerts: CurrentAlerts
) -> None:
    """Give each sink the functions of the run that it needs."""
    rooms = next((sink for sink in sinks.values() if isinstance(sink, RoomsSink)), None)
    if rooms is not None:
        rooms.attach_publisher(pipeline.publish)
    for sink in sinks.values():
        if isinstance(sink, CommandSource):
            sink.attach(dispatcher.answer)
        if isinstance(sink, LevelSink):
            sink.attach_levels(pipeline.levels_dbfs)
        if isinstance(sink, ConditionsSink):
            sink.attach_alerts(lambda: alerts.settings)
        if rooms is not None and isinstance(sink, NeighbourSink):
            sink.attach_neighbours(rooms.observe_remote)


def assign_ids(sources: Sequence[SourceSettings]) -> list[SourceSettings]:
    """Return the sources with unique ids: the one set, or one derived from the target, numbered where several match.

    Raises `SettingsError` if an id that was set is not unique.
    """
    named: list[SourceSettings] = []
    taken = {NODE}  # the node's own name in events
    for source in sources:
        base = source.id or _derived_id(source)
        name, number = base, 1
        while name in taken:
            if source.id:
                raise SettingsError(f"duplicate source id {source.id!r}; give each source its own id")
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        named.append(source.model_copy(update={"id": name}))
    return named


def _named_sinks(settings: Settings) -> dict[str, Sink]:
    """Build the sinks of the settings, by the name under which they are shown; equal ones are numbered."""
    named: dict[str, Sink] = {}
    for target in dict.fromkeys(settings.sinks):
        name = shown = shown_sink(target)
        while name in named:
            name = f"{shown} {len(named) + 1}"
        named[name] = registry.sink(target, settings)
    return named


def _check_rules(settings: Settings, sources: Sequence[str]) -> None:
    """Raise `SettingsError` for a rule that watches a source which does not exist; streams are named after sources."""
    for rule in settings.alerts.rules:
        for name in rule.sources:
            if not any(name == source or name.startswith(f"{source}-") for source in sources):
                available = ", ".join(sources)
                raise SettingsError(f"rule {rule.name!r}: there is no source {name!r}; available: {available}")


def _derived_id(source: SourceSettings) -> str:
    base = os.path.splitext(os.path.basename(source.target))[0] if source.kind == "file" else source.kind  # noqa: PTH119, PTH122
    return identifier(base)[:MAX_SOURCE_ID_LENGTH] or source.kind


def load_models(settings: Settings) -> tuple[list[Model], SpeechDetector, Callable[[int], None]]:
    """Load the models, the speech detector, and the function that prepares a worker thread for them.

    This is the slow part of a start and blocks; run it in a thread. An overlap model is loaded only beside a speaker
    model, whose decisions it serves. Raises `SettingsError` or `ModelError`.
    """
    from stream.models.devices import limit_threads  # noqa: PLC0415 - torch is imported when a model is needed
    from stream.models.vad import SileroVad  # noqa: PLC0415

    wanted: list[tuple[Task, ModelSettings]] = [
        (task, chosen)
        for task, chosen in (
            (Task.EMOTION, settings.models.emotion),
            (Task.SPEAKER, settings.models.speaker),
            (Task.IDENTITY, settings.models.identity),
            (Task.OVERLAP, settings.models.overlap),
        )
        if chosen.name and (task is not Task.OVERLAP or settings.models.speaker.name)
    ]
    if not wanted:
        raise SettingsError("no model set; set models.emotion.name, models.speaker.name or models.identity.name")
    models = []
    for task, chosen in wanted:
        model = registry.model(chosen)
        if model.info.task is not task:
            raise SettingsError(f"{chosen.name!r} is a model for {model.info.task}; set it as models.{model.info.task}")
        models.append(model)
    return models, SileroVad(), limit_threads


def model_for(task: Task, models: Sequence[Model]) -> Model | None:
    """Return the model for a task, None if there is none."""
    return next((model for model in models if model.info.task is task), None)


def build_ensembles(models: Sequence[Model]) -> list[Ensemble]:
    """Group models that share a backbone, so that they are scored in one pass; comparing weights takes a second."""
    ensembles: list[Ensemble] = []
    if "stream.models.pretrained" in sys.modules:  # a model with a backbone was loaded
        from stream.models.sharing import share_backbones  # noqa: PLC0415 - torch

        ensembles += share_backbones(models)
    if "stream.models.campplus.trunk" in sys.modules:
        from stream.models.campplus.trunk import share_trunks  # noqa: PLC0415 - torch

        ensembles += share_trunks(models)
    return ensembles
