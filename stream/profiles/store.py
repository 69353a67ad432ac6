"""The profiles on disk: one SQLite file (WAL) that only its owner can read, in a folder that only he can enter.

    with ProfileStore(path, create=True) as store:
        store.add("Alice", recording, note="agreed on paper, 3 May")

Every method is one transaction. What is removed is really gone when the method returns: SQLite overwrites it
(`secure_delete`), the file is built anew without it (`VACUUM`) and the write-ahead log is emptied. Processes may share
the file; each waits for the other a few seconds.

A file that is damaged, of a newer version, another program's, locked, on a full disk or not writable is refused with
one sentence; it is never put aside or replaced, since voices cannot be had again. No name or vector is ever logged.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import platformdirs

from stream import database
from stream.errors import ProfileNotFound, ProfilesError
from stream.events import ModelRef
from stream.profiles.profile import EnrolledRecording, Exemplar, FittedCalibration, Profile, checked_name, checked_note
from stream.profiles.schema import sentence, set_up
from stream.settings import SpeakersSettings
from stream.tracking.voice import Vector
from stream.types import ModelInfo

WAIT_S = 5.0
"""How long another process's lock is waited for."""

FILE = "profiles.sqlite"
EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"


def path_of(chosen: str) -> Path | None:
    """The file `speakers.profiles` chooses: None for an empty one, a path, or for `auto` where this user's data is."""
    if chosen != "auto":
        return Path(chosen).expanduser() if chosen else None
    return Path(platformdirs.user_data_dir("tonewatch", appauthor=False)) / FILE


def profiles_in(path: Path | None) -> tuple[Profile, ...]:
    """Everybody in a file; nobody where there is none yet. Raises `ProfilesError`."""
    if path is None:
        return ()
    with ProfileStore(path) as store:
        return store.profiles()


def calibration_of(info: ModelInfo, speakers: SpeakersSettings) -> FittedCalibration | None:
    """What `tonewatch calibrate` found for a model, unless a threshold is set. Raises `ProfilesError`."""
    path = path_of(speakers.profiles)
    if path is None or speakers.threshold is not None:
        return None
    with ProfileStore(path) as store:
        return store.calibration(ModelRef(name=info.name, revision=info.revision))


