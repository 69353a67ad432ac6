"""Measure the compact pair as it ships: `scripts/train score`.

Speakers: equal error over all pairs of crops of people the net never learned from, each set by itself. Crops of one
file are paired only for people with a single file. `ami` are stretches of meetings in which one person speaks, far
from the microphone; nothing of that corpus was learned. Emotions: unweighted average recall on whole utterances of
two corpora nothing was learned from; chance is 25 %. Read speech (speakers kept
apart) is nobody's act: the shares say how often it is given each label.
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
from stream.models.compact.factories import emotion, speaker
from stream.models.compact.nets import EMOTIONS
from stream.models.compact.tracing import OFTEN
from stream.settings import ModelSettings
from stream.tools.evaluation.metrics import calibration_error
from stream.types import SAMPLE_RATE_HZ, Model, Window

Samples = corpus.Samples
LENGTHS_S: tuple[float | None, ...] = (1.0, 2.0, 3.0, None)
_DIGITS_JOINED = 5


@dataclass(frozen=True, slots=True)
class Heard:
    """One file of one person, or five digits joined, silence at both ends cut."""

    set: str
    speaker: str
    name: str
    samples: Samples


def kept_apart() -> list[Heard]:
    """All files of the people kept apart, and single-speaker stretches of meetings."""
    rows = corpus.manifest(corpus.data_folder())
    apart = corpus.held_out_speakers(rows)
    found: list[Heard] = []
    digits: dict[str, list[Samples]] = {}
    for row in rows:
        if row.speaker not in apart:
            continue
        samples = corpus.without_ends(corpus.read(row.path))
        if row.set == "fsdd":
            digits.setdefault(row.speaker, []).append(samples)
            continue
        found.append(Heard(row.set, row.speaker, row.path.name, samples))
        if row.emotion == "neutral":
            found.append(Heard("emodb, neutral", row.speaker, row.path.name, samples))
    for who, files in digits.items():
        starts = range(0, len(files) - _DIGITS_JOINED + 1, _DIGITS_JOINED)
        found += [Heard("fsdd", who, str(at), np.concatenate(files[at : at + _DIGITS_JOINED])) for at in starts]
    found += [Heard("ami", turn.speaker, turn.name, turn.samples) for turn in meetings.turns(corpus.data_folder())]
    return found


def crops(samples: Samples, seconds: float | None) -> list[Samples]:
    """Stretches of that length side by side (all of it for None); a file that is a quarter too short counts whole."""
    if seconds is None:
        return [samples] if len(samples) >= SAMPLE_RATE_HZ // 2 else []
    size = round(seconds * SAMPLE_RATE_HZ)
    if size * 3 // 4 <= len(samples) < size:
        return [samples]
    return [samples[at : at + size] for at in range(0, len(samples) - size + 1, size)]


def values(model: Model, sounds: list[Samples]) -> measure.Floats:
    """A model's scores, one row a sound."""
    windows = [Window("score", at, 0, samples, 1.0, len(samples)) for at, samples in enumerate(sounds)]
    return np.stack([score.values for score in model.infer(windows)]).astype(np.float64)


def speaker_errors(model: Model, heard: list[Heard], seconds: float | None) -> dict[str, tuple[float, float, int]]:
    """Equal error, its cosine, and how many pairs of one person it rests on, for each set."""
    found = {}
    for kind in dict.fromkeys(file.set for file in heard):
        parts = [(file, crop) for file in heard if file.set == kind for crop in crops(file.samples, seconds)]
        if not parts:
            continue
        vectors = values(model, [crop for _, crop in parts])
        same, different = measure.pairs(
            vectors, [file.speaker for file, _ in parts], [f"{file.speaker}/{file.name}" for file, _ in parts]
        )
        if len(same) and len(different):
            found[kind] = (*measure.equal_error(same, different), len(same))
    return found


def emotion_figures(model: Model) -> dict[str, dict[str, float]]:
    """What is said of the corpora that are only measured, and of read speech that nobody acted.

    Recall, calibration error, count, and for each label the share of its utterances that was found; for read speech,
    which has no labels, the share that was given each label.
    """
    rows = corpus.manifest(corpus.data_folder())
    apart = corpus.held_out_speakers(rows)
    groups: dict[str, list[corpus.Row]] = {}
    for row in rows:
        if row.emotion and row.set in ("ravdess", "nemo"):
            groups.setdefault(row.set, []).append(row)
        elif row.set in ("an4", "librispeech") and row.speaker in apart:
            groups.setdefault("read speech", []).append(row)
    found: dict[str, dict[str, float]] = {}
    for kind, group in groups.items():
        scores = values(model, [corpus.read(row.path) for row in group])
        guess = scores.argmax(axis=1)
        found[kind] = {"utterances": float(len(group))}
        if all(row.emotion for row in group):
            truth = np.array([model.info.labels.index(row.emotion) for row in group])
            found[kind]["recall"] = measure.recall(truth, guess, len(model.info.labels))
            found[kind]["ece"] = calibration_error(scores, truth)
            shares = [float(np.mean(guess[truth == at] == at)) for at in range(len(model.info.labels))]
        else:
            shares = [float(np.mean(guess == at)) for at in range(len(model.info.labels))]
        found[kind].update(zip(model.info.labels, shares, strict=True))
    return found


def milliseconds(model: Model) -> float:
    """The median time of one window, in milliseconds, as a stream pays it: after its length has come often."""
    noise = np.random.default_rng(0).normal(0, 0.1, model.spec.length_samples).astype(np.float32)
    windows = [Window("score", 0, 0, noise, 1.0, len(noise))]
    times = []
    for _ in range(2 * OFTEN + 60):
        started = time.perf_counter()
        model.infer(windows)
        times.append(time.perf_counter() - started)
    return float(np.median(times[2 * OFTEN :]) * 1e3)


def _shown(value: float | None) -> str:
    """Counts whole, shares with two digits, nothing where there is nothing."""
    if value is None:
        return ""
    return f"{value:.0f}" if value > 1 else f"{value:.2f}"


def show(figures: dict[str, dict[str, dict[str, float]]], console: Console) -> None:
    """Both tables."""
    errors = figures["speaker"]
    table = Table("equal error, %", *(f"{name}" for name in errors), title="speakers never learned from")
    for kind in errors["2 s"]:
        table.add_row(kind, *(f"{100 * row[kind]:.1f}" if kind in row else "" for row in errors.values()))
    console.print(table)
    names = ["utterances", "recall", "ece", *EMOTIONS]
    table = Table("emotion", *names, title="emotions of people never learned from")
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
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    speakers: Model = speaker(ModelSettings(name="compact-speaker", window_s=2.0, hop_s=0.5))
    emotions: Model = emotion(ModelSettings(name="compact-emotion", window_s=3.0, hop_s=1.0))
    heard = kept_apart()
    errors = {
        "whole" if s is None else f"{s:g} s": {k: v[0] for k, v in speaker_errors(speakers, heard, s).items()}
        for s in ((2.0,) if asked.quick else LENGTHS_S)
    }
    figures = {
        "speaker": errors,
        "emotion": emotion_figures(emotions),
        "ms": {"window": {"speaker": milliseconds(speakers), "emotion": milliseconds(emotions)}},
    }
    if asked.json:
        print(json.dumps(figures, indent=1))
    else:
        show(figures, Console())


if __name__ == "__main__":
    main()
