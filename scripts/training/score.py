"""Measure the bundled compact models: `scripts/train score`.

Speakers: equal error over all pairs of crops of held-out speakers, by set. Crops of one file are paired only if it is
the speaker's only file. `ami` are single-speaker segments of meetings, far from the microphone; that corpus is not part
of the training. Emotions: unweighted average recall on whole utterances of two corpora outside the training; chance is
25 %. Read speech (held-out speakers) has no labels: the shares are those of the predicted labels.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from scripts.training import corpus, measure, meetings
from stream.app import registry
from stream.models.compact.model import load_emotion
from stream.models.compact.nets import EMOTIONS
from stream.models.compact.tracing import TRACE_AFTER_CALLS
from stream.settings import ModelSettings
from stream.tools.evaluation.metrics import calibration_error
from stream.types import SAMPLE_RATE_HZ, Model, Window

Samples = corpus.Samples
LENGTHS_S: tuple[float | None, ...] = (1.0, 2.0, 3.0, None)
_DIGITS_JOINED = 5


@dataclass(frozen=True, slots=True)
class SpeakerFile:
    """One file of one speaker, or five digits joined, trimmed of silence."""

    set: str
    speaker: str
    name: str
    samples: Samples


def held_out_files() -> list[SpeakerFile]:
    """Return all files of held-out speakers, and single-speaker segments of meetings."""
    rows = corpus.manifest(corpus.data_folder())
    held_out = corpus.held_out_speakers(rows)
    found: list[SpeakerFile] = []
    digits: dict[str, list[Samples]] = {}
    for row in rows:
        if row.speaker not in held_out:
            continue
        samples = corpus.trimmed(corpus.read(row.path))
        if row.set == "fsdd":
            digits.setdefault(row.speaker, []).append(samples)
            continue
        found.append(SpeakerFile(row.set, row.speaker, row.path.name, samples))
        if row.emotion == "neutral":
            found.append(SpeakerFile("emodb, neutral", row.speaker, row.path.name, samples))
    for speaker_name, files in digits.items():
        starts = range(0, len(files) - _DIGITS_JOINED + 1, _DIGITS_JOINED)
        found += [
            SpeakerFile("fsdd", speaker_name, str(at), np.concatenate(files[at : at + _DIGITS_JOINED])) for at in starts
        ]
    found += [
        SpeakerFile("ami", turn.speaker, turn.name, turn.samples) for turn in meetings.turns(corpus.data_folder())
    ]
    return found


def crops(samples: Samples, seconds: float | None) -> list[Samples]:
    """Return adjacent crops of that duration, or a single one up to a quarter shorter; all samples for None."""
    if seconds is None:
        return [samples] if len(samples) >= SAMPLE_RATE_HZ // 2 else []
    size = round(seconds * SAMPLE_RATE_HZ)
    if size * 3 // 4 <= len(samples) < size:
        return [samples]
    return [samples[at : at + size] for at in range(0, len(samples) - size + 1, size)]


def scores(model: Model, recordings: list[Samples]) -> measure.Floats:
    """Return a model's scores, one row per recording."""
    windows = [Window("score", at, 0, samples, 1.0, len(samples)) for at, samples in enumerate(recordings)]
    return np.stack([score.values for score in model.infer(windows)]).astype(np.float64)


def speaker_errors(
    model: Model, files: list[SpeakerFile], seconds: float | None
) -> dict[str, tuple[float, float, int]]:
    """Return equal error, its threshold, and the number of same-speaker pairs, by set."""
    found = {}
    for kind in dict.fromkeys(file.set for file in files):
        parts = [(file, crop) for file in files if file.set == kind for crop in crops(file.samples, seconds)]
        if not parts:
            continue
        vectors = scores(model, [crop for _, crop in parts])
        same, different = measure.pairs(
            vectors, [file.speaker for file, _ in parts], [f"{file.speaker}/{file.name}" for file, _ in parts]
        )
        if len(same) and len(different):
            found[kind] = (*measure.equal_error(same, different), len(same))
    return found


