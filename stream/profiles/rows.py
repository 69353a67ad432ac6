"""The rows of the profile database: writing them, reading those that are sound, and their checksums.

Every row has a checksum (CRC-32, which finds any single flipped bit); SQLite itself notices damage to its structure
only. A changed row has none until the end of its transaction, where `seal` computes it. Rows are read without
indices, which may be damaged as well. Names that earlier versions took are read as they can be shown.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from stream.errors import ProfilesError
from stream.events import ModelRef
from stream.events.text import printable
from stream.profiles.profile import EnrolledRecording, Exemplar, FittedCalibration, Profile

TABLES: dict[str, dict[str, type | None]] = {
    "people": {"id": int, "name": str, "note": str, "created": float, "updated": float},
    "recordings": {
        "id": int,
        "person": int,
        "model": str,
        "revision": str,
        "kind": str,
        "origin": str,
        "speech_s": float,
        "created": float,
    },
    "exemplars": {"recording": int, "place": int, "speech_s": float, "vector": bytes},
    "calibrations": {
        "model": str,
        "revision": str,
        "weights": str,
        "threshold": None,  # a number or none
        "genuine": int,
        "impostor": int,
        "fitted": float,
    },
}
"""The columns of each table without its checksum, and their types."""


def read_profiles(connection: sqlite3.Connection, *, checked: bool) -> tuple[tuple[Profile, ...], int]:
    """Return the profiles of all sound rows, ordered by name, and the number of rows that are not.

    Without `checked` the tables are of version 1 and have no checksums.
    """
    people, damaged = _sound_rows(connection, "people", checked=checked)
    rows, damaged_recordings = _sound_rows(connection, "recordings", checked=checked)
    vectors, damaged_vectors = _sound_rows(connection, "exemplars", checked=checked)
    damaged += damaged_recordings + damaged_vectors
    exemplars: dict[int, list[tuple[float, bytes]]] = {}
    for recording, _, speech_s, blob in sorted(vectors):
        exemplars.setdefault(recording, []).append((speech_s, blob))
    recordings: dict[int, list[EnrolledRecording]] = {}
    for row in sorted(rows):
        try:
            recordings.setdefault(row[1], []).append(_recording(row, exemplars.get(row[0], ())))
        except (ProfilesError, ValueError, OverflowError, OSError):
            damaged += 1
    profiles = []
    for number, name, note, created, updated in people:
        try:
            mine = tuple(recordings.get(number, ()))
            profiles.append(Profile(printable(name), mine, _time(created), _time(updated), note))
        except (ValueError, OverflowError, OSError):
            damaged += 1
    return tuple(sorted(profiles, key=lambda profile: profile.name)), damaged


def read_calibrations(connection: sqlite3.Connection, *, checked: bool) -> tuple[FittedCalibration, ...]:
    """Return the calibrations of all sound rows."""
    found = []
    for model, revision, weights, threshold, genuine, impostor, fitted in _sound_rows(
        connection, "calibrations", checked=checked
    )[0]:
        try:
            numbers = tuple(map(float, json.loads(weights)))
            ref = ModelRef(name=model, revision=revision)
            found.append(FittedCalibration(ref, numbers, threshold, genuine, impostor, _time(fitted)))
        except (ValueError, TypeError, OverflowError, OSError):  # of version 1, without a checksum
            continue
    return tuple(found)


def people_by_name(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of every person, also of damaged rows, by the name that can be shown."""
    raw = _raw_rows(connection, "SELECT name, id FROM people NOT INDEXED")
    return {printable(bytes(name).decode(errors="replace")): number for name, number in raw}


def insert_recording(connection: sqlite3.Connection, person: int, recording: EnrolledRecording) -> None:
    """Store a recording of a person. Raises `ProfilesError` if x-vectors of its model have another length here."""
    model = recording.model
    length = connection.execute(
        "SELECT length(vector) FROM exemplars JOIN recordings ON recordings.id = recording"
        " WHERE model = ? AND revision = ? LIMIT 1",
        (model.name, model.revision),
    ).fetchone()
    blobs = [np.asarray(exemplar.vector, dtype="<f4").tobytes() for exemplar in recording.exemplars]
    if length is not None and length[0] != len(blobs[0]):
        raise ProfilesError(
            f"x-vectors of {model.name} {model.revision} have {length[0] // 4} dimensions in this file, not "
            f"{len(blobs[0]) // 4}; use the model that made the others"
        )
    number = connection.execute(
        "INSERT INTO recordings (person, model, revision, kind, origin, speech_s, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            person,
            model.name,
            model.revision,
            recording.kind,
            recording.origin,
            recording.speech_s,
            recording.created.timestamp(),
        ),
    ).lastrowid
    connection.executemany(
        "INSERT INTO exemplars VALUES (?, ?, ?, ?, NULL)",
        [
            (number, place, exemplar.speech_s, blob)
            for place, (exemplar, blob) in enumerate(zip(recording.exemplars, blobs, strict=True))
        ],
    )


