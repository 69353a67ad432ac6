"""Profiles on disk: one SQLite file (WAL), readable and accessible by its owner only.

    with ProfileStore(path, create=True) as store:
        store.add("Alice", recording, note="agreed on paper, 3 May")

Every method is one transaction. Removed data leaves no trace once the method returns: SQLite overwrites it
(`secure_delete`), rebuilds the file without it (`VACUUM`) and truncates the write-ahead log. Several processes may
share the file; each waits up to `LOCK_TIMEOUT_S` for the lock of another.

A file that is damaged, of a newer version, of another program, locked or on a full disk raises `ProfilesError`; it is
never moved or replaced, since profiles cannot be recreated. A file that cannot be written is opened for reading. Single
damaged rows are left out and logged. Names and vectors are never logged.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import platformdirs

from stream import database
from stream.errors import ProfileNotFound, ProfilesDamaged, ProfilesError
from stream.events import ModelRef
from stream.profiles.profile import EnrolledRecording, FittedCalibration, Profile, checked_name, checked_note
from stream.profiles.rows import delete_copies, insert_recording, people_by_name, read_calibrations, seal
from stream.profiles.rows import read_profiles as read_rows
from stream.profiles.schema import UNWRITABLE_ADVICE, VERSION, check_version, create_tables, explain
from stream.settings import SpeakersSettings
from stream.types import ModelInfo

LOCK_TIMEOUT_S = 5.0
"""Time to wait for the lock of another process."""

FILE_NAME = "profiles.sqlite"
TRUNCATE_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"

UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
"""Errors of a file that may still be readable."""

_DELETE_CALIBRATION = "DELETE FROM calibrations WHERE model = ? AND revision = ?"

_FITTED_ON = """
SELECT DISTINCT model, revision FROM recordings JOIN calibrations USING (model, revision) WHERE person = ?
AND recordings.created <= calibrations.fitted
"""

log = logging.getLogger(__name__)


def database_path(setting: str) -> Path | None:
    """Return the file that `speakers.profiles` names: None if empty, the user's data folder for `auto`, else a path."""
    if setting != "auto":
        return Path(setting).expanduser() if setting else None
    return Path(platformdirs.user_data_dir("tonewatch", appauthor=False)) / FILE_NAME


def read_profiles(path: Path | None) -> tuple[Profile, ...]:
    """Return all profiles of a file, none if it does not exist. Raises `ProfilesError`."""
    if path is None:
        return ()
    with ProfileStore(path) as store:
        return store.profiles()


def read_calibration(info: ModelInfo, speakers: SpeakersSettings) -> FittedCalibration | None:
    """Return the calibration fitted for a model; None if `speakers.threshold` is set or the file is damaged.

    Raises `ProfilesError`.
    """
    path = database_path(speakers.profiles)
    if path is None or speakers.threshold is not None:
        return None
    with suppress(ProfilesDamaged), ProfileStore(path) as store:
        return store.calibration(ModelRef(name=info.name, revision=info.revision))
    return None


