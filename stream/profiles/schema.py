"""Tables of the profile database, their migration, and error messages for what SQLite reports."""

from __future__ import annotations

import sqlite3

from stream.errors import ProfilesDamaged, ProfilesError
from stream.profiles.rows import TABLES, seal

VERSION = 2
"""Version of the tables (`user_version`): 1 has no checksums."""

APPLICATION_ID = 0x746F6E65
"""Marks the file as a profile database (`application_id`): "tone"."""

UNWRITABLE_ADVICE = "cannot write the file; check its permissions and the folder's, or set speakers.profiles"

_SCHEMA = """
CREATE TABLE people (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, note TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
  checksum INTEGER);
CREATE TABLE recordings (
  id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES people ON DELETE CASCADE, model TEXT NOT NULL,
  revision TEXT NOT NULL, kind TEXT NOT NULL, origin TEXT NOT NULL, speech_s REAL NOT NULL, created REAL NOT NULL,
  checksum INTEGER);
CREATE INDEX recordings_of ON recordings (person);
CREATE TABLE exemplars (
  recording INTEGER NOT NULL REFERENCES recordings ON DELETE CASCADE, place INTEGER NOT NULL, speech_s REAL NOT NULL,
  vector BLOB NOT NULL, checksum INTEGER, PRIMARY KEY (recording, place));
CREATE TABLE calibrations (
  model TEXT NOT NULL, revision TEXT NOT NULL, weights TEXT NOT NULL, threshold REAL, genuine INTEGER NOT NULL,
  impostor INTEGER NOT NULL, fitted REAL NOT NULL, checksum INTEGER, PRIMARY KEY (model, revision));
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file, and add to those of earlier versions what is missing.

    Raises `ProfilesError` for a file of another program or a newer version.
    """
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("PRAGMA temp_store=MEMORY")  # VACUUM must not leave a copy in a temporary folder
    connection.execute("PRAGMA foreign_keys=ON")
    if check_version(connection) == VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        version = check_version(connection)  # another process may have created or migrated them meanwhile
        if version == 0:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        elif version < VERSION:
            for table in TABLES:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER")
            seal(connection)
        connection.execute(f"PRAGMA user_version={VERSION}")


def check_version(connection: sqlite3.Connection) -> int:
    """Return the version of the tables, 0 for an empty file. Raises `ProfilesError` if this program cannot read it."""
    (program,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not (program or version or tables):
        return 0
    ours = tables >= set(TABLES)
    if program != APPLICATION_ID:
        if ours:
            raise ProfilesDamaged("the file is damaged (its mark); restore a backup, or move it away and enrol again")
        raise ProfilesError("the file is a database of another program; set speakers.profiles to another file")
    if version > VERSION or not ours or version < 1:
        if version < 1 or not ours or _has_current_columns(connection):
            raise ProfilesDamaged(
                "the file is damaged (its version); restore a backup, or move it away and enrol again"
            )
        raise ProfilesError(
            f"the profile database has version {version}, written by a newer tonewatch; update tonewatch"
        )
    return int(version)


def _has_current_columns(connection: sqlite3.Connection) -> bool:
    """Whether the tables are those of `VERSION`: then the number that says otherwise is damaged."""
    statements = {"".join(one.split()) for one in _SCHEMA.split(";\n") if one.strip()}
    stored = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {"".join(sql.split()) for (sql,) in stored} == statements


def explain(error: sqlite3.Error) -> ProfilesError:
    """Return an error that says what is wrong, and what to do."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the higher bits distinguish further
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ProfilesError("another process is writing the file; try again when it has ended")
    if code == sqlite3.SQLITE_FULL:
        return ProfilesError("the disk is full, nothing was changed; free some space")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return ProfilesError(UNWRITABLE_ADVICE.replace(";", f" ({error});", 1))
    if code == sqlite3.SQLITE_IOERR:
        return ProfilesError(f"disk error ({error}); set speakers.profiles to a file on another disk")
    return ProfilesDamaged(f"the file is damaged ({error}); restore a backup, or move it away and enrol again")
