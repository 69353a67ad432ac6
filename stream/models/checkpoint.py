"""A folder with a checkpoint, read and checked before anything is built from it.

Owns what config.json and preprocessor_config.json are asked. Refused, each in one sentence: folders without config,
preprocessor or weights (`ModelNotFound`); JSON that is none, families and heads that are not known, sampling rates
other than 16 kHz, truncated weights (`ModelFormatError`). Nothing is unpickled here, and no code of a checkpoint runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError, safe_open

from stream.errors import ModelFormatError, ModelNotFound
from stream.models.labels import canonical
from stream.models.zoo import CONFIG, PREPROCESSOR, WEIGHTS
from stream.types import SAMPLE_RATE_HZ, Task

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "wav2vec2": "Wav2Vec2",
        "wavlm": "WavLM",
        "unispeech-sat": "UniSpeechSat",
        "hubert": "Hubert",
        "data2vec-audio": "Data2VecAudio",
    }
)
"""`model_type` of each family that loads, and how its classes begin."""

IDENTITIES = 100
"""From so many labels on, a classifier tells people apart, not emotions."""

_POINTER = b"version https://git-lfs"


class Head(StrEnum):
    """What sits on top; the value is how its classes end."""

    CLASSIFIER = "ForSequenceClassification"
    XVECTOR = "ForXVector"
    FRAMES = "ForAudioFrameClassification"


_HEADS = MappingProxyType({Task.SPEAKER: Head.XVECTOR, Task.OVERLAP: Head.FRAMES})
"""What a task's checkpoints end in, where it is no classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a folder holds: enough to build the model and to say what it is."""

    folder: Path
    weights: Path
    family: str
    head: Head
    task: Task
    labels: tuple[str, ...]
    normalise: bool

    @property
    def class_name(self) -> str:
        """Its class in transformers."""
        return FAMILIES[self.family] + self.head

    @property
    def revision(self) -> str:
        """The commit, where the folder is a snapshot of the hub's cache, else `local:` and a digest of the weights."""
        if self.folder.parent.name == "snapshots":
            return self.folder.name
        digest = hashlib.sha256()
        for path in self.parts:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return f"local:{digest.hexdigest()[:12]}"

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files that hold the weights."""
        if self.weights.suffix != ".json":
            return (self.weights,)
        index = _json(self.weights).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise ModelFormatError(f"{self.weights} names no parts; fetch the checkpoint again")
        return tuple(self.folder / Path(str(name)).name for name in sorted(set(index.values())))


def read(folder: Path, *, task: Task | None = None) -> Checkpoint:
    """Look into a folder. `task` decides only where config.json names no architecture."""
    if not (folder / CONFIG).is_file():
        raise ModelNotFound(f"{folder} holds no {CONFIG}; name the folder that holds a checkpoint's files")
    config = _json(folder / CONFIG)
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise ModelFormatError(
            f"{folder} holds a model of the family {family!r}; tonewatch loads those of {', '.join(FAMILIES)}"
        )
    head = _head(folder, config, task=task)
    if family == "hubert" and head is not Head.CLASSIFIER:
        raise ModelFormatError(f"{folder} asks for a Hubert{head}, which transformers does not have")
    labels = _labels(folder, config) if head is Head.CLASSIFIER else ()
    found = _task(head, labels)
    checkpoint = Checkpoint(
        folder=folder,
        weights=_weights(folder),
        family=family,
        head=head,
        task=found,
        labels=canonical(labels) if found is Task.EMOTION else labels,
        normalise=_normalise(folder),
    )
    for part in checkpoint.parts:
        _check(part)
    return checkpoint


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: neither UTF-8 nor JSON
        raise ModelFormatError(f"{path} cannot be read ({error}); fetch the checkpoint again") from error
    if not isinstance(value, dict):
        raise ModelFormatError(f"{path} is not a JSON object; fetch the checkpoint again")
    return value


def _head(folder: Path, config: Mapping[str, Any], *, task: Task | None) -> Head:
    architectures = [str(name) for name in config.get("architectures") or ()]
    for head in Head:
        if any(name == FAMILIES[config["model_type"]] + head for name in architectures):
            return head
    if architectures or task is None:
        raise ModelFormatError(
            f"{folder} holds {' and '.join(architectures) or 'a model without a named architecture'}; tonewatch needs "
            "a fine-tuned …ForSequenceClassification, …ForXVector or …ForAudioFrameClassification"
        )
    return _HEADS.get(task, Head.CLASSIFIER)


def _labels(folder: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label") or {}
    try:
        labels = tuple(str(named[key]) for key in sorted(named, key=int))
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelFormatError(f"{folder / CONFIG} numbers its labels (id2label) with what is no number") from error
    if len(labels) < 2:  # noqa: PLR2004
        raise ModelFormatError(f"{folder / CONFIG} names fewer than two labels (id2label), so there is nothing to tell")
    return labels


def _task(head: Head, labels: tuple[str, ...]) -> Task:
    if head is Head.XVECTOR:
        return Task.SPEAKER
    if head is Head.FRAMES:
        return Task.OVERLAP
    people = len(labels) >= IDENTITIES or all(re.fullmatch(r"id\d+", label) for label in labels)
    return Task.IDENTITY if people else Task.EMOTION


def _normalise(folder: Path) -> bool:
    path = folder / PREPROCESSOR
    if not path.is_file():
        raise ModelNotFound(
            f"{folder} holds no {PREPROCESSOR}, which says how sound is scaled; fetch it from the hub too"
        )
    preprocessor = _json(path)
    rate_hz = preprocessor.get("sampling_rate", SAMPLE_RATE_HZ)
    if rate_hz != SAMPLE_RATE_HZ:
        raise ModelFormatError(f"{path} asks for sound at {rate_hz} Hz; tonewatch hears {SAMPLE_RATE_HZ} Hz")
    kind = preprocessor.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    if kind != "Wav2Vec2FeatureExtractor":
        raise ModelFormatError(f"{path} asks for a {kind}; tonewatch knows Wav2Vec2FeatureExtractor only")
    return bool(preprocessor.get("do_normalize", True))  # the extractor's own default


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise ModelNotFound(f"{folder} holds no weights; tonewatch reads {' and '.join(WEIGHTS[::2])}")


def _check(part: Path) -> None:
    """That a part is there, and whole where that can be told before loading (of a `.bin` it cannot)."""
    if not part.is_file():
        raise ModelNotFound(f"{part} is missing, which the index beside it names; fetch the checkpoint again")
    with part.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ModelFormatError(f"{part} is only a pointer of Git LFS; run `git lfs pull` in its folder")
    if part.suffix != ".safetensors":
        return
    try:
        with safe_open(part, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelFormatError(f"{part} is damaged or incomplete ({error}); fetch it again") from error
