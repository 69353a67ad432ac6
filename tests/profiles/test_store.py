"""The store: what is kept, who can read it, what is left of what was removed, and what a broken file says."""

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
from stream.profiles.profile import FittedCalibration, checked_name, voices
from stream.profiles.store import ProfileStore, path_of, profiles_in
from tests.profiles.examples import MODEL, OTHER, recording


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "profiles.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[ProfileStore]:
    with ProfileStore(path, create=True) as opened:
        yield opened


def traces(path: Path, *secrets: bytes) -> list[tuple[str, bytes]]:
    """Which of the secrets stand in the file, or in what lies beside it."""
    files = [file for file in path.parent.iterdir() if file.is_file()]
    return [(file.name, secret) for file in files for secret in secrets if secret in file.read_bytes()]


def test_what_was_stored_comes_back_as_it_was(store: ProfileStore, path: Path) -> None:
    one, two = recording(1), recording(2, kind="microphone", origin="USB")
    store.add("Zoë", one, note="on paper, 3 May")
    store.add("Al", two)
    store.add("Zoë", two)
    al, zoe = profiles_in(path)
    assert (al.name, zoe.name, zoe.note, al.note) == ("Al", "Zoë", "on paper, 3 May", "")
    assert [kept.origin for kept in zoe.recordings] == ["talk.wav", "USB"]
    assert zoe.recordings[0].created == one.created
    assert zoe.updated >= zoe.created
    pairs = zip(zoe.recordings[0].exemplars, one.exemplars, strict=True)
    assert all(np.array_equal(kept.vector, given.vector) for kept, given in pairs)
    assert "vector" not in repr(zoe)


