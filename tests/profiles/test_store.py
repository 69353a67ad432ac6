"""The profile database: contents, permissions, complete deletion, and errors for unusable files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from scripts.faults.bit_flips import flip_bits, write_profiles
from scripts.faults.bit_flips import read_profiles as read_flipped
from stream.errors import ProfileNotFound, ProfilesDamaged, ProfilesError
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


def make_version_1(store: ProfileStore) -> None:
    for table in ("people", "recordings", "exemplars", "calibrations"):
        store._connection.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
    store._connection.execute("PRAGMA user_version=1")


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


def test_a_recording_counts_once(store: ProfileStore) -> None:
    store.add("Al", recording(1))
    store.add("Al", recording(1), recording(2))
    store.add("Allan", recording(1), recording(3))
    store.merge("Allan", "Al")
    assert [len(kept.exemplars) for kept in store.profile("Al").recordings] == [3, 3, 3]


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


def test_deletion_is_all_or_none_and_deletes_the_calibration_fitted_on_the_voice(store: ProfileStore) -> None:
    store.add("Al", recording(1, model=OTHER))
    store.add("Bob", recording(2))
    store.set_calibration(FittedCalibration(MODEL, (9.0, 0.4, 1.1), 0.5, 12, 40))
    store.add("Late", recording(3))
    with pytest.raises(ProfileNotFound, match="no profile 'Zed'; available: Al, Bob, Late"):
        store.delete("Al", "Zed")
    assert len(store.profiles()) == 3
    assert store.delete("Al", "Late") == (), "one of another model, one enrolled after the fit"
    found = store.calibration(MODEL)
    assert found is not None
    assert (found.weights, found.threshold, found.genuine, found.impostor) == ((9.0, 0.4, 1.1), 0.5, 12, 40)
    assert store.calibration(OTHER) is None
    assert store.delete("Bob") == (MODEL,)
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
    store._connection.execute("ALTER TABLE people ADD COLUMN face BLOB")
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


def test_a_damaged_row_is_left_out_and_logged(
    store: ProfileStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.add("Al", recording(1), recording(2))
    store.add("Bob", recording(3))
    store.set_calibration(FittedCalibration(MODEL, (9.0, 0.4, 1.1), 0.5, 12, 40))
    before = store.profile("Al")
    connection = store._connection
    connection.execute("UPDATE exemplars SET vector = zeroblob(256) WHERE recording = 1 AND place = 0")
    connection.execute("UPDATE recordings SET speech_s = 9000 WHERE id = 2")
    connection.execute("UPDATE people SET name = 'Mallory' WHERE name = 'Bob'")
    connection.execute("UPDATE calibrations SET weights = '[1.0, -9.0, 1.1]'")
    connection.commit()
    (al,) = read_profiles(path)
    assert [len(kept.exemplars) for kept in al.recordings] == [2]
    assert np.array_equal(al.recordings[0].exemplars[0].vector, before.recordings[0].exemplars[1].vector)
    assert "3 damaged rows" in caplog.text
    assert "Mallory" not in caplog.text
    assert store.calibration(MODEL) is None


def test_an_earlier_version_is_migrated_and_its_rows_kept(path: Path) -> None:
    with ProfileStore(path, create=True) as store:
        store.add("Al", recording(1), note="yes")
        expected = store.profiles()
        make_version_1(store)
    with ProfileStore(path) as store:
        (al,) = store.profiles()
        assert (al.name, al.note, len(al.recordings[0].exemplars)) == ("Al", "yes", 3)
        assert al.created == expected[0].created
        assert store._connection.execute("SELECT count(*) FROM exemplars WHERE checksum IS NULL").fetchone() == (0,)
        store.add("Bob", recording(2))
    assert [profile.name for profile in read_profiles(path)] == ["Al", "Bob"]


def test_an_empty_file_is_damaged_and_kept(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    for create in (False, True):
        with pytest.raises(ProfilesDamaged, match="is empty; restore a backup"), ProfileStore(path, create=create):
            pass
    assert path.stat().st_size == 0


def test_a_new_file_is_never_seen_without_its_tables(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    link = os.link

    def observed(source: Path, target: Path) -> None:
        assert not path.exists()
        link(source, target)
        seen.append(path.stat().st_size)

    monkeypatch.setattr(os, "link", observed)
    with ProfileStore(path, create=True) as store:
        store.add("Al", recording(1))
    assert seen[0] > 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("version", [1, 2])
def test_profiles_that_cannot_be_written_can_be_read(version: int) -> None:
    folder = Path(tempfile.mkdtemp())
    path = folder / "profiles.sqlite"
    with ProfileStore(path, create=True) as store:
        store.add("Al", recording(1))
        if version == 1:
            make_version_1(store)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.chown(path, 65_534, -1)
        path.chmod(0o400)
        folder.chmod(0o555)
        if is_root:
            os.seteuid(65_534)
        with ProfileStore(path) as store:
            assert [profile.name for profile in store.profiles()] == ["Al"]
            with pytest.raises(ProfilesError, match="cannot write the file"):
                store.add("Bob", recording(2))
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_flipped_bit_stops_no_start_and_makes_nothing_false(tmp_path: Path) -> None:
    counts = flip_bits(write_profiles, read_flipped, times=100, seed=11, folder=tmp_path)
    assert counts["failed"] == counts["false"] == 0
