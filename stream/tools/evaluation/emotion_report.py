"""The evaluation of an emotion model, corpus by corpus: what the command `evaluate emotion` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stream.tools.evaluation import emotion, emotion_changes, pages, telephone
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.output import progress_bar
from stream.tools.evaluation.report import Section
from stream.tools.evaluation.runner import EvaluationRunner, read_samples


class EmotionReport:
    """Figures and sections of one model.

    Args:
        runner: The model, loaded.
        name: Its name in the report.
        telephone: Whether to add each corpus as a telephone carries it.
        changes: Whether to add joined recordings of one person.
    """

    def __init__(self, runner: EvaluationRunner, name: str, *, telephone: bool, changes: bool) -> None:
        self.figures: dict[str, Any] = {}
        self.sections: list[Section] = []
        self._runner, self._name = runner, name
        self._telephone, self._changes = telephone, changes

    def add(self, corpus: str, utterances: Sequence[Utterance]) -> None:
        """Process a corpus, with labels or without."""
        if not any(utterance.emotion for utterance in utterances):
            with progress_bar(f"{self._name}: {corpus}", len(utterances)) as step:
                self.figures[corpus] = emotion.label_shares(self._runner, utterances, progress=step)
            return
        self.figures[corpus] = figures = self._labelled(corpus, utterances)
        if self._changes:
            with progress_bar(f"{self._name}: {corpus}, joined", len(utterances)) as step:
                figures["changes"] = emotion_changes.evaluate(self._runner, utterances, progress=step)
        if self._telephone:
            with TemporaryDirectory(prefix="tonewatch-") as folder:
                calls = [_as_call(one, Path(folder) / f"{at}.wav") for at, one in enumerate(utterances)]
                self.figures[f"{corpus}, telephone"] = self._labelled(f"{corpus}, telephone", calls)

    def _labelled(self, corpus: str, utterances: Sequence[Utterance]) -> dict[str, Any]:
        with progress_bar(f"{self._name}: {corpus}", len(utterances)) as step:
            result = emotion.evaluate(self._runner, utterances, progress=step)
        figures = emotion.figures(result)
        if figures["scored"]:
            self.sections.append(pages.emotion_section(self._name, corpus, result, figures))
        return figures


def _as_call(utterance: Utterance, path: Path) -> Utterance:
    telephone.write_call(path, read_samples(utterance.paths[0]))
    return replace(utterance, paths=(path,))
