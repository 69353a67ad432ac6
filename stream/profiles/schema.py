"""The tables of the file of profiles, and what SQLite's errors mean to whoever keeps one."""

from __future__ import annotations

import sqlite3

from stream.errors import ProfilesError

VERSION = 1
"""Of the tables (`user_version`)."""

APPLICATION_ID = 0x746F6E65
"""Marks the file as ours (`application_id`): "tone"."""

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


def set_up(connection: sqlite3.Connection) -> None:
    """Tables, where there are none. Raises `ProfilesError` for a file that is not ours to read."""
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("PRAGMA temp_store=MEMORY")  # VACUUM's copy must not lie about in a folder of temporary files
    connection.execute("PRAGMA foreign_keys=ON")
    if _is_ready(connection):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if not _is_ready(connection):  # nobody else was quicker
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={VERSION}")


def _is_ready(connection: sqlite3.Connection) -> bool:
    """Whether our tables are there; False where nothing is."""
    (program,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not (program or version or tables):
        return False
    if program != APPLICATION_ID:
        raise ProfilesError("the file of profiles is another program's database; set speakers.profiles to another")
    if version > VERSION:
        raise ProfilesError(
            f"the file of profiles is of version {version}, written by a newer tonewatch; update tonewatch"
        )
    return True


def sentence(error: sqlite3.Error) -> str:
    """What is wrong, and what to do."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest are SQLite's finer distinctions
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another process is writing it; try again when that has ended"
    if code == sqlite3.SQLITE_FULL:
        return "the disk is full, and nothing was changed; make room"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"it cannot be written ({error}); let you write the file and its folder, or set speakers.profiles"
    if code == sqlite3.SQLITE_IOERR:
        return f"the disk fails ({error}); try another with speakers.profiles"
    return f"it is damaged ({error}); put a copy of it in its place, or move it away and enrol again"
