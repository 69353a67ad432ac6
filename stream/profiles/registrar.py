"""Enrolment on a running node: the commands `enroll` and `reload`.

`read` returns the voices known at the start. `enroll` stores a profile of a voice that a stream has discovered;
`reload` reads profiles, configured recordings and the fitted calibration again. Both apply to all running streams at
once, without a break, and to streams that open later. A refused command changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stream.control.commands import EnrollCommand, ReloadCommand
from stream.control.dispatcher import Handler
from stream.errors import CommandRefused, ProfilesDamaged
from stream.events import ModelRef
from stream.profiles.known_voices import KnownVoices, configured_voices, known_voices
from stream.profiles.profile import EnrolledRecording, Exemplar, FittedCalibration, checked_name, voice_of
from stream.profiles.quality import WindowEmbedding, length_issue, same_speaker_probability, speaker_issue
from stream.profiles.similar import same_person_probabilities, similar_names, too_alike
from stream.profiles.store import ProfileStore, database_path, read_calibration
from stream.settings import Settings
from stream.tracking.scoring import build_scorer
from stream.tracking.voice import Voice
from stream.types import Model, SpeechDetector

log = logging.getLogger(__name__)


class EnrolmentTarget(Protocol):
    """The running streams whose voices are enrolled; `Pipeline` is one."""

    def session_voice(self, source_id: str, name: str | None = None) -> tuple[str, Voice | None]:
        """Return the one stream of a source and its voice called `name`, or the current speaker if `name` is None."""
        ...

    def set_enrolled(
        self,
        enrolled: Sequence[Voice],
        *,
        stream: str | None = None,
        session_voice: str | None = None,
        name: str | None = None,
    ) -> int:
        """Replace the enrolled voices; returns the number of active streams.

        If given, `session_voice` of `stream` is the voice now enrolled as `name`.
        """
        ...

    def set_calibration(self, calibration: FittedCalibration | None) -> None:
        """Replace the fitted calibration of the speaker model."""
        ...


class Registrar:
    """Profiles of one node. Without a speaker model it offers no commands."""

    def __init__(self, *, settings: Settings) -> None:
        self._settings = settings
        self._path: Path | None = database_path(settings.speakers.profiles)
        self._model: Model | None = None
        self._detector: SpeechDetector | None = None
        self._segmentation: Model | None = None
        self._target: EnrolmentTarget | None = None
        self._configured: Sequence[Voice] = ()
        self._lock = asyncio.Lock()  # one command at a time

    async def read(
        self, model: Model, detector: SpeechDetector, segmentation: Model | None = None
    ) -> tuple[Voice, ...]:
        """Return all voices `model` can recognise; only those that the settings name if the database is damaged.

        Raises `ProfilesError`, `SourceError` or `SettingsError`.
        """
        self._model, self._detector, self._segmentation = model, detector, segmentation
        try:
            return (await self._read_all(model, detector)).voices
        except ProfilesDamaged as error:
            log.error("nobody with a stored profile is recognised: %s", error)  # noqa: TRY400 - it says enough
            return tuple(self._configured)

    def attach(self, target: EnrolmentTarget) -> None:
        """Set the streams that the commands apply to."""
        self._target = target

    @property
    def handlers(self) -> dict[str, Handler]:
        """The handlers of the commands, by command name."""
        return {} if self._model is None else {"enroll": self._enroll, "reload": self._reload}

    async def _enroll(self, command: EnrollCommand) -> Mapping[str, Any]:
        target, model, path = self._target, self._model, self._path
        assert target is not None  # noqa: S101 - commands arrive after `attach`
        assert model is not None  # noqa: S101 - without a model there are no handlers
        if path is None:
            raise CommandRefused("this node keeps no profiles; set speakers.profiles")
        name = checked_name(command.name)
        stream, voice = target.session_voice(command.source, command.voice)
        recording = self._recording(model, stream, voice, requested=command.voice)
        assert voice is not None  # noqa: S101 - `_recording` refuses None
        async with self._lock:
            if not command.allow_similar:
                await self._refuse_similar(name, recording, model)
            await asyncio.to_thread(_store, path, name, recording)
            people = await known_voices(settings=self._settings, model=model, configured=self._configured)
            target.set_enrolled(people.voices, stream=stream, session_voice=voice.name, name=name)
        return {
            "name": name,
            "source": stream,
            "voice": voice.name,
            "speech_s": round(recording.speech_s, 3),
            "exemplars": len(recording.exemplars),
        }

    async def _refuse_similar(self, name: str, recording: EnrolledRecording, model: Model) -> None:
        """Raise `CommandRefused` if the voice is enrolled already under another name."""
        people = await known_voices(settings=self._settings, model=model, configured=self._configured)
        scorer = build_scorer(model.info, self._settings.speakers.threshold)
        similar = similar_names(name, same_person_probabilities(voice_of("", [recording]), people.voices, scorer))
        if similar:
            raise CommandRefused(
                f"{too_alike(name, similar)}; enrol as {similar[0]!r}, or set allow_similar if these are two people"
            )

    async def _reload(self, command: ReloadCommand) -> Mapping[str, Any]:  # noqa: ARG002 - it has no arguments
        target, model, detector = self._target, self._model, self._detector
        assert target is not None  # noqa: S101 - as above
        assert model is not None  # noqa: S101
        assert detector is not None  # noqa: S101
        async with self._lock:
            people = await self._read_all(model, detector)
            calibration = await asyncio.to_thread(read_calibration, model.info, self._settings.speakers)
            target.set_calibration(calibration)
            streams = target.set_enrolled(people.voices)
        return {"people": len(people.voices), "left_out": people.left_out, "streams": streams}

    async def _read_all(self, model: Model, detector: SpeechDetector) -> KnownVoices:
        self._configured = await configured_voices(
            settings=self._settings, model=model, detector=detector, segmentation=self._segmentation
        )
        return await known_voices(settings=self._settings, model=model, configured=self._configured)

    def _recording(self, model: Model, stream: str, voice: Voice | None, *, requested: str | None) -> EnrolledRecording:
        """Return the x-vectors a stream keeps of a voice. Raises `CommandRefused` if they cannot make a profile."""
        if voice is None:
            raise CommandRefused(
                f"no recognised voice is speaking in {stream!r}; retry while the person speaks"
                if requested is None
                else f"{stream!r} has no voice {requested!r}"
            )
        if voice.enrolled:
            raise CommandRefused(f"{voice.name!r} is enrolled already; use `tonewatch profiles rename` to rename it")
        exemplars = tuple(Exemplar(vector, speech_s) for vector, speech_s in voice.recent)
        speech_s = sum(exemplar.speech_s for exemplar in exemplars)
        embeddings = [WindowEmbedding(vector, speech_s, speech_s) for vector, speech_s in voice.recent]
        probability = same_speaker_probability(embeddings, build_scorer(model.info, self._settings.speakers.threshold))
        issue = length_issue(speech_s) or speaker_issue(probability)
        if issue is not None:
            raise CommandRefused(f"cannot enrol {voice.name!r} yet: {issue.message}")
        info = model.info
        return EnrolledRecording(
            model=ModelRef(name=info.name, revision=info.revision),
            kind="stream",
            origin=stream,
            speech_s=speech_s,
            exemplars=exemplars,
        )


def _store(path: Path, name: str, recording: EnrolledRecording) -> None:
    with ProfileStore(path, create=True) as store:
        store.add(name, recording)
