"""Labelled recordings: a manifest, or a folder in the layout of a known corpus.

Owns what labels mean: every corpus's codes are turned into the emotions of the house (`neutral`, `happy`, `angry`,
`sad`, or the corpus's own word for others, which an evaluation leaves out and counts).

Known layouts: RAVDESS (Livingstone & Russo 2018), CREMA-D (Cao et al. 2014), EmoDB (Burkhardt et al. 2005), IEMOCAP
(Busso et al. 2008; excited counts as happy, as in SUPERB), VoxCeleb (Nagrani et al. 2017) and its lists of trials,
LibriSpeech (Panayotov et al. 2015), any folder with a folder a speaker, and a CSV with a header.
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
    """One recording of one person; what is not labelled is empty. Several `paths` are heard as one, in order."""

    paths: tuple[Path, ...]
    speaker: str = ""
    emotion: str = ""
    corpus: str = ""

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.paths[0].name if len(self.paths) == 1 else f"{self.paths[0].name} + {len(self.paths) - 1}"


@dataclass(frozen=True, slots=True)
class VerificationTrial:
    """Whether two recordings are of one person."""

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
    """`id10270/5r0dWxy17C8/00001.wav`: person, video, stretch of it."""
    person = path.parent.parent.name
    return Utterance((path,), person, "", "voxceleb") if re.fullmatch(r"id\d{5}", person) else None


def _librispeech(path: Path) -> Utterance | None:
    """`84/121123/84-121123-0000.flac`: reader, chapter, sentence."""
    match = re.fullmatch(r"(\d+)-(\d+)-\d{4}", path.stem)
    return Utterance((path,), match[1], "", "librispeech") if match and path.parent.name == match[2] else None


_BY_FILE: tuple[Callable[[Path], Utterance | None], ...] = (_ravdess, _crema_d, _emodb, _voxceleb, _librispeech)


def utterances(target: Path) -> list[Utterance]:
    """All labelled recordings of a manifest or folder, in a fixed order.

    Raises `SettingsError` where there are none, or where the manifest is not one.
    """
    if target.is_file():
        return _manifest(target)
    if not target.is_dir():
        raise SettingsError(f"there is no manifest or folder {target}")
    if (target / "manifest.csv").is_file():
        return _manifest(target / "manifest.csv")
    if any(target.glob("Session*/dialog/EmoEvaluation/*.txt")):
        if sentences := list(_iemocap(target)):
            return sentences
        raise SettingsError(f"{target} holds labels of IEMOCAP but none of its sentences (Session*/sentences/wav)")
    files = sorted(path for path in target.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    for layout in _BY_FILE:
        found = [utterance for path in files if (utterance := layout(path)) is not None]
        if found:
            return found
    below = [path for path in files if path.parent != target]
    by_folder = [Utterance((path,), path.relative_to(target).parts[0], "", target.name) for path in below]
    if len({utterance.speaker for utterance in by_folder}) > 1:  # a folder a speaker, as AN4
        return by_folder
    raise SettingsError(
        f"{target} holds no recordings in a layout that tonewatch knows (RAVDESS, CREMA-D, EmoDB, IEMOCAP, VoxCeleb, "
        "LibriSpeech, a folder a speaker); write a manifest.csv with the columns path, speaker, emotion"
    )


def _manifest(path: Path) -> list[Utterance]:
    """A CSV with a header: `path` (relative to the file), and any of `speaker`, `emotion` (in any spelling), `set`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets begin with a mark
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or ()):
                raise SettingsError(f"{path} has no column `path`; a manifest begins with a line of column names")
            found = []
            for row in reader:
                if not row["path"]:
                    raise SettingsError(f"{path}, line {reader.line_num}: there is no path")
                emotion = canonical([row.get("emotion") or ""])[0]
                found.append(
                    Utterance((path.parent / row["path"],), row.get("speaker") or "", emotion, row.get("set") or "")
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path} cannot be read as a manifest: {error}") from error
    if not found:
        raise SettingsError(f"{path} lists no recording")
    missing = next((utterance.paths[0] for utterance in found if not utterance.paths[0].is_file()), None)
    if missing is not None:
        raise SettingsError(f"{path} lists {missing}, which is not there")
    return found


def _iemocap(root: Path) -> Iterator[Utterance]:
    """Labels stand in `Session*/dialog/EmoEvaluation`, sentences in `Session*/sentences/wav/DIALOG/SENTENCE.wav`."""
    for labels in sorted(root.glob("Session*/dialog/EmoEvaluation/*.txt")):
        sentences = labels.parents[2] / "sentences" / "wav"
        for line in labels.read_text(encoding="utf-8", errors="replace").splitlines():
            if (match := _IEMOCAP_LINE.match(line)) is None:
                continue
            path = sentences / match[1].rpartition("_")[0] / f"{match[1]}.wav"
            if path.is_file():
                speaker = f"iemocap_{match[1][:5]}{match[1].rpartition('_')[2][:1]}"  # session, then F or M
                yield Utterance((path,), speaker, IEMOCAP.get(match[2], "other"), "iemocap")


def trials(path: Path, *, root: Path | None = None) -> list[VerificationTrial]:
    """VoxCeleb's list: `1 id10270/a/1.wav id10270/b/2.wav` a line (1: one person), below `root` or the list's own."""
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
            raise SettingsError(f"{path}, line {number}: a trial is `1 ENROLMENT TEST` or `0 ENROLMENT TEST`")
        trial = VerificationTrial(words[0] == "1", folder / words[1], folder / words[2])
        missing = next((file for file in (trial.enrolment, trial.test) if not file.is_file()), None)
        if missing is not None:
            raise SettingsError(
                f"{path}, line {number}: {missing} is not there; say where the recordings lie by --root"
            )
        found.append(trial)
    if not found:
        raise SettingsError(f"{path} lists no trial")
    return found


def is_trial_list(path: Path) -> bool:
    """Whether the file begins as a list of trials does."""
    if not path.is_file() or path.suffix == ".csv":
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        words = file.readline().split()
    return len(words) == 3 and words[0] in ("0", "1")  # noqa: PLR2004


def joined(found: list[Utterance], count: int) -> list[Utterance]:
    """Recordings of one person of one corpus joined `count` at a time, for corpora of single words.

    Which ones come together is drawn by their names, alike at every run: neighbours by name are often takes of one
    word.
    """
    if count == 1:
        return found
    by_person: dict[tuple[str, str], list[Path]] = {}
    for utterance in found:
        by_person.setdefault((utterance.corpus, utterance.speaker), []).extend(utterance.paths)
    result = []
    for (corpus, speaker), paths in by_person.items():
        groups = len(paths) // count
        drawn = sorted(paths, key=lambda path: sha256(path.name.encode()).digest())
        result += [
            Utterance(tuple(drawn[at * count : (at + 1) * count]), speaker, corpus=corpus) for at in range(groups)
        ]
    return result


def by_corpus(found: list[Utterance]) -> Mapping[str, list[Utterance]]:
    """Recordings by corpus, in order of first appearance."""
    groups: dict[str, list[Utterance]] = {}
    for utterance in found:
        groups.setdefault(utterance.corpus or "all", []).append(utterance)
    return groups
