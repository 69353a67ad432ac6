"""Validation of a checkpoint folder before a model is built from it.

Reads config.json and preprocessor_config.json. Each fault is one sentence: folders without config, preprocessor or
weights raise `ModelNotFound`; invalid JSON, unknown families and heads, sampling rates other than 16 kHz and truncated
weights raise `ModelFormatError`. Nothing is unpickled here, and no code of a checkpoint runs.
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
"""Supported values of `model_type`, and the prefix of each family's classes."""

DIMENSIONS: Mapping[str, str] = MappingProxyType(
    {name: name for name in ("arousal", "dominance", "valence")} | {"activation": "arousal", "pleasure": "valence"}
)
"""Outputs of a regression head, and their names here. A checkpoint has dimensions if all its labels are among them."""

MIN_IDENTITY_LABELS = 100
"""Number of labels from which a classifier identifies speakers rather than emotions."""

_POINTER = b"version https://git-lfs"


class Head(StrEnum):
    """Head of a model; the value is the suffix of its classes."""

    CLASSIFIER = "ForSequenceClassification"
    XVECTOR = "ForXVector"
    FRAMES = "ForAudioFrameClassification"
    POOLED = "ForSpeechClassification"  # not a class of transformers: `pooled.py`


_HEADS = MappingProxyType({Task.SPEAKER: Head.XVECTOR, Task.OVERLAP: Head.FRAMES})
"""Head of the checkpoints of a task; other tasks use a classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Contents of a folder: what is needed to build the model and to describe it."""

    folder: Path
    weights: Path
    family: str
    head: Head
    task: Task
    labels: tuple[str, ...]
    dimensions: tuple[str, ...]
    normalise: bool

    @property
    def class_name(self) -> str:
        """Name of its class in transformers."""
        return FAMILIES[self.family] + ("Model" if self.head is Head.POOLED else self.head)

    @property
    def revision(self) -> str:
        """The commit if the folder is a snapshot in the hub's cache, else `local:` and a digest of the weights."""
        if self.folder.parent.name == "snapshots":
            return self.folder.name
        digest = hashlib.sha256()
        for path in self.parts:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return f"local:{digest.hexdigest()[:12]}"

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files with the weights."""
        if self.weights.suffix != ".json":
            return (self.weights,)
        index = _json(self.weights).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise ModelFormatError(f"{self.weights} lists no weight files; download the checkpoint again")
        return tuple(self.folder / Path(str(name)).name for name in sorted(set(index.values())))


def read_checkpoint(folder: Path, *, task: Task | None = None) -> Checkpoint:
    """Validate a folder. `task` decides only if config.json names no architecture."""
    if not (folder / CONFIG).is_file():
        raise ModelNotFound(f"{folder} has no {CONFIG}; give the folder with the files of a checkpoint")
    config = _json(folder / CONFIG)
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise ModelFormatError(f"{folder} has a model of the family {family!r}; supported: {', '.join(FAMILIES)}")
    head = _head(folder, config, task=task)
    if family == "hubert" and head not in (Head.CLASSIFIER, Head.POOLED):
        raise ModelFormatError(
            f"{folder} needs a Hubert{head}, which transformers does not provide; use another checkpoint"
        )
    labels = _labels(folder, config) if head in (Head.CLASSIFIER, Head.POOLED) else ()
    dimensions = _dimensions(labels)
    labels = () if dimensions else labels
    detected = Task.EMOTION if dimensions else _task(head, labels)
    checkpoint = Checkpoint(
        folder=folder,
        weights=_weights(folder),
        family=family,
        head=head,
        task=detected,
        labels=canonical(labels) if detected is Task.EMOTION else labels,
        dimensions=dimensions,
        normalise=_normalise(folder),
    )
    for part in checkpoint.parts:
        _check_file(part)
    return checkpoint


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: neither UTF-8 nor JSON
        raise ModelFormatError(f"{path} cannot be read ({error}); download the checkpoint again") from error
    if not isinstance(value, dict):
        raise ModelFormatError(f"{path} is not a JSON object; download the checkpoint again")
    return value


def _head(folder: Path, config: Mapping[str, Any], *, task: Task | None) -> Head:
    architectures = [str(name) for name in config.get("architectures") or ()]
    for head in Head:
        if any(name == FAMILIES[config["model_type"]] + head for name in architectures):
            return head
    if architectures or task is None:
        raise ModelFormatError(
            f"{folder} has {' and '.join(architectures) or 'a model without a named architecture'}; use a fine-tuned "
            "…ForSequenceClassification, …ForXVector or …ForAudioFrameClassification"
        )
    return _HEADS.get(task, Head.CLASSIFIER)


def _labels(folder: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label") or {}
    try:
        labels = tuple(str(named[key]) for key in sorted(named, key=int))
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelFormatError(
            f"{folder / CONFIG} has keys in id2label that are not numbers; download it again"
        ) from error
    if len(labels) < 2 and not _dimensions(labels):  # noqa: PLR2004
        raise ModelFormatError(f"{folder / CONFIG} has fewer than two labels in id2label; use another checkpoint")
    return labels


def _dimensions(labels: tuple[str, ...]) -> tuple[str, ...]:
    named = tuple(DIMENSIONS.get(label.strip().lower(), "") for label in labels)
    return named if all(named) else ()


def _task(head: Head, labels: tuple[str, ...]) -> Task:
    if head is Head.XVECTOR:
        return Task.SPEAKER
    if head is Head.FRAMES:
        return Task.OVERLAP
    is_identity = len(labels) >= MIN_IDENTITY_LABELS or all(re.fullmatch(r"id\d+", label) for label in labels)
    return Task.IDENTITY if is_identity else Task.EMOTION


def _normalise(folder: Path) -> bool:
    path = folder / PREPROCESSOR
    if not path.is_file():
        raise ModelNotFound(
            f"{folder} has no {PREPROCESSOR}, which defines the scaling of audio; download it from the hub as well"
        )
    preprocessor = _json(path)
    rate_hz = preprocessor.get("sampling_rate", SAMPLE_RATE_HZ)
    if rate_hz != SAMPLE_RATE_HZ:
        raise ModelFormatError(f"{path} needs audio at {rate_hz} Hz; only {SAMPLE_RATE_HZ} Hz is supported")
    kind = preprocessor.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    if kind != "Wav2Vec2FeatureExtractor":
        raise ModelFormatError(f"{path} needs a {kind}; only Wav2Vec2FeatureExtractor is supported")
    return bool(preprocessor.get("do_normalize", True))  # the extractor's default


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise ModelNotFound(f"{folder} has no weights; needed: {' or '.join(WEIGHTS[::2])}")


def _check_file(part: Path) -> None:
    """Check that a weight file exists and, for safetensors, that it is complete."""
    if not part.is_file():
        raise ModelNotFound(f"{part} is missing but listed in the index; download the checkpoint again")
    with part.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ModelFormatError(f"{part} is a Git LFS pointer; run `git lfs pull` in its folder")
    if part.suffix != ".safetensors":
        return
    try:
        with safe_open(part, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelFormatError(f"{part} is damaged or incomplete ({error}); download it again") from error