def emotion_figures(model: Model) -> dict[str, dict[str, float]]:
    """Return figures of the measured corpora and of read speech.

    Recall, calibration error, count, and the recall of each label; for read speech, which has no labels, the share of
    each predicted label.
    """
    rows = corpus.manifest(corpus.data_folder())
    held_out = corpus.held_out_speakers(rows)
    groups: dict[str, list[corpus.Row]] = {}
    for row in rows:
        if row.emotion and row.set in ("ravdess", "nemo"):
            groups.setdefault(row.set, []).append(row)
        elif row.set in ("an4", "librispeech") and row.speaker in held_out:
            groups.setdefault("read speech", []).append(row)
    found: dict[str, dict[str, float]] = {}
    for kind, group in groups.items():
        probabilities = scores(model, [corpus.read(row.path) for row in group])
        guess = probabilities.argmax(axis=1)
        found[kind] = {"utterances": float(len(group))}
        if all(row.emotion for row in group):
            truth = np.array([model.info.labels.index(row.emotion) for row in group])
            found[kind]["recall"] = measure.recall(truth, guess, len(model.info.labels))
            found[kind]["ece"] = calibration_error(probabilities, truth)
            shares = [float(np.mean(guess[truth == at] == at)) for at in range(len(model.info.labels))]
        else:
            shares = [float(np.mean(guess == at)) for at in range(len(model.info.labels))]
        found[kind].update(zip(model.info.labels, shares, strict=True))
    return found


def milliseconds(model: Model) -> float:
    """Return the median time of one window in milliseconds, after its length has been traced."""
    noise = np.random.default_rng(0).normal(0, 0.1, model.spec.length_samples).astype(np.float32)
    windows = [Window("score", 0, 0, noise, 1.0, len(noise))]
    times = []
    for _ in range(2 * TRACE_AFTER_CALLS + 60):
        started = time.perf_counter()
        model.infer(windows)
        times.append(time.perf_counter() - started)
    return float(np.median(times[2 * TRACE_AFTER_CALLS :]) * 1e3)


def _shown(value: float | None) -> str:
    """Format counts as integers, shares with two digits, None as empty."""
    if value is None:
        return ""
    return f"{value:.0f}" if value > 1 else f"{value:.2f}"


def show(figures: dict[str, dict[str, dict[str, float]]], console: Console) -> None:
    """Print both tables."""
    errors = figures["speaker"]
    table = Table("equal error, %", *(f"{name}" for name in errors), title="held-out speakers")
    for kind in errors["2 s"]:
        table.add_row(kind, *(f"{100 * row[kind]:.1f}" if kind in row else "" for row in errors.values()))
    console.print(table)
    names = ["utterances", "recall", "ece", *EMOTIONS]
    table = Table("emotion", *names, title="emotions of held-out speakers")
    for kind, row in figures["emotion"].items():
        table.add_row(kind, *(_shown(row.get(name)) for name in names))
    console.print(table)
    times = ", ".join(f"{name} {value:.1f} ms" for name, value in figures["ms"]["window"].items())
    console.print(f"one window of a stream, {torch.get_num_threads()} thread(s): {times}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="scripts/train score", description=__doc__)
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    parser.add_argument("--quick", action="store_true", help="crops of 2 s only")
    parser.add_argument("--speaker", default="compact-speaker", help="the speaker model")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    speakers = registry.model(ModelSettings(name=arguments.speaker, window_s=2.0, hop_s=0.5))
    emotions: Model = load_emotion(ModelSettings(name="compact-emotion", window_s=3.0, hop_s=1.0))
    files = held_out_files()
    errors = {
        "whole" if s is None else f"{s:g} s": {k: v[0] for k, v in speaker_errors(speakers, files, s).items()}
        for s in ((2.0,) if arguments.quick else LENGTHS_S)
    }
    figures = {
        "speaker": errors,
        "emotion": emotion_figures(emotions),
        "ms": {"window": {"speaker": milliseconds(speakers), "emotion": milliseconds(emotions)}},
    }
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        show(figures, Console())


if __name__ == "__main__":
    main()