class ProfileStore:
    """The open file. A missing file is created if `create`, else it reads as empty."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self._create = create
        self._open: sqlite3.Connection | None = None
        self._checked = True  # whether the rows have checksums
        self._read_only = False

    def __enter__(self) -> Self:
        """Open the file. Raises `ProfilesError`, `ProfilesDamaged` if it is damaged."""
        with self._translated_errors():
            if self._create:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                database.create(self.path, create_schema=create_tables)
            if not os.path.exists(self.path):  # noqa: PTH110 - False also without permission to look
                self._open = sqlite3.connect(":memory:", isolation_level="IMMEDIATE")
                create_tables(self._open)
            else:
                self._open = self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._open is not None:
            with suppress(sqlite3.Error):  # a deletion may have left it, while another process was reading
                self._open.execute(TRUNCATE_LOG)
            self._open.close()
            self._open = None

    def profiles(self) -> tuple[Profile, ...]:
        """Return all profiles, ordered by name."""
        with self._translated_errors():
            profiles, damaged = read_rows(self._connection, checked=self._checked)
        if damaged:
            log.warning(
                "%d damaged rows in %s are left out; restore a backup, or enrol again who is missing",
                damaged,
                self.path,
            )
        return profiles

    def copy(self) -> bytes:
        """Return the content of the file, for another machine."""
        with self._translated_errors(), closing(sqlite3.connect(":memory:")) as copy:
            self._connection.backup(copy)
            return copy.serialize()

    def profile(self, name: str) -> Profile:
        """Return one profile. Raises `ProfileNotFound`."""
        with self._translated_errors():
            self._profile_id(name)
        wanted = checked_name(name)
        return next(profile for profile in self.profiles() if profile.name == wanted)

    def add(self, name: str, *recordings: EnrolledRecording, note: str | None = None) -> None:
        """Keep recordings of somebody, new or known already; `note` takes the place of the one there was.

        A recording that is there already is kept once.

        Raises `ProfilesError`, also when an x-vector's length is not that of its model's others.
        """
        name = checked_name(name)
        with self._transaction() as connection:
            now = datetime.now(UTC).timestamp()
            connection.execute(
                "INSERT INTO people (name, note, created, updated) VALUES (?, '', ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET updated = excluded.updated, checksum = NULL",
                (name, now, now),
            )
            person = self._profile_id(name)
            if note is not None:
                connection.execute(
                    "UPDATE people SET note = ?, checksum = NULL WHERE id = ?", (checked_note(note), person)
                )
            for recording in recordings:
                insert_recording(connection, person, recording)
            delete_copies(connection, person)

    def restore(self, profiles: Sequence[Profile]) -> None:
        """Store exported profiles unchanged, all or none. Raises `ProfilesError` if a name is taken."""
        with self._transaction() as connection:
            taken = {name for (name,) in self._rows("SELECT name FROM people")}
            if both := sorted(taken & {profile.name for profile in profiles}):
                raise ProfilesError(f"nothing was imported: {', '.join(both)} enrolled already; rename one of the two")
            for profile in profiles:
                person = connection.execute(
                    "INSERT INTO people (name, note, created, updated) VALUES (?, ?, ?, ?)",
                    (profile.name, profile.note, profile.created.timestamp(), profile.updated.timestamp()),
                ).lastrowid
                for recording in profile.recordings:
                    insert_recording(connection, int(person or 0), recording)

    def rename(self, name: str, new: str) -> None:
        """Rename a profile. Raises `ProfileNotFound`, or `ProfilesError` if the new name is taken."""
        new = checked_name(new)
        with self._transaction(removing=True) as connection:
            person = self._profile_id(name)
            if connection.execute("SELECT 1 FROM people WHERE name = ? AND id != ?", (new, person)).fetchone():
                raise ProfilesError(
                    f"{new!r} is enrolled already; use `tonewatch profiles merge` to combine two profiles"
                )
            connection.execute(
                "UPDATE people SET name = ?, updated = ?, checksum = NULL WHERE id = ?",
                (new, datetime.now(UTC).timestamp(), person),
            )

    def merge(self, name: str, into: str) -> None:
        """Move the recordings of one profile to another and delete the first. Raises `ProfileNotFound`.

        A recording that both have is kept once.
        """
        with self._transaction(removing=True) as connection:
            source, target = self._profile_id(name), self._profile_id(into)
            if source == target:
                raise ProfilesError("a profile cannot be merged with itself; give two names")
            connection.execute("UPDATE recordings SET person = ?, checksum = NULL WHERE person = ?", (target, source))
            delete_copies(connection, target)
            connection.execute(
                "UPDATE people SET updated = ?, checksum = NULL,"
                " note = trim(note || char(10) || (SELECT note FROM people WHERE id = ?), char(10)) WHERE id = ?",
                (datetime.now(UTC).timestamp(), source, target),
            )
            connection.execute("DELETE FROM people WHERE id = ?", (source,))

    def delete(self, *names: str) -> tuple[ModelRef, ...]:
        """Delete profiles permanently, all or none of those named, and the calibrations fitted on their voices.

        Returns the models of these calibrations. Raises `ProfileNotFound`.
        """
        fitted: dict[ModelRef, None] = {}
        with self._transaction(removing=True) as connection:
            for person in [self._profile_id(name) for name in names]:
                for model, revision in connection.execute(_FITTED_ON, (person,)).fetchall():
                    fitted[ModelRef(name=model, revision=revision)] = None
                connection.execute("DELETE FROM people WHERE id = ?", (person,))
            if not connection.execute("SELECT 1 FROM people").fetchone():
                connection.execute("DELETE FROM calibrations")
            for ref in fitted:
                connection.execute(_DELETE_CALIBRATION, (ref.name, ref.revision))
        return tuple(fitted)

    def calibration(self, model: ModelRef) -> FittedCalibration | None:
        """Return the calibration fitted for a model, None if there is none."""
        with self._translated_errors():
            found = read_calibrations(self._connection, checked=self._checked)
        return next((calibration for calibration in found if calibration.model == model), None)

    def set_calibration(self, calibration: FittedCalibration) -> None:
        """Store a calibration, replacing an earlier one of the same model."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO calibrations VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
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
        """Delete the calibration fitted for a model, so that its own applies."""
        with self._transaction() as connection:
            connection.execute(_DELETE_CALIBRATION, (model.name, model.revision))

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._open is not None, "enter the store first"  # noqa: S101 - a programming error
        return self._open

    def _rows(self, query: str) -> Sequence[Any]:
        return self._connection.execute(query).fetchall()

    def _profile_id(self, name: str) -> int:
        people = people_by_name(self._connection)
        found = people.get(checked_name(name))
        if found is None:
            names = ", ".join(sorted(people))
            raise ProfileNotFound(
                f"no profile {name!r}; {f'available: {names}' if names else 'there are no profiles yet'}"
            )
        return found

    def _connect(self) -> sqlite3.Connection:
        """Open the existing file, for reading if it cannot be written."""
        status = self.path.stat()
        if stat.S_ISREG(status.st_mode) and not status.st_size:
            raise ProfilesDamaged(
                f"{self.path} is damaged: it is empty; restore a backup, or move it away and enrol again"
            )
        try:
            opened = database.connect(self.path, create_schema=create_tables, lock_timeout_s=LOCK_TIMEOUT_S)
            if stat.S_IMODE(status.st_mode) & 0o077:
                self.path.chmod(0o600)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in UNWRITABLE or self._create:
                raise
            opened = database.connect_read_only(self.path)
            self._checked, self._read_only = check_version(opened) >= VERSION, True
        except ProfilesError as error:
            raise type(error)(f"{self.path}: {error}") from None
        return opened

    @contextmanager
    def _transaction(self, *, removing: bool = False) -> Iterator[sqlite3.Connection]:
        """Run one transaction; with `removing`, leave no trace of removed data in the file or beside it."""
        if self._read_only:
            raise ProfilesError(f"{self.path}: {UNWRITABLE_ADVICE}")
        with self._translated_errors():
            with self._connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                if removing:
                    connection.execute("REINDEX")  # through a damaged index, rows would be missed
                yield connection
                seal(connection)
            if removing:
                self._connection.execute("VACUUM")
                busy = self._connection.execute(TRUNCATE_LOG).fetchone()[0]
                if busy:
                    raise ProfilesError(
                        f"removed, but traces remain beside {self.path}, which another process is reading; end that "
                        "process, then run `tonewatch profiles list`"
                    )

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise errors of SQLite and of the file system as `ProfilesError` with the file's name."""
        try:
            yield
        except sqlite3.Error as error:
            explained = explain(error)
            raise type(explained)(f"{self.path}: {explained}") from error
        except OSError as error:
            raise ProfilesError(
                f"cannot use {self.path} ({error.strerror}); choose another file with speakers.profiles"
            ) from error
