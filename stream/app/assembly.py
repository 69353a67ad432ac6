"""From settings to a pipeline ready to run: the only place that builds sources, models and sinks by name.

Order: what is cheap to refuse comes first (sources and sinks parse their targets), models last (they import torch).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from stream.app import registry
from stream.control.dispatcher import CommandDispatcher, CommandSource
from stream.errors import SettingsError
from stream.events import NODE
from stream.pipeline.pipeline import Pipeline
from stream.profiles.registrar import Registrar
from stream.profiles.store import calibration_of
from stream.settings import ModelSettings, Settings, SourceSettings
from stream.types import Ensemble, Model, Sink, SpeechDetector, Task


async def assemble(
    settings: Settings,
    *,
    sinks: Mapping[str, Sink] | None = None,
    registrar: Registrar | None = None,
    stays: bool = False,
) -> Pipeline:
    """Build everything the settings name; `sinks` come beside those, `registrar` keeps the people.

    A run that `stays` needs no source. Raises any `TonewatchError`.
    """
    sources = [registry.source(source) for source in with_ids(settings.sources)]
    if not sources and not stays:
        raise SettingsError("there is nothing to listen to; name a file, `microphone` or `-`")
    outlets = {target: registry.sink(target, settings) for target in settings.sinks} | dict(sinks or {})
    models, detector, prepare = await asyncio.to_thread(load_models, settings)
    speaker = next((model for model in models if model.info.task is Task.SPEAKER), None)
    if settings.speakers.enrolled and speaker is None:
        raise SettingsError("speakers.enrolled needs a speaker model; set models.speaker.name")
    registrar = registrar or Registrar(settings=settings)
    enrolled = await registrar.read(speaker, detector) if speaker is not None else ()
    pipeline = Pipeline(
        settings=settings,
        sources=sources,
        models=models,
        detector=detector,
        sinks=outlets,
        ensembles=await asyncio.to_thread(answering_together, models),
        enrolled=enrolled,
        calibration=await asyncio.to_thread(calibration_of, speaker.info, settings.speakers) if speaker else None,
        prepare=prepare,
        stays=stays,
    )
    registrar.attach(pipeline)
    control = CommandDispatcher(pipeline=pipeline, handlers=registrar.handlers)
    for outlet in outlets.values():
        if isinstance(outlet, CommandSource):
            outlet.attach(control.answer)
    return pipeline


def with_ids(sources: Sequence[SourceSettings]) -> list[SourceSettings]:
    """Give every source a name of its own: the one set, or one made from its target, numbered where two are alike."""
    named: list[SourceSettings] = []
    taken = {NODE}  # the process's own name in events
    for source in sources:
        wish = source.id or _name(source)
        name, number = wish, 1
        while name in taken:
            if source.id:
                raise SettingsError(f"the source id {source.id!r} is taken; give each source one of its own")
            number += 1
            name = f"{wish}-{number}"
        taken.add(name)
        named.append(source.model_copy(update={"id": name}))
    return named


def _name(source: SourceSettings) -> str:
    base = os.path.splitext(os.path.basename(source.target))[0] if source.kind == "file" else source.kind  # noqa: PTH119, PTH122
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in base)[:64] or source.kind


def load_models(settings: Settings) -> tuple[list[Model], SpeechDetector, Callable[[int], None]]:
    """Models and speech detector; the slow part of starting, run beside the event loop."""
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
        if chosen.name
    ]
    if not wanted:
        raise SettingsError("no model is set; name one under models.emotion, models.speaker or models.identity")
    if settings.models.overlap.name and not settings.models.speaker.name:
        raise SettingsError("models.overlap helps to tell who speaks; set models.speaker.name, too")
    models = []
    for task, chosen in wanted:
        model = registry.model(chosen)
        if model.info.task is not task:
            raise SettingsError(f"models.{task}: {chosen.name} is a model for {model.info.task}, not for {task}")
        models.append(model)
    return models, SileroVad(), limit_threads


def answering_together(models: Sequence[Model]) -> list[Ensemble]:
    """Those of the models that can answer from one pass of one backbone; hashing it takes a second."""
    if "stream.models.pretrained" not in sys.modules:  # nothing was loaded that could
        return []
    from stream.models.sharing import share  # noqa: PLC0415 - torch

    return list(share(models))
