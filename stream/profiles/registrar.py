"""Whom a running node knows, and what it is asked about that: `enroll` and `reload`.

`read` gives the voices at the start. From then on `enroll` makes a stored profile of a voice that a stream has met, and
`reload` reads everything anew; both give the voices to all streams at once, without a break, and to those that open
later. What cannot be done is refused with one sentence, and changes nothing. Nobody who was not asked for is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stream.control.commands import EnrollCommand, ReloadCommand
from stream.control.dispatcher import Handler
from stream.errors import CommandRefused
from stream.events import ModelRef
from stream.profiles.known_voices import KnownVoices, enrol, known
from stream.profiles.profile import EnrolledRecording, Exemplar, checked_name
from stream.profiles.quality import WindowEmbedding, one_person, several, too_short
from stream.profiles.store import ProfileStore, path_of
from stream.settings import Settings
from stream.tracking.stream_tracker import scorer
from stream.tracking.voice import Voice
from stream.types import Model, SpeechDetector


class EnrolmentTarget(Protocol):
    """What `Pipeline` offers."""

    def met(self, source_id: str, name: str | None = None) -> tuple[str, Voice | None]:
        """The one stream of a source, and whom it calls so, or who speaks."""
        ...

    def know(
        self, enrolled: Sequence[Voice], *, stream: str | None = None, met: str | None = None, name: str | None = None
    ) -> int:
        """Enrolled people are these from now on."""
        ...


class Registrar:
    """Keeps the profiles of one node. Without a speaker model there is nobody to know, and nothing it can do."""

    def __init__(self, *, settings: Settings) -> None:
        self._settings = settings
        self._path: Path | None = path_of(settings.speakers.profiles)
        self._model: Model | None = None
        self._detector: SpeechDetector | None = None
        self._hearing: EnrolmentTarget | None = None
        self._named: Sequence[Voice] = ()  # by recordings in the settings
        self._one_at_a_time = asyncio.Lock()

    async def read(self, model: Model, detector: SpeechDetector) -> tuple[Voice, ...]:
        """Everybody this model can know. Raises `ProfilesError`, `SourceError` or `SettingsError`."""
        self._model, self._detector = model, detector
        return (await self._read_all(model, detector)).voices

    def attach(self, hearing: EnrolmentTarget) -> None:
        """Whom to tell what changes."""
        self._hearing = hearing

    @property
    def handlers(self) -> dict[str, Handler]:
        """What carries out the commands, by their names."""
        return {} if self._model is None else {"enroll": self._enroll, "reload": self._reload}

    async def _enroll(self, command: EnrollCommand) -> Mapping[str, Any]:
        hearing, model, path = self._hearing, self._model, self._path
        assert hearing is not None  # noqa: S101 - asked only when attached
        assert model is not None  # noqa: S101 - there are no handlers without
        if path is None:
            raise CommandRefused("this node keeps no profiles; set speakers.profiles")
        name = checked_name(command.name)
        stream, voice = hearing.met(command.source, command.voice)
        recording = self._recording(model, stream, voice, wanted=command.voice)
        assert voice is not None  # noqa: S101 - else refused
        async with self._one_at_a_time:
            await asyncio.to_thread(_store, path, name, recording)
            people = await known(settings=self._settings, model=model, named=self._named)
            hearing.know(people.voices, stream=stream, met=voice.name, name=name)
        return {
            "name": name,
            "source": stream,
            "voice": voice.name,
            "speech_s": round(recording.speech_s, 3),
            "exemplars": len(recording.exemplars),
        }

    async def _reload(self, command: ReloadCommand) -> Mapping[str, Any]:  # noqa: ARG002 - it says all by its name
        hearing, model, detector = self._hearing, self._model, self._detector
        assert hearing is not None  # noqa: S101 - as above
        assert model is not None  # noqa: S101
        assert detector is not None  # noqa: S101
        async with self._one_at_a_time:
            people = await self._read_all(model, detector)
            streams = hearing.know(people.voices)
        return {"people": len(people.voices), "left_out": people.left_out, "streams": streams}

    async def _read_all(self, model: Model, detector: SpeechDetector) -> KnownVoices:
        self._named = await enrol(settings=self._settings, model=model, detector=detector)
        return await known(settings=self._settings, model=model, named=self._named)

    def _recording(self, model: Model, stream: str, voice: Voice | None, *, wanted: str | None) -> EnrolledRecording:
        """What the stream remembers of a voice. Raises `CommandRefused` where that cannot make a profile."""
        if voice is None:
            raise CommandRefused(
                f"nobody the stream has met speaks in {stream!r} now; try again while they speak"
                if wanted is None
                else f"{stream!r} has met no {wanted!r}"
            )
        if voice.enrolled:
            raise CommandRefused(f"{voice.name} is enrolled already; `tonewatch profiles rename` gives another name")
        exemplars = tuple(Exemplar(vector, speech_s) for vector, speech_s in voice.recent)
        speech_s = sum(exemplar.speech_s for exemplar in exemplars)
        pieces = [WindowEmbedding(vector, speech_s, speech_s) for vector, speech_s in voice.recent]
        likeness = one_person(pieces, scorer(model.info, self._settings.speakers.threshold))
        fault = too_short(speech_s) or several(likeness)
        if fault is not None:
            raise CommandRefused(f"{voice.name} cannot be enrolled yet: {fault.sentence}")
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
