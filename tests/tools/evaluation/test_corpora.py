"""Labels of every layout, read from small recordings, and errors for other folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import SettingsError
from stream.models.labels import canonical
from stream.tools.evaluation.corpora import (
    CREMA_D,
    EMODB,
    IEMOCAP,
    RAVDESS,
    Utterance,
    group_by_corpus,
    is_trial_list,
    join_utterances,
    read_trials,
    read_utterances,
)
from tests.support.tones import wav


def labels(folder: Path) -> list[tuple[str, str, str]]:
    return [(one.speaker, one.emotion, one.corpus) for one in read_utterances(folder)]


def rejection(folder: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        read_utterances(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def manifest(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    for name in ("a.wav", "b.wav"):
        wav(folder / name)
    path = folder / "manifest.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_ravdess(tmp_path: Path) -> None:
    wav(tmp_path / "Actor_12" / "03-01-05-01-02-01-12.wav")
    wav(tmp_path / "Actor_12" / "03-01-02-01-02-01-12.wav")
    wav(tmp_path / "Actor_12" / "03-01-05.wav")
    assert labels(tmp_path) == [("ravdess_12", "calm", "ravdess"), ("ravdess_12", "angry", "ravdess")]


def test_crema_d(tmp_path: Path) -> None:
    wav(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
    wav(tmp_path / "AudioWAV" / "1002_IEO_DIS_HI.wav")
    assert labels(tmp_path) == [("cremad_1001", "angry", "crema-d"), ("cremad_1002", "disgusted", "crema-d")]


def test_emodb(tmp_path: Path) -> None:
    for name in ("03a01Fa", "08b02Tb", "16a05Wc", "16a05Q"):
        wav(tmp_path / "wav" / f"{name}.wav")
    assert labels(tmp_path) == [
        ("emodb_03", "happy", "emodb"),
        ("emodb_08", "sad", "emodb"),
        ("emodb_16", "angry", "emodb"),
    ]


def iemocap(root: Path) -> Path:
    session = root / "Session2"
    notes = session / "dialog" / "EmoEvaluation" / "Ses02F_script01_1.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text(
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        "[6.2901 - 8.2357]\tSes02F_script01_1_F000\texc\t[2.5000, 2.5000, 2.5000]\n"
        "C-E2:\tNeutral;\t()\n"
        "[10.0100 - 11.3925]\tSes02F_script01_1_M001\txxx\t[2.5000, 2.5000, 2.5000]\n"
        "[12.0100 - 13.3925]\tSes02F_script01_1_M002\tsad\t[2.5000, 2.5000, 2.5000]\n"
    )
    return session / "sentences" / "wav" / "Ses02F_script01_1"


def test_iemocap(tmp_path: Path) -> None:
    sentences = iemocap(tmp_path)
    for name in ("F000", "M001"):  # the third has no recording
        wav(sentences / f"Ses02F_script01_1_{name}.wav")
    assert labels(tmp_path) == [("iemocap_Ses02F", "happy", "iemocap"), ("iemocap_Ses02M", "other", "iemocap")]


def test_iemocap_without_recordings_is_rejected(tmp_path: Path) -> None:
    iemocap(tmp_path)
    assert "has labels of IEMOCAP but no recordings" in rejection(tmp_path)


def test_voxceleb_speakers_are_equal_in_all_videos(tmp_path: Path) -> None:
    for name in ("id10270/5r0dWxy17C8/00001", "id10270/8jEAjG6SegY/00001", "id10271/1gtz-CUIygI/00001"):
        wav(tmp_path / "wav" / f"{name}.wav")
    wanted = [("id10270", "", "voxceleb")] * 2 + [("id10271", "", "voxceleb")]
    assert labels(tmp_path) == labels(tmp_path / "wav") == wanted


def test_librispeech_speakers_are_equal_in_all_chapters(tmp_path: Path) -> None:
    for name in ("84/121123/84-121123-0000", "84/121550/84-121550-0003", "174/50561/174-50561-0000"):
        wav(tmp_path / "dev-clean" / f"{name}.flac")
    assert [speaker for speaker, _, _ in labels(tmp_path)] == ["174", "84", "84"]


def test_one_folder_per_speaker(tmp_path: Path) -> None:
    for name in ("ann/one/1.wav", "ann/two/2.wav", "bob/3.wav", "4.wav"):
        wav(tmp_path / "people" / name)
    assert labels(tmp_path / "people") == [("ann", "", "people"), ("ann", "", "people"), ("bob", "", "people")]


def test_labels_are_canonical() -> None:
    known = {*RAVDESS.values(), *CREMA_D.values(), *EMODB.values(), *IEMOCAP.values()}
    assert canonical(sorted(known)) == tuple(sorted(known))


def test_a_manifest(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,set,speaker,emotion,other\na.wav,x,ann,Anger,1\nb.wav,,,\n")
    wanted = [
        Utterance((tmp_path / "a.wav",), "ann", "angry", "x"),
        Utterance((tmp_path / "b.wav",)),
    ]
    assert read_utterances(path) == read_utterances(tmp_path) == wanted
    assert list(group_by_corpus(wanted)) == ["x", "all"]


def test_a_manifest_from_a_spreadsheet(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,speaker\r\na.wav,ann\r\n", encoding="utf-8-sig")
    assert [one.speaker for one in read_utterances(path)] == ["ann"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,speaker\na.wav,ann\n", "has no column `path`"),
        ("", "has no column `path`"),
        ("path,speaker\n", "lists no recording"),
        ("path,speaker\nc.wav,ann\n", "c.wav, which does not exist"),
        ("speaker,path\nann,a.wav\nbob\n", "line 3: empty path"),
    ],
)
def test_invalid_manifests(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in rejection(manifest(tmp_path, text))


def test_invalid_folders(tmp_path: Path) -> None:
    assert "is neither a manifest nor a folder" in rejection(tmp_path / "absent")
    assert "write a manifest.csv with the columns path, speaker, emotion" in rejection(tmp_path)
    wav(tmp_path / "only" / "one.wav")
    assert "no recordings in a known layout" in rejection(tmp_path), "one folder is not enough"
    assert "cannot be read as a manifest" in rejection(wav(tmp_path / "sound.wav"))


def test_trials(tmp_path: Path) -> None:
    for name in ("id10270/a/1.wav", "id10271/b/2.wav"):
        wav(tmp_path / "wav" / name)
    path = tmp_path / "veri_test.txt"
    path.write_text("1 id10270/a/1.wav id10270/a/1.wav\n0 id10270/a/1.wav id10271/b/2.wav\n\n")
    assert is_trial_list(path)
    found = read_trials(path, root=tmp_path / "wav")
    assert [one.same for one in found] == [True, False]
    assert found[1].test == tmp_path / "wav" / "id10271" / "b" / "2.wav"
    with pytest.raises(SettingsError, match=r"line 1: .* does not exist; set the folder of the recordings with --root"):
        read_trials(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("1 a.wav a.wav\n2 a.wav a.wav\n", "line 2: invalid trial"), ("1 a.wav\n", "line 1"), ("\n", "lists no trial")],
)
def test_invalid_lists_of_trials(tmp_path: Path, text: str, sentence: str) -> None:
    wav(tmp_path / "a.wav")
    path = tmp_path / "trials.txt"
    path.write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        read_trials(path)


def test_a_manifest_is_not_a_list_of_trials(tmp_path: Path) -> None:
    assert not is_trial_list(manifest(tmp_path, "path\na.wav\n"))
    assert not is_trial_list(tmp_path)
    with pytest.raises(SettingsError, match="cannot be read as trials"):
        read_trials(tmp_path / "absent.txt")


def test_joined_recordings_are_of_one_person_and_reproducible() -> None:
    words = [Utterance((Path(f"{who}{at}.wav"),), who, "", "fsdd") for who in ("ann", "bob") for at in range(7)]
    groups = join_utterances(words, 3)
    assert [(one.speaker, len(one.paths)) for one in groups] == [("ann", 3)] * 2 + [("bob", 3)] * 2
    paths = [path for one in groups for path in one.paths]
    assert len(set(paths)) == len(paths), "no recording twice"
    assert all(path.name.startswith(one.speaker) for one in groups for path in one.paths)
    assert join_utterances(list(reversed(words)), 3)[-2:] == groups[:2]
    assert join_utterances(words, 1) == words
    assert groups[0].name == f"{groups[0].paths[0].name} + 2"