class ProfileStore:
    """The file, open. One that is not there is made if `create`, else it is as if it were empty."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self._create = create
        self._open: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        """Open the file. Raises `ProfilesError`."""
        with self._explained():
            if self._create:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._create and not os.path.exists(self.path):  # noqa: PTH110 - also where we may not look (a service)
                self._open = sqlite3.connect(":memory:", isolation_level="IMMEDIATE")
                set_up(self._open)
            else:
                self._open = database.connect(self.path, prepare=set_up, wait_s=WAIT_S)
                self.path.chmod(0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._open is not None:
            with suppress(sqlite3.Error):  # what a deletion could not empty, since somebody was reading
                self._open.execute(EMPTY_LOG)
            self._open.close()
            self._open = None

    def profiles(self) -> tuple[Profile, ...]:
        """Everybody, by name."""
        with self._explained():
            exemplars: dict[int, list[Exemplar]] = {}
            for recording, speech_s, blob in self._rows(
                "SELECT recording, speech_s, vector FROM exemplars ORDER BY recording, place"
            ):
                exemplars.setdefault(recording, []).append(Exemplar(_vector(blob), speech_s))
            recordings: dict[int, list[EnrolledRecording]] = {}
            for number, person, model, revision, kind, origin, speech_s, created in self._rows(
                "SELECT id, person, model, revision, kind, origin, speech_s, created FROM recordings ORDER BY id"
            ):
                recordings.setdefault(person, []).append(
                    EnrolledRecording(
                        model=ModelRef(name=model, revision=revision),
                        kind=kind,
                        origin=origin,
                        speech_s=speech_s,
                        exemplars=tuple(exemplars.get(number, ())),
                        created=_time(created),
                    )
                )
            return tuple(
                Profile(
                    name=name,
                    note=note,
                    created=_time(created),
                    updated=_time(updated),
                    recordings=tuple(recordings.get(person, ())),
                )
                for person, name, note, created, updated in self._rows(
                    "SELECT id, name, note, created, updated FROM people ORDER BY name"
                )
            )

    def profile(self, name: str) -> Profile:
        """One person. Raises `ProfileNotFound`."""
        with self._explained():
            self._person(name)
        wanted = checked_name(name)
        return next(profile for profile in self.profiles() if profile.name == wanted)

    def add(self, name: str, *recordings: EnrolledRecording, note: str | None = None) -> None:
        """Keep recordings of somebody, new or known already; `note` takes the place of the one there was.

        Raises `ProfilesError`, also when an x-vector's length is not that of its model's others.
        """
        name = checked_name(name)
        with self._changing() as connection:
            now = datetime.now(UTC).timestamp()
            connection.execute(
                "INSERT INTO people (name, note, created, updated) VALUES (?, '', ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET updated = excluded.updated",
                (name, now, now),
            )
            person = self._person(name)
            if note is not None:
                connection.execute("UPDATE people SET note = ? WHERE id = ?", (checked_note(note), person))
            for recording in recordings:
                self._insert(connection, person, recording)

    def restore(self, profiles: Sequence[Profile]) -> None:
        """Keep profiles as they were elsewhere, all or none. Raises `ProfilesError` where a name is taken."""
        with self._changing() as connection:
            taken = {name for (name,) in self._rows("SELECT name FROM people")}
            if both := sorted(taken & {profile.name for profile in profiles}):
                raise ProfilesError(
                    f"{', '.join(both)}: enrolled here already, so nothing was imported; rename one of the two"
                )
            for profile in profiles:
                person = connection.execute(
                    "INSERT INTO people (name, note, created, updated) VALUES (?, ?, ?, ?)",
                    (profile.name, profile.note, profile.created.timestamp(), profile.updated.timestamp()),
                ).lastrowid
                for recording in profile.recordings:
                    self._insert(connection, int(person or 0), recording)

    def rename(self, name: str, new: str) -> None:
        """Call somebody otherwise. Raises `ProfileNotFound`, or `ProfilesError` where the new name is taken."""
        new = checked_name(new)
        with self._changing(removing=True) as connection:
            person = self._person(name)
            if connection.execute("SELECT 1 FROM people WHERE name = ? AND id != ?", (new, person)).fetchone():
                raise ProfilesError(f"{new} is enrolled already; `tonewatch profiles merge` makes two profiles one")
            connection.execute(
                "UPDATE people SET name = ?, updated = ? WHERE id = ?", (new, datetime.now(UTC).timestamp(), person)
            )

    def merge(self, name: str, into: str) -> None:
        """Two profiles are one person's: the first's recordings go to the second. Raises `ProfileNotFound`."""
        with self._changing(removing=True) as connection:
            one, other = self._person(name), self._person(into)
            if one == other:
                raise ProfilesError("somebody can be merged with another only; give two names")
            connection.execute("UPDATE recordings SET person = ? WHERE person = ?", (other, one))
            connection.execute(
                "UPDATE people SET updated = ?, note = trim(note || char(10) || (SELECT note FROM people WHERE id = ?),"
                " char(10)) WHERE id = ?",
                (datetime.now(UTC).timestamp(), one, other),
            )
            connection.execute("DELETE FROM people WHERE id = ?", (one,))

    def delete(self, *names: str) -> None:
        """Forget people for good, all or none of those named. Raises `ProfileNotFound`."""
        with self._changing(removing=True) as connection:
            for person in [self._person(name) for name in names]:
                connection.execute("DELETE FROM people WHERE id = ?", (person,))
            if not connection.execute("SELECT 1 FROM people").fetchone():
                connection.execute("DELETE FROM calibrations")  # it was fitted on their voices

    def calibration(self, model: ModelRef) -> FittedCalibration | None:
        """What was fitted for a model on the profiles; None if nothing was."""
        with self._explained():
            row = self._connection.execute(
                "SELECT weights, threshold, genuine, impostor, fitted FROM calibrations"
                " WHERE model = ? AND revision = ?",
                (model.name, model.revision),
            ).fetchone()
            if row is None:
                return None
            weights, threshold, genuine, impostor, fitted = row
            return FittedCalibration(
                model=model,
                weights=tuple(map(float, json.loads(weights))),
                threshold=threshold,
                genuine=genuine,
                impostor=impostor,
                fitted=_time(fitted),
            )

    def set_calibration(self, calibration: FittedCalibration) -> None:
        """Keep it in place of the model's former one."""
        with self._changing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO calibrations VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    calibration.model.name,
                    calibration.model.revision,
                    json.dumps(calibration.weights),
                    calibration.threshold,
                    calibration.genuine,
                    calibration.impostor,
                    calibration.fitted.timestamp(),
                ),
            )

    def clear_calibration(self, model: ModelRef) -> None:
        """Go back to the model's own."""
        with self._changing() as connection:
            connection.execute(
                "DELETE FROM calibrations WHERE model = ? AND revision = ?", (model.name, model.revision)
            )

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._open is not None, "enter the store first"  # noqa: S101 - a mistake of ours
        return self._open

    def _rows(self, query: str) -> Sequence[Any]:
        return self._connection.execute(query).fetchall()

    def _person(self, name: str) -> int:
        found = self._connection.execute("SELECT id FROM people WHERE name = ?", (checked_name(name),)).fetchone()
        if found is None:
            there = ", ".join(known for (known,) in self._rows("SELECT name FROM people ORDER BY name")) or "nobody"
            raise ProfileNotFound(f"nobody is enrolled as {name!r}; there is {there}")
        return int(found[0])

    def _insert(self, connection: sqlite3.Connection, person: int, recording: EnrolledRecording) -> None:
        model = recording.model
        length = connection.execute(
            "SELECT length(vector) FROM exemplars JOIN recordings ON recordings.id = recording"
            " WHERE model = ? AND revision = ? LIMIT 1",
            (model.name, model.revision),
        ).fetchone()
        blobs = [np.asarray(exemplar.vector, dtype="<f4").tobytes() for exemplar in recording.exemplars]
        if length is not None and length[0] != len(blobs[0]):
            raise ProfilesError(
                f"x-vectors of {model.name} have {length[0] // 4} dimensions here, these {len(blobs[0]) // 4}"
            )
        said = (model.name, model.revision, recording.kind, recording.origin, recording.speech_s)
        number = connection.execute(
            "INSERT INTO recordings (person, model, revision, kind, origin, speech_s, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (person, *said, recording.created.timestamp()),
        ).lastrowid
        connection.executemany(
            "INSERT INTO exemplars VALUES (?, ?, ?, ?)",
            [
                (number, place, exemplar.speech_s, blob)
                for place, (exemplar, blob) in enumerate(zip(recording.exemplars, blobs, strict=True))
            ],
        )

    @contextmanager
    def _changing(self, *, removing: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; after `removing`, no trace of what it removed is left in the file or beside it."""
        with self._explained():
            with self._connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
            if removing:
                self._connection.execute("VACUUM")
                busy = self._connection.execute(EMPTY_LOG).fetchone()[0]
                if busy:
                    raise ProfilesError(
                        f"it is done, but another process is reading {self.path}, so that traces are left beside it; "
                        "end that process, then run `tonewatch profiles list`"
                    )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors and the disk's in one sentence, and whatever is wrong with the file with its name."""
        try:
            yield
        except sqlite3.Error as error:
            raise ProfilesError(f"{self.path}: {sentence(error)}") from error
        except OSError as error:
            raise ProfilesError(
                f"{self.path} cannot be used ({error.strerror}); choose another file with speakers.profiles"
            ) from error


def _vector(blob: bytes) -> Vector:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