def test_only_its_owner_can_read_it(store: ProfileStore, path: Path) -> None:
    store.add("Al", recording())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    path.chmod(0o644)
    with ProfileStore(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_left_of_what_was_deleted(store: ProfileStore, path: Path) -> None:
    gone, kept = recording(1, origin="secret-talk.wav"), recording(2)
    store.add("Mathilda", gone, note="whispered consent")
    store.add("Mathilda", recording(3))
    store.add("Bob", kept)
    secrets = [b"Mathilda", b"secret-talk", b"whispered", *(e.vector.tobytes()[:12] for e in gone.exemplars)]
    assert {secret for _, secret in traces(path, *secrets)} == set(secrets), "the test looks where they stand"
    store.delete("Mathilda")
    assert traces(path, *secrets) == []
    assert traces(path, b"Bob"), "and the others are there"
    assert [profile.name for profile in store.profiles()] == ["Bob"]


def test_an_old_name_is_gone_for_good_too(store: ProfileStore, path: Path) -> None:
    store.add("Mathilda", recording(1))
    store.add("Bob", recording(2))
    store.rename("Mathilda", "Tilly")
    assert traces(path, b"Mathilda") == []
    store.merge("Tilly", "Bob")
    assert traces(path, b"Tilly") == []
    assert len(store.profile("Bob").recordings) == 2


def test_traces_that_somebody_else_holds_on_to_are_said(
    store: ProfileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add("Mathilda", recording())
    store._connection.execute("PRAGMA busy_timeout=0")
    monkeypatch.setattr(store_module, "WAIT_S", 0.0)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM people").fetchall()
        with pytest.raises(ProfilesError, match=r"another process is reading .* traces are left"):
            store.delete("Mathilda")
    with ProfileStore(path) as again:
        assert again.profiles() == ()
    assert traces(path, b"Mathilda") == []


def test_deleting_is_for_all_or_none_and_ends_the_calibration_with_the_last(store: ProfileStore) -> None:
    store.add("Al", recording(1))
    store.add("Bob", recording(2))
    store.set_calibration(FittedCalibration(MODEL, (9.0, 0.4, 1.1), 0.5, 12, 40))
    with pytest.raises(ProfileNotFound, match="nobody is enrolled as 'Zed'; there is Al, Bob"):
        store.delete("Al", "Zed")
    assert len(store.profiles()) == 2
    store.delete("Al")
    found = store.calibration(MODEL)
    assert found is not None
    assert (found.weights, found.threshold, found.genuine, found.impostor) == ((9.0, 0.4, 1.1), 0.5, 12, 40)
    assert store.calibration(OTHER) is None
    store.delete("Bob")
    assert store.calibration(MODEL) is None


def test_models_are_never_mixed(store: ProfileStore) -> None:
    store.add("Al", recording(1))
    store.add("Bob", recording(2, model=OTHER, dimensions=512))
    store.add("Cy", recording(3), recording(4, model=OTHER, dimensions=512))
    known, left_out = voices(store.profiles(), MODEL)
    assert [(voice.name, voice.enrolled, voice.evidence_s) for voice in known] == [("Al", True, 4.5), ("Cy", True, 4.5)]
    assert {len(voice.centroid) for voice in known} == {64}
    assert left_out == ["Bob"]
    with pytest.raises(ProfilesError, match="have 64 dimensions here, these 65"):
        store.add("Al", recording(5, dimensions=65))


def test_names_are_one_form_and_never_a_streams_own(store: ProfileStore) -> None:
    store.add("Zoe\u0308", recording())
    assert store.profile(" Zo\u00eb ").name == "Zo\u00eb"
    for wrong, why in (("S12", "what a stream calls"), ("", "1 to 64"), ("a\nb", "control"), ("x" * 65, "1 to 64")):
        with pytest.raises(ProfilesError, match=why):
            checked_name(wrong)
    store.add("Al", recording())
    with pytest.raises(ProfilesError, match="Al is enrolled already; `tonewatch profiles merge`"):
        store.rename("Zo\u00eb", "Al")
    with pytest.raises(ProfilesError, match="give two names"):
        store.merge("Al", "Al")


def test_a_file_that_is_not_there_is_empty_and_is_not_made(path: Path) -> None:
    assert profiles_in(path) == profiles_in(None) == ()
    with ProfileStore(path) as store, pytest.raises(ProfileNotFound, match="there is nobody"):
        store.delete("Al")
    assert not path.exists()


def test_where_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    assert path_of("auto") == Path("/elsewhere/tonewatch/profiles.sqlite")
    assert path_of("") is None
    assert path_of("/a/b.sqlite") == Path("/a/b.sqlite")


def test_a_file_of_a_newer_version_or_of_others_is_left_alone(store: ProfileStore, path: Path, tmp_path: Path) -> None:
    store._connection.execute("PRAGMA user_version=7")
    with pytest.raises(ProfilesError, match="version 7, written by a newer tonewatch; update"), ProfileStore(path):
        pass
    foreign = tmp_path / "foreign.sqlite"
    with closing(sqlite3.connect(foreign)) as other:
        other.execute("CREATE TABLE people (id)")
    with pytest.raises(ProfilesError, match="another program's database"), ProfileStore(foreign, create=True):
        pass


@pytest.mark.parametrize("damage", [b"this is no database " * 400, b"SQLite format 3\x00" + bytes(5_000)])
def test_a_damaged_file_is_said_and_kept(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "profiles.sqlite"
    path.write_bytes(damage)
    with pytest.raises(ProfilesError, match=r"is damaged .* enrol again"), ProfileStore(path, create=True):
        pass
    assert path.read_bytes() == damage


def test_a_file_that_is_locked_is_said(store: ProfileStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add("Al", recording())
    monkeypatch.setattr(store_module, "WAIT_S", 0.0)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ProfileStore(path) as waiting:
            assert len(waiting.profiles()) == 1, "whoever reads need not wait"
            with pytest.raises(ProfilesError, match="another process is writing it; try again"):
                waiting.add("Bob", recording())


def test_a_full_disk_changes_nothing(store: ProfileStore) -> None:
    store.add("Al", recording())
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(ProfilesError, match="the disk is full, and nothing was changed"):
        store.add("Bob", *(recording(seed, dimensions=64) for seed in range(40)))
    assert [profile.name for profile in store.profiles()] == ["Al"]


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ProfilesError, match=r"cannot be used .* speakers.profiles"):
        ProfileStore(tmp_path / "file" / "x" / "p.sqlite", create=True).__enter__()
    with pytest.raises(ProfilesError, match=r"cannot be written .* set speakers.profiles"):
        ProfileStore(tmp_path, create=True).__enter__()
