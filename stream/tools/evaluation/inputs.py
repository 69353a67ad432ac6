"""What an evaluation is asked about: manifests, recordings of a reference, people, strangers; what is wrong is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.tools.evaluation.runner import EvaluationRunner


def groups(manifest: Path, only: list[str] | None) -> dict[str, list[Any]]:
    """Utterances by corpus; `only` those corpora, if any are named."""
    from stream.tools.evaluation.corpora import by_corpus, utterances  # noqa: PLC0415

    groups = dict(by_corpus(utterances(manifest)))
    unknown = next((name for name in only or [] if name not in groups), None)
    if unknown is not None:
        raise SettingsError(f"{manifest} has no corpus {unknown!r}; it has {', '.join(groups)}")
    return {name: group for name, group in groups.items() if not only or name in only}


def recordings(audio: Sequence[Path], reference: Mapping[str, Any]) -> list[Path]:
    """Files, and those in folders that the reference names."""
    from stream.tools.evaluation.corpora import AUDIO_SUFFIXES  # noqa: PLC0415

    files: list[Path] = []
    for path in audio:
        if path.is_dir():
            files += sorted(f for f in path.iterdir() if f.suffix.lower() in AUDIO_SUFFIXES and f.stem in reference)
        else:
            files.append(path)
    unknown = next((path for path in files if path.stem not in reference), None)
    if unknown is not None:
        raise SettingsError(
            f"the reference says nothing of {unknown.stem}; it knows {', '.join(list(reference)[:5])} …"
        )
    if not files:
        raise SettingsError("no recording of the reference lies there")
    return files


def people_of(path: Path) -> list[Path]:
    """Known people of a recording: the files in the folder of its name."""
    from stream.tools.evaluation.corpora import AUDIO_SUFFIXES  # noqa: PLC0415

    return sorted(file for file in path.with_suffix("").glob("*") if file.suffix.lower() in AUDIO_SUFFIXES)


def lines(path: Path) -> list[str]:
    """The words of a file."""
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def enrolment(text: str) -> tuple[str, str]:
    """NAME=FILE, apart."""
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise SettingsError(f"--enroll takes NAME=FILE, not {text!r}")
    return name, path


def cohort(ears: EvaluationRunner, path: Path | None) -> Any:
    """Strangers for AS-norm: of recordings, or those the model brings along."""
    from stream.tools.evaluation import corpora, verification  # noqa: PLC0415
    from stream.tracking.scoring import Cohort  # noqa: PLC0415
    from stream.types import Task  # noqa: PLC0415

    model = ears.model(Task.SPEAKER)
    if path is None:
        return Cohort(model.info.cohort) if model.info.cohort is not None else None
    people: dict[str, list[Any]] = {}
    for one in verification.listen(ears, corpora.utterances(path)):
        if len(one.samples) >= model.spec.minimum_samples:
            people.setdefault(one.speaker or one.name, []).append(verification.x_vector(model, one.samples))
    if not people:
        raise SettingsError(f"{path} holds no recording with speech enough to be a cohort")
    return Cohort(verification.centred(people.values()))
