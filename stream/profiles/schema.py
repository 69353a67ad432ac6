"""Tables of the profile database, and error messages for what SQLite reports."""

from __future__ import annotations

import sqlite3

from stream.errors import ProfilesError

VERSION = 1
"""Version of the tables (`user_version`)."""

APPLICATION_ID = 0x746F6E65
"""Marks the file as a profile database (`application_id`): "tone"."""

_TABLES = """
CREATE TABLE people (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, note TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL);
CREATE TABLE recordings (
  id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES people ON DELETE CASCADE, model TEXT NOT NULL,
  revision TEXT NOT NULL, kind TEXT NOT NULL, origin TEXT NOT NULL, speech_s REAL NOT NULL, created REAL NOT NULL);
CREATE INDEX recordings_of ON recordings (person);
CREATE TABLE exemplars (
  recording INTEGER NOT NULL REFERENCES recordings ON DELETE CASCADE, place INTEGER NOT NULL, speech_s REAL NOT NULL,
  vector BLOB NOT NULL, PRIMARY KEY (recording, place));
CREATE TABLE calibrations (
  model TEXT NOT NULL, revision TEXT NOT NULL, weights TEXT NOT NULL, threshold REAL, genuine INTEGER NOT NULL,
  impostor INTEGER NOT NULL, fitted REAL NOT NULL, PRIMARY KEY (model, revision));
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file. Raises `ProfilesError` for a file of another program or a newer version."""
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("PRAGMA temp_store=MEMORY")  # VACUUM must not leave a copy in a temporary folder
    connection.execute("PRAGMA foreign_keys=ON")
    if _is_ready(connection):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if not _is_ready(connection):  # another process may have created them meanwhile
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={VERSION}")


def _is_ready(connection: sqlite3.Connection) -> bool:
    """Return whether the tables exist; False for an empty file."""
    (program,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not (program or version or tables):
        return False
    if program != APPLICATION_ID:
        raise ProfilesError("the file is a database of another program; set speakers.profiles to another file")
    if version > VERSION:
        raise ProfilesError(
            f"the profile database has version {version}, written by a newer tonewatch; update tonewatch"
        )
    return True


def explain(error: sqlite3.Error) -> str:
    """Return what is wrong, and what to do."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the higher bits distinguish further
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another process is writing the file; try again when it has ended"
    if code == sqlite3.SQLITE_FULL:
        return "the disk is full, nothing was changed; free some space"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"cannot write the file ({error}); check its permissions and the folder's, or set speakers.profiles"
    if code == sqlite3.SQLITE_IOERR:
        return f"disk error ({error}); set speakers.profiles to a file on another disk"
    return f"the file is damaged ({error}); restore a backup, or move it away and enrol again"
