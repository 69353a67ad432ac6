"""Speed and accuracy of the large emotion net in int8, against the library's float32, on one thread.

    TONEWATCH_DATA=… python -m scripts.int8_figures --fit 96 --compare 100

The net has full size and random weights, as `transformers` draws them. A classifier with random weights would give most
clips one label; so a ridge classifier of four emotions is fitted on the pooled outputs of the net in float32, on
recordings of CREMA-D, and the labels of other people's recordings are compared: in float32 and in int8. Times are CPU
time of one thread, which other programs hardly affect; runs are interleaved. Exit code 1 below 1.5 times or 98 %.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.training.corpus import Row, data_folder, manifest, read
from stream.models.agreement import all_outputs
from stream.models.benchmark import library_output, random_model
from stream.models.capability import should_pack
from stream.models.devices import retain_freed_memory
from stream.models.fast.conversion import accelerate
from stream.models.preprocessing import prepare

NAME = "emotion-wav2vec2-large"
EMOTIONS = ("angry", "happy", "neutral", "sad")
WINDOW_SAMPLES = 48_000
RIDGE = 0.1
"""Weight of the penalty, as a share of the mean variance of the outputs."""

MIN_SPEED_UP, MIN_SAME = 1.5, 0.98


def chosen(rows: Sequence[Row], *, fit: int, compare: int) -> tuple[list[Row], list[Row]]:
    """Return recordings of the four emotions in equal numbers, of different people in either part."""
    acted = [row for row in rows if row.set == "crema-d" and row.emotion in EMOTIONS]
    people = sorted({row.speaker for row in acted})
    others = set(people[::2])
    chance = random.Random(1)  # noqa: S311 - the same recordings in every run
    parts = []
    for is_other, count in ((False, fit), (True, compare)):
        part: list[Row] = []
        for emotion in EMOTIONS:
            of_emotion = [row for row in acted if row.emotion == emotion and (row.speaker in others) is is_other]
            part += chance.sample(of_emotion, count // len(EMOTIONS))
        parts.append(part)
    return parts[0], parts[1]


def windows(rows: Sequence[Row]) -> Tensor:
    """Return one window of each recording, (recordings, n), scaled as for the model."""
    return torch.from_numpy(prepare([np.resize(read(row.path), WINDOW_SAMPLES) for row in rows], normalise=True))


def fitted(outputs: Tensor, labels: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """Return a ridge classifier: outputs (n, d) to the label of each."""
    mean = outputs.double().mean(dim=0)
    x, y = outputs.double() - mean, torch.nn.functional.one_hot(torch.tensor(labels), len(EMOTIONS)).double()
    penalty = RIDGE * float(x.square().mean()) * len(x)
    weight = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1]).double(), x.T @ (y - y.mean(dim=0)))
    return lambda some: ((some.double() - mean) @ weight).argmax(dim=1)


def median_s(jobs: Sequence[Callable[[], object]], *, runs: int) -> list[float]:
    """Return the median CPU seconds of each job, run in turn."""
    times: list[list[float]] = [[] for _ in jobs]
    for run in range(runs + 1):
        for each, job in zip(times, jobs, strict=True):
            began_s = time.thread_time()
            job()
            if run:  # the first round warms up
                each.append(time.thread_time() - began_s)
    return [statistics.median(each) for each in times]


def measure(*, fit: int, compare: int, runs: int, layers: int | None) -> dict[str, Any]:
    """Return the figures."""
    torch.set_num_threads(1)
    retain_freed_memory()
    net: Any = random_model(NAME, layers=layers, is_larger=False)
    net.classifier = torch.nn.Identity()  # the outputs are what the head pools
    exact, quantised = (accelerate(copy.deepcopy(net), name=NAME) for _ in range(2))
    assert exact is not None and quantised is not None  # noqa: S101, PT018
    processor, pack = torch.device("cpu"), should_pack(torch.device("cpu"), torch.float32)
    exact.place(device=processor, dtype=torch.float32, pack=pack)
    count = quantised.place(device=processor, dtype=torch.float32, int8=True, pack=pack)
    rows, others = chosen(manifest(data_folder()), fit=fit, compare=compare)
    one = windows(others[:1])
    with torch.inference_mode():
        library_s, exact_s, quantised_s = median_s(
            [lambda: library_output(net(one)), lambda: exact(one), lambda: quantised(one)], runs=runs
        )
    print(json.dumps({"library_s": library_s, "float32_s": exact_s, "int8_s": quantised_s}), file=sys.stderr)
    truth = torch.tensor([EMOTIONS.index(row.emotion) for row in others])
    head = fitted(all_outputs(exact, windows(rows), batch=1), [EMOTIONS.index(row.emotion) for row in rows])
    audio = windows(others)
    theirs, ours = (all_outputs(each, audio, batch=1) for each in (exact, quantised))
    same = float((head(ours) == head(theirs)).double().mean())
    speed_up = library_s / quantised_s
    return {
        "held": speed_up >= MIN_SPEED_UP and same >= MIN_SAME,
        "library_float32_ms": round(library_s * 1000),
        "ours_float32_ms": round(exact_s * 1000),
        "ours_int8_ms": round(quantised_s * 1000),
        "times_faster_than_the_library": round(speed_up, 2),
        "layers_in_int8": count,
        "windows": len(others),
        "same_label": round(same, 4),
        "least_cosine": round(float(torch.nn.functional.cosine_similarity(ours, theirs).min()), 5),
        "accuracy_float32": round(float((head(theirs) == truth).double().mean()), 3),
        "accuracy_int8": round(float((head(ours) == truth).double().mean()), 3),
    }


def main() -> int:
    """Measure, print one line of JSON, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=int, default=96, help="recordings on which the classifier is fitted")
    parser.add_argument("--compare", type=int, default=100, help="recordings whose labels are compared")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of one window")
    parser.add_argument("--layers", type=int, default=None, help="fewer layers than the net has, for a trial")
    arguments = parser.parse_args()
    figures = measure(fit=arguments.fit, compare=arguments.compare, runs=arguments.runs, layers=arguments.layers)
    print(json.dumps(figures))
    return int(not figures["held"])


if __name__ == "__main__":
    sys.exit(main())
