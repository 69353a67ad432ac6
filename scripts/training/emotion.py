"""Train the emotion head on the trunk of CAM++: `scripts/train emotion`.

Learns from rows marked `train` only: EmoDB, CREMA-D, read speech of AN4 and LibriSpeech, and sounds outside the labels
(every second person of emogator, every second recording of ESC-10). Actors are left out in turn, of EmoDB one by one
and of CREMA-D a seventh at a time; temperatures are fitted on those left out. RAVDESS and nEMO are only measured.
The actor of the bundled conversation is left out of the head that ships.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from scripts.training import corpus, emotion_figures, emotion_head
from scripts.training.emotion_inputs import ACTED, MEASURED, OUTSIDE, READ, Examples, examples, joined
from stream.models.campplus.emotion import LABELS, OUTPUTS, REFERENCE_S, WEIGHTS
from stream.types import SAMPLE_RATE_HZ

NAME, REVISION = "emotion-campplus", "1"
DEMO_ACTOR = "emodb_12"
NOTICE = "Contains information from CREMA-D, made available under the Open Database License (ODbL)"
FOLDS = 7
SHORT_S = 1.0
"""Duration of the variant `short`."""


def folds(acted: Examples) -> list[frozenset[str]]:
    """Return the actors that are left out together: one of EmoDB, a seventh of CREMA-D's."""
    parts: list[set[str]] = [set() for _ in range(FOLDS)]
    for kind in ACTED:
        for place, speaker in enumerate(sorted(set(acted.speakers[acted.sets == kind].tolist()))):
            parts[place % FOLDS].add(speaker)
    return [frozenset(part) for part in parts]


def left_out_logits(acted: Examples, others: Examples) -> torch.Tensor:
    """Return the logits of each acted example from a head that was not fitted on its actor, (n, OUTPUTS)."""
    logits = torch.zeros(len(acted), OUTPUTS)
    for part in folds(acted):
        own = np.isin(acted.speakers, list(part))
        logits[torch.from_numpy(own)] = emotion_head.fit(joined((acted.where(~own), others))).logits(acted.where(own))
        print(f"left out: {', '.join(sorted(part)[:1])} and {len(part) - 1} more", flush=True)
    return logits


def other_corpus_logits(acted: Examples, others: Examples) -> torch.Tensor:
    """Return the logits of each acted example from a head fitted on the other corpus, (n, OUTPUTS)."""
    logits = torch.zeros(len(acted), OUTPUTS)
    for kind in ACTED:
        own = acted.sets == kind
        logits[torch.from_numpy(own)] = emotion_head.fit(joined((acted.where(~own), others))).logits(acted.where(own))
    return logits


def temperature(logits: torch.Tensor, truth: np.ndarray, weights: np.ndarray) -> float:
    """Return the divisor of the logits that makes the labels likeliest."""
    grid = np.geomspace(0.3, 3.0, 139)
    kept = torch.from_numpy(weights)
    target = torch.from_numpy(truth)
    losses = [
        float((kept * torch.nn.functional.cross_entropy(logits[:, : len(LABELS)] / t, target, reduction="none")).sum())
        for t in grid
    ]
    return float(grid[int(np.argmin(losses))])


def temperatures(acted: Examples, within: torch.Tensor, across: torch.Tensor) -> tuple[float, float]:
    """Return the temperature at REFERENCE_S, and the exponent by which it grows for shorter speech.

    The first is fitted on left-out corpora, since users are not actors of these; the second on left-out actors.
    """

    def fitted(logits: torch.Tensor, variants: tuple[str, ...]) -> float:
        chosen = np.isin(acted.variants, variants)
        labels, sets = acted.labels[chosen], acted.sets[chosen]
        weights = np.zeros(len(labels))
        for kind in ACTED:
            for label in range(len(LABELS)):
                own = (sets == kind) & (labels == label)
                weights[own] = 1.0 / own.sum()
        return temperature(logits[torch.from_numpy(chosen)], labels, weights)

    whole = ("whole", "tel")
    base = fitted(across, whole)
    short = fitted(within, ("short",)) / fitted(within, whole)
    return base, max(0.0, float(np.log(short) / np.log(REFERENCE_S / SHORT_S)))


def main() -> None:
    """Read the command line, train and measure."""
    parser = argparse.ArgumentParser(prog="scripts/train emotion", description=__doc__)
    parser.add_argument("--inputs", type=Path, default=corpus.RUNS / "emotion", help="folder of computed inputs")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="file to write")
    parser.add_argument("--figures", type=Path, help="file for the figures as JSON")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    held_out = corpus.held_out_speakers(corpus.manifest(corpus.data_folder()))
    acted = examples(ACTED, arguments.inputs, kept=lambda row: row.use == "train" and row.emotion in LABELS)
    read = examples(READ, arguments.inputs)
    outside = examples(OUTSIDE, arguments.inputs)
    is_new = np.isin(read.speakers, list(held_out))
    places = {path: place for place, path in enumerate(dict.fromkeys(outside.paths.tolist()))}
    is_even = np.array([places[path] % 2 == 0 for path in outside.paths.tolist()])
    others = joined((read.where(~is_new), outside.where(is_even)))
    within = left_out_logits(acted, others)
    divisor = temperatures(acted, within, other_corpus_logits(acted, others))
    head = emotion_head.fit(joined((acted.where(acted.speakers != DEMO_ACTOR), others)))
    strangers = {
        "acted": (acted, within),
        **{
            name: (part, head.logits(part))
            for name, part in (
                ("measured", examples(MEASURED, arguments.inputs)),
                ("read", read.where(is_new)),
                ("outside", outside.where(~is_even)),
            )
        },
    }
    figures = emotion_figures.figures(strangers, divisor)
    emotion_figures.show(figures)
    if arguments.figures is not None:
        arguments.figures.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    write(head, divisor, arguments.weights, people=len(set(acted.speakers.tolist())) - 1)


def write(head: emotion_head.Head, divisor: tuple[float, float], path: Path, *, people: int) -> None:
    """Write the head with its temperatures and the notice that its training data asks for."""
    header = {
        "name": NAME,
        "revision": REVISION,
        "sample_rate_hz": str(SAMPLE_RATE_HZ),
        "labels": ",".join(LABELS),
        "temperature": f"{divisor[0]:.4f},{divisor[1]:.4f}",
        "training": f"{people} actors of EmoDB and CREMA-D, read speech of AN4 and LibriSpeech, emogator, ESC-10",
        "notice": NOTICE,
    }
    save_file({"weight": head.weight.contiguous(), "bias": head.bias.contiguous()}, path, metadata=header)
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB, {header}")


if __name__ == "__main__":
    main()
