"""Sections of the page of an evaluation: tables and charts of each kind of result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream.tools.evaluation import plots
from stream.tools.evaluation.diarization import ScoredRecording
from stream.tools.evaluation.emotion import EmotionResult
from stream.tools.evaluation.output import flatten, reliability_columns
from stream.tools.evaluation.report import Section
from stream.tools.evaluation.verification import SpeakerResult


def emotion_section(model: str, corpus: str, result: EmotionResult, figures: Mapping[str, Any]) -> Section:
    """Return figures, recalls by label and by speaker, confusion matrix and reliability diagram."""
    charts = (plots.confusion_matrix(result, corpus), plots.reliability_diagram(result, corpus))
    row = flatten(figures, ("by_speaker", "recall", "left_out"))
    speakers = [{"speaker": name, **recalls} for name, recalls in figures["by_speaker"].items()]
    return Section(f"{model} on {corpus}", ([row], [figures["recall"]], speakers), charts)


def verification_sections(
    model: str, result: SpeakerResult, figures: Mapping[str, Any], *, threshold: float | None
) -> list[Section]:
    """Return a section per corpus: figures by duration, reliability, error trade-off and score distributions."""
    sections = []
    for corpus, curves in result.pairs.items():
        rows = [{"speech, s": duration, **flatten(row)} for duration, row in figures["corpora"][corpus].items()]
        bins = ((figures["reliability"] or {}).get(corpus) or {}).items()
        reliability = [{"speech, s": duration, **reliability_columns(row)} for duration, row in bins]
        pairs = curves["all"] if "all" in curves else next(iter(curves.values()))
        charts = (
            plots.det(curves, corpus),
            plots.distributions(pairs.same.tolist(), pairs.different.tolist(), threshold, corpus),
        )
        sections.append(Section(f"{model} on {corpus}", (rows, reliability), charts, result.reliability_note))
    return sections


def diarization_section(model: str, recordings: Sequence[ScoredRecording], figures: Mapping[str, Any]) -> Section:
    """Return figures of all recordings and of each, with a timeline per recording."""
    rows = [{"recording": name, **row} for name, row in figures["recordings"].items()]
    charts = tuple(plots.timeline(recording) for recording in recordings)
    return Section(model, ([figures["all"]], rows), charts)
