"""Labelled recordings: a manifest, or a folder in the layout of a known corpus.

Owns the meaning of labels: every corpus's codes are mapped to canonical emotions (`neutral`, `happy`, `angry`, `sad`,
or the corpus's own word for others, which an evaluation leaves out and counts).

Known layouts: RAVDESS (Livingstone & Russo 2018), CREMA-D (Cao et al. 2014), EmoDB (Burkhardt et al. 2005), IEMOCAP
(Busso et al. 2008; excited counts as happy, as in SUPERB), VoxCeleb (Nagrani et al. 2017) and its lists of trials,
LibriSpeech (Panayotov et al. 2015), any folder with one folder per speaker, and a CSV with a header.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from stream.errors import SettingsError
from stream.models.labels import canonical

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording of one person; missing labels are empty. Several `paths` are concatenated in order."""

    paths: tuple[Path, ...]
    speaker: str = ""
    emotion: str = ""
    corpus: str = ""

    @property
    def name(self) -> str:
        """Its name in reports."""
        return self.paths[0].name if len(self.paths) == 1 else f"{self.paths[0].name} + {len(self.paths) - 1}"


@dataclass(frozen=True, slots=True)
class VerificationTrial:
    """Two recordings, and whether they are of the same person."""

    same: bool
    enrolment: Path
    test: Path


RAVDESS = {"01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgusted",
           "08": "surprised"}  # fmt: skip
CREMA_D = {"NEU": "neutral", "HAP": "happy", "ANG": "angry", "SAD": "sad", "FEA": "fearful", "DIS": "disgusted"}
EMODB = {"N": "neutral", "F": "happy", "W": "angry", "T": "sad", "A": "fearful", "E": "disgusted", "L": "bored"}
IEMOCAP = {"neu": "neutral", "hap": "happy", "exc": "happy", "ang": "angry", "sad": "sad", "fru": "frustrated",
           "fea": "fearful", "sur": "surprised", "dis": "disgusted", "oth": "other", "xxx": "other"}  # fmt: skip
_IEMOCAP_LINE = re.compile(r"^\[[^\]]+\]\s+(\S+)\s+(\w{3})\s+\[")


def _ravdess(path: Path) -> Utterance | None:
    """`03-01-05-01-02-01-12.wav`: modality, channel, emotion, intensity, statement, repetition, actor."""
    parts = path.stem.split("-")
    if len(parts) != 7 or not all(part.isdigit() and len(part) == 2 for part in parts):  # noqa: PLR2004
        return None
    return Utterance((path,), f"ravdess_{parts[6]}", RAVDESS.get(parts[2], "other"), "ravdess")


def _crema_d(path: Path) -> Utterance | None:
    """`1001_DFA_ANG_XX.wav`: actor, sentence, emotion, intensity."""
    parts = path.stem.split("_")
    if len(parts) != 4 or not parts[0].isdigit() or parts[2] not in CREMA_D:  # noqa: PLR2004
        return None
    return Utterance((path,), f"cremad_{parts[0]}", CREMA_D[parts[2]], "crema-d")


def _emodb(path: Path) -> Utterance | None:
    """`03a01Fa.wav`: actor, text, emotion, version."""
    match = re.fullmatch(r"(\d\d)([ab]\d\d)([NFWTAEL])([a-z]?)", path.stem)
    return Utterance((path,), f"emodb_{match[1]}", EMODB[match[3]], "emodb") if match else None


def _voxceleb(path: Path) -> Utterance | None:
    """`id10270/5r0dWxy17C8/00001.wav`: person, video, segment."""
    person = path.parent.parent.name
    return Utterance((path,), person, "", "voxceleb") if re.fullmatch(r"id\d{5}", person) else None


def _librispeech(path: Path) -> Utterance | None:
    """`84/121123/84-121123-0000.flac`: reader, chapter, sentence."""
    match = re.fullmatch(r"(\d+)-(\d+)-\d{4}", path.stem)
    return Utterance((path,), match[1], "", "librispeech") if match and path.parent.name == match[2] else None


_BY_FILE: tuple[Callable[[Path], Utterance | None], ...] = (_ravdess, _crema_d, _emodb, _voxceleb, _librispeech)


