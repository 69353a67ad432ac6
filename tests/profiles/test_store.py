"""The profile database: contents, permissions, complete deletion, and errors for unusable files."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stream.errors import ProfileNotFound, ProfilesError
from stream.profiles import store as store_module
from stream.profiles.profile import FittedCalibration, checked_name, voices_for
from stream.profiles.store import ProfileStore, database_path, read_profiles
from tests.profiles.examples import MODEL, OTHER, recording


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "profiles.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[ProfileStore]:
    with ProfileStore(path, create=True) as opened:
        yield opened


def traces(path: Path, *secrets: bytes) -> list[tuple[str, bytes]]:
    """Return the secrets found in the database file and the files beside it."""
    files = [file for file in path.parent.iterdir() if file.is_file()]
    return [(file.name, secret) for file in files for secret in secrets if secret in file.read_bytes()]


def test_stored_profiles_are_read_back_unchanged(store: ProfileStore, path: Path) -> None:
    one, two = recording(1), recording(2, kind="microphone", origin="USB")
    store.add("Zoë", one, note="on paper, 3 May")
    store.add("Al", two)
    store.add("Zoë", two)
    al, zoe = read_profiles(path)
    assert (al.name, zoe.name, zoe.note, al.note) == ("Al", "Zoë", "on paper, 3 May", "")
    assert [kept.origin for kept in zoe.recordings] == ["talk.wav", "USB"]
    assert zoe.recordings[0].created == one.created
    assert zoe.updated >= zoe.created
    pairs = zip(zoe.recordings[0].exemplars, one.exemplars, strict=True)
    assert all(np.array_equal(kept.vector, given.vector) for kept, given in pairs)
    assert "vector" not in repr(zoe)


def test_only_the_owner_can_read_the_file(store: ProfileStore, path: Path) -> None:
    store.add("Al", recording())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    path.chmod(0o644)
    with ProfileStore(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_deleted_profile_leaves_no_trace(store: ProfileStore, path: Path) -> None:
    gone, kept = recording(1, origin="secret-talk.wav"), recording(2)
    store.add("Mathilda", gone, note="whispered consent")
    store.add("Mathilda", recording(3))
    store.add("Bob", kept)
    secrets = [b"Mathilda", b"secret-talk", b"whispered", *(e.vector.tobytes()[:12] for e in gone.exemplars)]
    assert {secret for _, secret in traces(path, *secrets)} == set(secrets), "the test finds them before the deletion"
    store.delete("Mathilda")
    assert traces(path, *secrets) == []
    assert traces(path, b"Bob"), "other profiles stay"
    assert [profile.name for profile in store.profiles()] == ["Bob"]


def test_a_former_name_leaves_no_trace(store: ProfileStore, path: Path) -> None:
    store.add("Mathilda", recording(1))
    store.add("Bob", recording(2))
    store.rename("Mathilda", "Tilly")
    assert traces(path, b"Mathilda") == []
    store.merge("Tilly", "Bob")
    assert traces(path, b"Tilly") == []
    assert len(store.profile("Bob").recordings) == 2


def test_traces_kept_by_another_reader_are_reported(
    store: ProfileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add("Mathilda", recording())
    store._connection.execute("PRAGMA busy_timeout=0")
    monkeypatch.setattr(store_module, "LOCK_TIMEOUT_S", 0.0)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM people").fetchall()
        with pytest.raises(ProfilesError, match=r"traces remain .* another process is reading"):
            store.delete("Mathilda")
    with ProfileStore(path) as again:
        assert again.profiles() == ()
    assert traces(path, b"Mathilda") == []


def test_deletion_is_all_or_none_and_the_last_one_deletes_the_calibration(store: ProfileStore) -> None:
    store.add("Al", recording(1))
    store.add("Bob", recording(2))
    store.set_calibration(FittedCalibration(MODEL, (9.0, 0.4, 1.1), 0.5, 12, 40))
    with pytest.raises(ProfileNotFound, match="no profile 'Zed'; available: Al, Bob"):
        store.delete("Al", "Zed")
    assert len(store.profiles()) == 2
    store.delete("Al")
    found = store.calibration(MODEL)
    assert found is not None
    assert (found.weights, found.threshold, found.genuine, found.impostor) == ((9.0, 0.4, 1.1), 0.5, 12, 40)
    assert store.calibration(OTHER) is None
    store.delete("Bob")
    assert store.calibration(MODEL) is None


def test_x_vectors_of_models_are_never_mixed(store: ProfileStore) -> None:
    store.add("Al", recording(1))
    store.add("Bob", recording(2, model=OTHER, dimensions=512))
    store.add("Cy", recording(3), recording(4, model=OTHER, dimensions=512))
    known, left_out = voices_for(store.profiles(), MODEL)
    assert [(voice.name, voice.enrolled, voice.evidence_s) for voice in known] == [("Al", True, 4.5), ("Cy", True, 4.5)]
    assert {len(voice.centroid) for voice in known} == {64}
    assert left_out == ["Bob"]
    with pytest.raises(ProfilesError, match="have 64 dimensions in this file, not 65"):
        store.add("Al", recording(5, dimensions=65))


def test_names_are_normalised_and_session_names_are_reserved(store: ProfileStore) -> None:
    store.add("Zoe\u0308", recording())
    assert store.profile(" Zo\u00eb ").name == "Zo\u00eb"
    for wrong, why in (("S12", "reserved"), ("", "1 to 64"), ("a\nb", "control"), ("x" * 65, "1 to 64")):
        with pytest.raises(ProfilesError, match=why):
            checked_name(wrong)
    store.add("Al", recording())
    with pytest.raises(ProfilesError, match="'Al' is enrolled already; use `tonewatch profiles merge`"):
        store.rename("Zo\u00eb", "Al")
    with pytest.raises(ProfilesError, match="give two names"):
        store.merge("Al", "Al")


def test_a_missing_file_reads_as_empty_and_is_not_created(path: Path) -> None:
    assert read_profiles(path) == read_profiles(None) == ()
    with ProfileStore(path) as store, pytest.raises(ProfileNotFound, match="no profiles yet"):
        store.delete("Al")
    assert not path.exists()


def test_the_path_follows_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    assert database_path("auto") == Path("/elsewhere/tonewatch/profiles.sqlite")
    assert database_path("") is None
    assert database_path("/a/b.sqlite") == Path("/a/b.sqlite")


def test_a_file_of_a_newer_version_or_another_program_is_refused(
    store: ProfileStore, path: Path, tmp_path: Path
) -> None:
    store._connection.execute("PRAGMA user_version=7")
    with pytest.raises(ProfilesError, match="version 7, written by a newer tonewatch; update"), ProfileStore(path):
        pass
    foreign = tmp_path / "foreign.sqlite"
    with closing(sqlite3.connect(foreign)) as other:
        other.execute("CREATE TABLE people (id)")
    with pytest.raises(ProfilesError, match="database of another program"), ProfileStore(foreign, create=True):
        pass


@pytest.mark.parametrize("damage", [b"this is no database " * 400, b"SQLite format 3\x00" + bytes(5_000)])
def test_a_damaged_file_is_reported_and_kept(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "profiles.sqlite"
    path.write_bytes(damage)
    with pytest.raises(ProfilesError, match=r"is damaged .* enrol again"), ProfileStore(path, create=True):
        pass
    assert path.read_bytes() == damage


def test_a_locked_file_is_reported(store: ProfileStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add("Al", recording())
    monkeypatch.setattr(store_module, "LOCK_TIMEOUT_S", 0.0)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ProfileStore(path) as waiting:
            assert len(waiting.profiles()) == 1, "reading does not wait"
            with pytest.raises(ProfilesError, match="another process is writing"):
                waiting.add("Bob", recording())


def test_a_full_disk_changes_nothing(store: ProfileStore) -> None:
    store.add("Al", recording())
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(ProfilesError, match="the disk is full, nothing was changed"):
        store.add("Bob", *(recording(seed, dimensions=64) for seed in range(40)))
    assert [profile.name for profile in store.profiles()] == ["Al"]


def test_an_unusable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ProfilesError, match=r"cannot use .* speakers.profiles"):
        ProfileStore(tmp_path / "file" / "x" / "p.sqlite", create=True).__enter__()
    with pytest.raises(ProfilesError, match=r"cannot write the file .* set speakers.profiles"):
        ProfileStore(tmp_path, create=True).__enter__()
