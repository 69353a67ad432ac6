"""Export and import of profiles: a round trip, and errors for invalid files."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.errors import ProfilesError
from stream.profiles import transfer
from stream.profiles.store import ProfileStore, read_profiles
from tests.profiles.examples import OTHER, recording


def stored(path: Path) -> Path:
    with ProfileStore(path, create=True) as store:
        store.add("Al", recording(1), note="yes")
        store.add("Bob", recording(2), recording(3, model=OTHER, dimensions=128))
    return path


def test_export_and_import_keep_everything(tmp_path: Path) -> None:
    exported, file, imported = stored(tmp_path / "there.sqlite"), tmp_path / "people.json", tmp_path / "here.sqlite"
    transfer.write(file, read_profiles(exported))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with ProfileStore(imported, create=True) as store:
        store.restore(transfer.read(file))
        with pytest.raises(ProfilesError, match="nothing was imported: Al, Bob enrolled already"):
            store.restore(transfer.read(file))
    for one, other in zip(read_profiles(exported), read_profiles(imported), strict=True):
        assert (one.name, one.note, one.created, one.updated) == (other.name, other.note, other.created, other.updated)
        for left, right in zip(one.recordings, other.recordings, strict=True):
            assert (left.model, left.kind, left.origin, left.created) == (
                right.model,
                right.kind,
                right.origin,
                right.created,
            )
            pairs = zip(left.exemplars, right.exemplars, strict=True)
            assert all(np.array_equal(a.vector, b.vector) and a.speech_s == b.speech_s for a, b in pairs)


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    file.write_text("precious")
    with pytest.raises(ProfilesError, match="exists already; name another file"):
        transfer.write(file, ())
    assert file.read_text() == "precious"
    with pytest.raises(ProfilesError, match="cannot write"):
        transfer.write(tmp_path / "nowhere" / "people.json", ())


def _vector(tree: Any, value: Any) -> None:
    tree["people"][0]["recordings"][0]["exemplars"][0]["vector"] = value


WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "a newer form": (lambda tree: tree.update(tonewatch_profiles=2), "tonewatch_profiles"),
    "not base64": (lambda tree: _vector(tree, "&&"), "base64"),
    "no numbers": (lambda tree: _vector(tree, "QUJD"), "numbers of 4 bytes"),
    "not finite": (lambda tree: _vector(tree, base64.b64encode(b"\0\0\xc0\x7f" * 64).decode()), "finite"),
    "another length": (lambda tree: _vector(tree, "AACAPwAAgD8="), "all of one length"),
    "no speech": (lambda tree: tree["people"][0]["recordings"][0].update(speech_s=0), "speech_s"),
    "reserved name": (lambda tree: tree["people"][0].update(name="S1"), "reserved"),
    "twice": (lambda tree: tree["people"].append(tree["people"][0]), "contains Al twice"),
    "unknown field": (lambda tree: tree["people"][0].update(age=7), "age"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_invalid_file_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "people.json"
    transfer.write(file, read_profiles(stored(tmp_path / "there.sqlite"))[:1])
    tree = json.loads(file.read_text())
    change, why = WRONG[wrong]
    change(tree)
    file.write_text(json.dumps(tree))
    with pytest.raises(ProfilesError, match=why):
        transfer.read(file)


def test_a_missing_or_unrelated_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfilesError, match="cannot read"):
        transfer.read(tmp_path / "nowhere")
    (tmp_path / "noise").write_bytes(b"\xff\x00" * 50)
    with pytest.raises(ProfilesError, match="is no valid export"):
        transfer.read(tmp_path / "noise")
