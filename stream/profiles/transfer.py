"""Export and import of profiles as one JSON file.

    {"tonewatch_profiles": 1, "people": [{"name": …, "recordings": [{"model": …, "exemplars": [{"vector": …}]}]}]}

A vector is base64 of little-endian float32. The file holds biometric data: only its owner can read it, and an existing
file is never overwritten. A file is validated as a whole before any of it is imported.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, WithJsonSchema
from pydantic.functional_validators import BeforeValidator, InstanceOf

from stream.errors import ProfilesError
from stream.events import ModelRef
from stream.profiles.profile import MAX_NOTE_LETTERS, EnrolledRecording, Exemplar, Kind, Profile, checked_name
from stream.tracking.voice import Vector

MAX_FILE_BYTES = 256 * 2**20
"""Larger files are refused unread."""

MAX_DIMENSIONS = 8_192


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError("a vector must be base64") from None
    if not 0 < len(raw) <= 4 * MAX_DIMENSIONS or len(raw) % 4:
        raise ValueError(f"a vector must have 1 to {MAX_DIMENSIONS} numbers of 4 bytes")
    return np.frombuffer(raw, dtype="<f4").astype(np.float32)


def _encoded(vector: Vector) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


_Vector = Annotated[
    InstanceOf[np.ndarray], BeforeValidator(_decoded), PlainSerializer(_encoded), WithJsonSchema({"type": "string"})
]
_Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _TransferModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


class _ExemplarRecord(_TransferModel):
    vector: _Vector
    speech_s: _Seconds


class _RecordingRecord(_TransferModel):
    model: ModelRef
    kind: Kind
    origin: str = Field(max_length=1_024)
    speech_s: _Seconds
    created: AwareDatetime
    exemplars: tuple[_ExemplarRecord, ...] = Field(min_length=1, max_length=10_000)


class _ProfileRecord(_TransferModel):
    name: str
    note: str = Field(max_length=MAX_NOTE_LETTERS)
    created: AwareDatetime
    updated: AwareDatetime
    recordings: tuple[_RecordingRecord, ...] = Field(max_length=10_000)


class _TransferFile(_TransferModel):
    tonewatch_profiles: Literal[1] = 1
    people: tuple[_ProfileRecord, ...]


def write(path: Path, profiles: Sequence[Profile]) -> None:
    """Write profiles to a new file. Raises `ProfilesError`."""
    text = _TransferFile(
        people=tuple(_ProfileRecord.model_validate(_record(profile)) for profile in profiles)
    ).model_dump_json(indent=1)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except FileExistsError:
        raise ProfilesError(f"{path} exists already; name another file") from None
    except OSError as error:
        raise ProfilesError(f"cannot write {path} ({error.strerror}); name another file") from None


def read(path: Path) -> tuple[Profile, ...]:
    """Return the profiles of an exported file. Raises `ProfilesError`."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ProfilesError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MB; export fewer profiles at a time")
        people = _TransferFile.model_validate_json(path.read_bytes()).people
    except OSError as error:
        raise ProfilesError(
            f"cannot read {path} ({error.strerror}); name a file written by `tonewatch profiles export`"
        ) from None
    except ValidationError as error:
        issue = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, issue["loc"]))
        raise ProfilesError(
            f"{path} is no valid export ({where or 'file'}: {issue['msg']}); write it with `tonewatch profiles export`"
        ) from None
    names = [checked_name(person.name) for person in people]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ProfilesError(f"{path} contains {', '.join(sorted(repeated))} twice; remove one of them")
    return tuple(_profile(name, person) for name, person in zip(names, people, strict=True))


def _record(profile: Profile) -> dict[str, Any]:
    recordings = [
        {
            "model": recording.model,
            "kind": recording.kind,
            "origin": recording.origin,
            "speech_s": recording.speech_s,
            "created": recording.created,
            "exemplars": [{"vector": one.vector, "speech_s": one.speech_s} for one in recording.exemplars],
        }
        for recording in profile.recordings
    ]
    return {
        "name": profile.name,
        "note": profile.note,
        "created": profile.created,
        "updated": profile.updated,
        "recordings": recordings,
    }


def _profile(name: str, person: _ProfileRecord) -> Profile:
    recordings = tuple(
        EnrolledRecording(
            model=one.model,
            kind=one.kind,
            origin=one.origin,
            speech_s=one.speech_s,
            exemplars=tuple(Exemplar(exemplar.vector, exemplar.speech_s) for exemplar in one.exemplars),
            created=one.created,
        )
        for one in person.recordings
    )
    return Profile(name, recordings, person.created, person.updated, person.note)
