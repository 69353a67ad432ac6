"""Enrolled voices of a run: stored profiles, and recordings that the settings name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from stream.errors import SettingsError
from stream.events import ModelRef
from stream.profiles.enrolment_audio import EnrolmentAudio, speakers_issue
from stream.profiles.other_models import recognising_presets, run_advice
from stream.profiles.profile import voices_for
from stream.profiles.store import database_path, read_profiles
from stream.settings import Settings, SourceSettings
from stream.settings.speakers import MIN_ENROLMENT_SPEECH_S
from stream.sources.file import FileSource
from stream.tracking.scoring import build_scorer
from stream.tracking.voice import Voice
from stream.types import Block, Model, SpeechDetector

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KnownVoices:
    """The voices a run recognises, and the number of profiles without x-vectors of its speaker model."""

    voices: tuple[Voice, ...]
    left_out: int


async def known_voices(*, settings: Settings, model: Model, configured: Sequence[Voice]) -> KnownVoices:
    """Return the `configured` voices and those of all stored profiles with other names. Raises `ProfilesError`."""
    info = model.info
    profiles = await asyncio.to_thread(read_profiles, database_path(settings.speakers.profiles))
    taken = {voice.name for voice in configured}
    profiles = tuple(profile for profile in profiles if profile.name not in taken)
    stored, left_out = voices_for(profiles, ModelRef(name=info.name, revision=info.revision))
    if left_out:  # names are personal data and stay out of the log
        others = [profile for profile in profiles if profile.name in left_out]
        advice = run_advice(recognising_presets(others, besides=info.name))
        log.warning(
            "%d of %d profiles have no x-vectors of %s %s and are not recognised; enrol them again "
            "(`tonewatch profiles list` shows the commands)%s",
            len(left_out),
            len(profiles),
            info.name,
            info.revision,
            advice and f", or {advice}",
        )
    return KnownVoices((*configured, *stored), len(left_out))


async def configured_voices(
    *, settings: Settings, model: Model, detector: SpeechDetector, segmentation: Model | None = None
) -> list[Voice]:
    """Return a voice for every name in `speakers.enrolled`.

    Raises `SourceError` for an unusable file, `SettingsError` for one with too little speech or, by segmentation, of
    several people.
    """
    return [
        await _configured_voice(
            name, path, settings=settings, model=model, detector=detector, segmentation=segmentation
        )
        for name, path in settings.speakers.enrolled.items()
    ]


async def _configured_voice(
    name: str,
    path: str,
    *,
    settings: Settings,
    model: Model,
    detector: SpeechDetector,
    segmentation: Model | None,
) -> Voice:
    audio = await read_enrolment(path, settings=settings, model=model, detector=detector, segmentation=segmentation)
    if audio.tracks and (several := speakers_issue([audio], build_scorer(model.info, settings.speakers.threshold))):
        raise SettingsError(f"speakers.enrolled.{name}: {path}: {several.message}")
    if audio.speech_s < MIN_ENROLMENT_SPEECH_S or not audio.exemplars:
        raise SettingsError(
            f"speakers.enrolled.{name}: {audio.speech_s:.1f} s of speech in {path}, at least "
            f"{MIN_ENROLMENT_SPEECH_S:g} s needed; give a longer recording"
        )
    return Voice(
        name=name,
        exemplars=[exemplar.vector for exemplar in audio.exemplars],
        enrolled=True,
        evidence_s=audio.speech_s,
    )


async def read_enrolment(
    path: str, *, settings: Settings, model: Model, detector: SpeechDetector, segmentation: Model | None = None
) -> EnrolmentAudio:
    """Process a recording to its end, or until there is enough speech. Raises `SourceError`."""
    source = FileSource(settings=SourceSettings(kind="file", target=path))
    async with source.blocks() as blocks:
        audio = EnrolmentAudio(
            settings=settings,
            model=model,
            detector=detector,
            rate_hz=source.format.rate_hz,
            segmentation=segmentation,
        )
        async for block in blocks:
            if isinstance(block, Block):
                await asyncio.to_thread(audio.push, block.samples)  # models would block the loop of a running node
            if audio.is_full:
                break
        await asyncio.to_thread(audio.finish)
    return audio
