"""Inputs of an evaluation as given on the command line: manifests, recordings, people and cohorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.tools.evaluation.runner import EvaluationRunner


def utterance_groups(manifest: Path, only: list[str] | None) -> dict[str, list[Any]]:
    """Return utterances by corpus, restricted to the corpora in `only` if any are given."""
    from stream.tools.evaluation.corpora import group_by_corpus, read_utterances  # noqa: PLC0415

    groups = dict(group_by_corpus(read_utterances(manifest)))
    unknown = next((name for name in only or [] if name not in groups), None)
    if unknown is not None:
        raise SettingsError(f"unknown corpus {unknown!r} in {manifest}; available: {', '.join(groups)}")
    return {name: group for name, group in groups.items() if not only or name in only}


def find_recordings(audio: Sequence[Path], reference: Mapping[str, Any]) -> list[Path]:
    """Return the given files, and from folders the recordings that the reference contains."""
    files: list[Path] = []
    for path in audio:
        files += [file for file in audio_files(path) if file.stem in reference] if path.is_dir() else [path]
    unknown = next((path for path in files if path.stem not in reference), None)
    if unknown is not None:
        raise SettingsError(
            f"the reference has no recording {unknown.stem!r}; it has {', '.join(list(reference)[:5])} …"
        )
    if not files:
        raise SettingsError("no recording of the reference found; check the folder and the names in the reference")
    return files


def audio_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the audio files in a folder, sorted."""
    from stream.tools.evaluation.corpora import AUDIO_SUFFIXES  # noqa: PLC0415

    files = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(file for file in files if file.suffix.lower() in AUDIO_SUFFIXES)


def enrolment_files(path: Path) -> dict[str, str]:
    """Return the enrolled people of a recording: name to file, from the folder named like the recording."""
    return {file.stem: str(file) for file in audio_files(path.with_suffix(""))}


def read_words(path: Path) -> list[str]:
    """Return the words of a text file."""
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def parse_enrolment(text: str) -> tuple[str, str]:
    """Split NAME=FILE."""
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise SettingsError(f"invalid --enroll {text!r}; use NAME=FILE")
    return name, path


def parse_range(text: str) -> range:
    """Parse a number of people, or a range such as 2-5."""
    low, _, high = text.partition("-")
    if not (low.isdigit() and (high or low).isdigit() and 1 <= int(low) <= int(high or low)):
        raise SettingsError(f"invalid --people {text!r}; use a number or a range such as 2-5")
    return range(int(low), int(high or low) + 1)


def compared_models(model: str | None, compare: tuple[str, str] | None) -> tuple[str | None, ...]:
    """Return the names of the models to evaluate; None is the configured one."""
    if model is not None and compare is not None:
        raise SettingsError("--model and --compare exclude each other; --compare names both models")
    return compare or (model,)


def load_cohort(runner: EvaluationRunner, path: Path | None) -> Any:
    """Return the cohort for AS-norm: from recordings, or the model's own, or None."""
    from stream.tools.evaluation import corpora, verification  # noqa: PLC0415
    from stream.tracking.scoring import Cohort  # noqa: PLC0415
    from stream.types import Task  # noqa: PLC0415

    model = runner.model(Task.SPEAKER)
    if path is None:
        return Cohort.of(model.info)
    people: dict[str, list[Any]] = {}
    for one in verification.extract_speech(runner, corpora.read_utterances(path)):
        if len(one.samples) >= model.spec.minimum_samples:
            people.setdefault(one.speaker or one.name, []).append(verification.x_vector(model, one.samples))
    if not people:
        raise SettingsError(f"no recording in {path} has enough speech for a cohort; use longer recordings")
    return Cohort(verification.mean_vectors(people.values()))