def read_utterances(target: Path) -> list[Utterance]:
    """Return all labelled recordings of a manifest or folder, in a fixed order.

    Raises `SettingsError` if there are none, or if the manifest is invalid.
    """
    if target.is_file():
        return _manifest(target)
    if not target.is_dir():
        raise SettingsError(f"{target} is neither a manifest nor a folder; check the path")
    if (target / "manifest.csv").is_file():
        return _manifest(target / "manifest.csv")
    if any(target.glob("Session*/dialog/EmoEvaluation/*.txt")):
        if sentences := list(_iemocap(target)):
            return sentences
        raise SettingsError(f"{target} has labels of IEMOCAP but no recordings; add Session*/sentences/wav")
    files = sorted(path for path in target.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    for layout in _BY_FILE:
        found = [utterance for path in files if (utterance := layout(path)) is not None]
        if found:
            return found
    below = [path for path in files if path.parent != target]
    by_folder = [Utterance((path,), path.relative_to(target).parts[0], "", target.name) for path in below]
    if len({utterance.speaker for utterance in by_folder}) > 1:  # one folder per speaker, as AN4
        return by_folder
    raise SettingsError(
        f"{target} has no recordings in a known layout (RAVDESS, CREMA-D, EmoDB, IEMOCAP, VoxCeleb, LibriSpeech, "
        "one folder per speaker); write a manifest.csv with the columns path, speaker, emotion"
    )


def _manifest(path: Path) -> list[Utterance]:
    """A CSV with a header: `path` (relative to the file), and any of `speaker`, `emotion` (in any spelling), `set`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or ()):
                raise SettingsError(f"{path} has no column `path`; start the manifest with a line of column names")
            found = []
            for row in reader:
                if not row["path"]:
                    raise SettingsError(
                        f"{path}, line {reader.line_num}: empty path; give a recording or delete the line"
                    )
                emotion = canonical([row.get("emotion") or ""])[0]
                found.append(
                    Utterance((path.parent / row["path"],), row.get("speaker") or "", emotion, row.get("set") or "")
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path} cannot be read as a manifest: {error}") from error
    if not found:
        raise SettingsError(f"{path} lists no recording; add lines to the manifest")
    missing = next((utterance.paths[0] for utterance in found if not utterance.paths[0].is_file()), None)
    if missing is not None:
        raise SettingsError(f"{path} lists {missing}, which does not exist; correct the path")
    return found


def _iemocap(root: Path) -> Iterator[Utterance]:
    """Labels are in `Session*/dialog/EmoEvaluation`, sentences in `Session*/sentences/wav/DIALOG/SENTENCE.wav`."""
    for labels in sorted(root.glob("Session*/dialog/EmoEvaluation/*.txt")):
        sentences = labels.parents[2] / "sentences" / "wav"
        for line in labels.read_text(encoding="utf-8", errors="replace").splitlines():
            if (match := _IEMOCAP_LINE.match(line)) is None:
                continue
            path = sentences / match[1].rpartition("_")[0] / f"{match[1]}.wav"
            if path.is_file():
                speaker = f"iemocap_{match[1][:5]}{match[1].rpartition('_')[2][:1]}"  # session, then F or M
                yield Utterance((path,), speaker, IEMOCAP.get(match[2], "other"), "iemocap")


def read_trials(path: Path, *, root: Path | None = None) -> list[VerificationTrial]:
    """Read VoxCeleb's list: lines `1 id10270/a/1.wav id10270/b/2.wav` (1: same person), below `root` or the list."""
    folder = root or path.parent
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as trials: {error}") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or words[0] not in ("0", "1"):  # noqa: PLR2004
            raise SettingsError(f"{path}, line {number}: invalid trial; use `1 ENROLMENT TEST` or `0 ENROLMENT TEST`")
        trial = VerificationTrial(words[0] == "1", folder / words[1], folder / words[2])
        missing = next((file for file in (trial.enrolment, trial.test) if not file.is_file()), None)
        if missing is not None:
            raise SettingsError(
                f"{path}, line {number}: {missing} does not exist; set the folder of the recordings with --root"
            )
        found.append(trial)
    if not found:
        raise SettingsError(f"{path} lists no trial; add lines `1 ENROLMENT TEST`")
    return found


def is_trial_list(path: Path) -> bool:
    """Whether the file starts like a list of trials."""
    if not path.is_file() or path.suffix == ".csv":
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        words = file.readline().split()
    return len(words) == 3 and words[0] in ("0", "1")  # noqa: PLR2004


def join_utterances(found: list[Utterance], count: int) -> list[Utterance]:
    """Concatenate recordings of one person within a corpus, `count` at a time, for corpora of single words.

    Recordings are combined in an order that depends on a hash of their names, equal in every run: neighbours by name
    are often takes of the same word.
    """
    if count == 1:
        return found
    by_person: dict[tuple[str, str], list[Path]] = {}
    for utterance in found:
        by_person.setdefault((utterance.corpus, utterance.speaker), []).extend(utterance.paths)
    result = []
    for (corpus, speaker), paths in by_person.items():
        groups = len(paths) // count
        shuffled = sorted(paths, key=lambda path: sha256(path.name.encode()).digest())
        result += [
            Utterance(tuple(shuffled[at * count : (at + 1) * count]), speaker, corpus=corpus) for at in range(groups)
        ]
    return result


def group_by_corpus(found: list[Utterance]) -> Mapping[str, list[Utterance]]:
    """Group recordings by corpus, in order of first appearance."""
    groups: dict[str, list[Utterance]] = {}
    for utterance in found:
        groups.setdefault(utterance.corpus or "all", []).append(utterance)
    return groups