def delete_copies(connection: sqlite3.Connection, person: int) -> None:
    """Delete recordings of a person that are there twice: the same x-vectors of the same model."""
    seen: set[tuple[str, str, bytes]] = set()
    for number, model, revision in connection.execute(
        "SELECT id, model, revision FROM recordings WHERE person = ? ORDER BY id", (person,)
    ).fetchall():
        vectors = connection.execute("SELECT vector FROM exemplars WHERE recording = ? ORDER BY place", (number,))
        content = (model, revision, b"".join(vector for (vector,) in vectors))
        if content in seen:
            connection.execute("DELETE FROM recordings WHERE id = ?", (number,))
        seen.add(content)


def seal(connection: sqlite3.Connection) -> None:
    """Compute the checksums of all rows that were changed in this transaction."""
    for table, columns in TABLES.items():
        names = ", ".join(columns)
        changed = _raw_rows(connection, f"SELECT rowid, {names} FROM {table} WHERE checksum IS NULL")  # noqa: S608
        connection.executemany(
            f"UPDATE {table} SET checksum = ? WHERE rowid = ?",  # noqa: S608 - names of ours, here and above
            [(_checksum(values), rowid) for rowid, *values in changed],
        )


def _sound_rows(connection: sqlite3.Connection, table: str, *, checked: bool) -> tuple[list[tuple[Any, ...]], int]:
    """Return the rows as they were written, and the number of those that are not."""
    columns = TABLES[table]
    checksum = "checksum" if checked else "NULL"
    query = f"SELECT {', '.join(columns)}, {checksum} FROM {table} NOT INDEXED"  # noqa: S608 - names of ours
    raw = _raw_rows(connection, query)
    sound = [
        row
        for *values, expected in raw
        if not checked or _checksum(values) == expected
        if (row := _typed(values, columns.values())) is not None
    ]
    return sound, len(raw) - len(sound)


def _raw_rows(connection: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    """Return rows with text as bytes, which may not be UTF-8 any more."""
    connection.text_factory = bytes
    try:
        return connection.execute(query).fetchall()
    except UnicodeDecodeError as error:  # a damaged name in a message of SQLite's own
        raise sqlite3.DatabaseError(str(error)) from None
    finally:
        connection.text_factory = str


def _checksum(values: Iterable[Any]) -> int:
    checksum = 0
    for value in values:
        data = struct.pack("<d", value) if isinstance(value, float) else value
        data = data if isinstance(data, bytes) else str(data).encode()
        checksum = zlib.crc32(f"{type(value).__name__} {len(data)}\n".encode() + data, checksum)
    return checksum


def _typed(values: Iterable[Any], types: Iterable[type | None]) -> tuple[Any, ...] | None:
    """Return the values with text decoded; None if one is not of its column's type."""
    row = []
    for value, wanted in zip(values, types, strict=True):
        if wanted is None:
            fits = value is None or isinstance(value, float | int)
        else:
            fits = isinstance(value, bytes if wanted is str else wanted)
        if not fits:
            return None
        try:
            row.append(value.decode() if wanted is str else value)
        except UnicodeDecodeError:
            return None
    return tuple(row)


def _recording(row: tuple[Any, ...], exemplars: Iterable[tuple[float, bytes]]) -> EnrolledRecording:
    """Build a recording. Raises `ProfilesError` or `ValueError` if it has no usable x-vectors."""
    _, _, model, revision, kind, origin, speech_s, created = row
    return EnrolledRecording(
        model=ModelRef(name=model, revision=revision),
        kind=kind,
        origin=origin,
        speech_s=speech_s,
        exemplars=tuple(
            Exemplar(np.frombuffer(blob, dtype="<f4").astype(np.float32), length_s) for length_s, blob in exemplars
        ),
        created=_time(created),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
