"""Whom a run knows: the people in the file of profiles, and those whose recordings the settings name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from stream.errors import SettingsError
from stream.events import ModelRef
from stream.profiles.enrolment_audio import EnrolmentAudio
from stream.profiles.profile import voices
from stream.profiles.quality import MIN_ENROLMENT_SPEECH_S
from stream.profiles.store import path_of, profiles_in
from stream.settings import Settings, SourceSettings
from stream.sources.file import FileSource
from stream.tracking.voice import Voice
from stream.types import Block, Model, SpeechDetector

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KnownVoices:
    """Voices this run knows, and how many people it cannot know because other models heard them."""

    voices: tuple[Voice, ...]
    left_out: int


async def known(*, settings: Settings, model: Model, named: Sequence[Voice]) -> KnownVoices:
    """Everybody in the file of profiles, and those `named` in the settings; who is both is known by the latter.

    Raises `ProfilesError`.
    """
    info = model.info
    profiles = await asyncio.to_thread(profiles_in, path_of(settings.speakers.profiles))
    taken = {voice.name for voice in named}
    profiles = tuple(profile for profile in profiles if profile.name not in taken)
    stored, left_out = voices(profiles, ModelRef(name=info.name, revision=info.revision))
    if left_out:  # no names: a log is no place for them
        log.warning(
            "%d of %d people in the file of profiles are not known to %s %s, since other models heard them; "
            "`tonewatch profiles list` says who, and `tonewatch enroll` makes them known",
            len(left_out),
            len(profiles),
            info.name,
            info.revision,
        )
    return KnownVoices((*named, *stored), len(left_out))


async def enrol(*, settings: Settings, model: Model, detector: SpeechDetector) -> list[Voice]:
    """A voice for every name in `speakers.enrolled`. Raises `SourceError`, or `SettingsError` when speech is short."""
    return [
        await _voice(name, path, settings=settings, model=model, detector=detector)
        for name, path in settings.speakers.enrolled.items()
    ]


async def _voice(name: str, path: str, *, settings: Settings, model: Model, detector: SpeechDetector) -> Voice:
    take = await hear_file(path, settings=settings, model=model, detector=detector)
    if take.speech_s < MIN_ENROLMENT_SPEECH_S or not take.exemplars:
        raise SettingsError(
            f"speakers.enrolled: {path} holds {take.speech_s:.1f} s of speech; {name} needs {MIN_ENROLMENT_SPEECH_S:g} s at least"
        )
    return Voice(
        name=name,
        exemplars=[exemplar.vector for exemplar in take.exemplars],
        enrolled=True,
        evidence_s=take.speech_s,
    )


async def hear_file(path: str, *, settings: Settings, model: Model, detector: SpeechDetector) -> EnrolmentAudio:
    """A recording from its beginning to its end, or until there is enough. Raises `SourceError`."""
    source = FileSource(settings=SourceSettings(kind="file", target=path))
    async with source.blocks() as blocks:
        take = EnrolmentAudio(settings=settings, model=model, detector=detector, rate_hz=source.format.rate_hz)
        async for block in blocks:
            if isinstance(block, Block):
                await asyncio.to_thread(take.push, block.samples)  # beside the event loop: a node may be running
            if take.is_full:
                break
        await asyncio.to_thread(take.finish)
    return take
