"""Acceptance and rejection rates of the enrolment checks: `python -m scripts.enrolment_quality MANIFEST.csv`.

Recordings of one person are joined to about ten seconds and must pass. The same audio with a defect must be rejected:
amplified tenfold and clipped, in pink noise of the same power, and mixed with another person, one after the other
(`half`: 5 s and 5 s, `end`: 7 s and 3 s) or in turns of 2.5 s. Prints one JSON line per corpus. Seeded.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stream.profiles.enrolment_audio import speakers_issue
from stream.profiles.quality import audio_issues, length_issue
from stream.settings import DEFAULT_PRESET, load
from stream.tools.enrolment.enrolment import EnrolmentModels
from stream.tools.evaluation.corpora import Utterance, read_utterances
from stream.tools.evaluation.runner import read_samples
from stream.types import SAMPLE_RATE_HZ, Samples

WANTED_S = 10.0
PAUSE_S = 0.3


def recordings(
    speakers: dict[str, list[Utterance]], generator: np.random.Generator, max_speakers: int
) -> list[tuple[str, Samples]]:
    """Return about ten seconds (n,) of each speaker with enough audio, by name."""
    found = []
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE_HZ), np.float32)
    for name in generator.permutation(sorted(speakers)):
        parts: list[Samples] = []
        for place in generator.permutation(len(speakers[name])):
            parts += [read_samples(path) for path in speakers[name][place].paths] + [pause]
            if sum(map(len, parts)) >= WANTED_S * SAMPLE_RATE_HZ:
                break
        samples = np.concatenate(parts)
        if len(samples) >= 0.75 * WANTED_S * SAMPLE_RATE_HZ:
            found.append((str(name), samples[: round(1.2 * WANTED_S * SAMPLE_RATE_HZ)]))
        if len(found) == max_speakers:
            break
    return found


def issues(samples: Samples, models: EnrolmentModels) -> list[str]:
    """Return the labels of the defects found in a recording."""
    audio = models.new_audio(SAMPLE_RATE_HZ)
    audio.push(samples[:, None])
    audio.finish()
    mixed, short = speakers_issue([audio], models.scorer), length_issue(audio.speech_s)
    return [issue.label for issue in (*audio_issues(audio.quality()), mixed, short) if issue is not None]


def with_noise(samples: Samples, generator: np.random.Generator) -> Samples:
    """Add pink noise of the same power."""
    spectrum = np.fft.rfft(generator.normal(size=len(samples)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(samples))
    return np.asarray(samples + noise * (samples.std() / noise.std()), np.float32)


def join(one: Samples, other: Samples, *spans_s: tuple[int, float, float]) -> Samples:
    """Concatenate spans (recording 0 or 1, start, end) of two recordings."""
    return np.concatenate(
        [
            (one, other)[which][round(start * SAMPLE_RATE_HZ) : round(end * SAMPLE_RATE_HZ)]
            for which, start, end in spans_s
        ]
    )


MIXTURES: dict[str, Callable[[Samples, Samples], Samples]] = {
    "half": lambda one, other: join(one, other, (0, 0, 5), (1, 0, 5)),
    "turns": lambda one, other: join(one, other, (0, 0, 2.5), (1, 0, 2.5), (0, 2.5, 5), (1, 2.5, 5)),
    "end": lambda one, other: join(one, other, (0, 0, 7), (1, 0, 3)),
}


def measure(
    found: list[tuple[str, Samples]], models: EnrolmentModels, generator: np.random.Generator
) -> dict[str, object]:
    """Return the shares of recordings that pass and that are rejected."""
    alone = [issues(samples, models) for _, samples in found]
    clipped = [issues(np.clip(samples * 10 / np.abs(samples).max(), -1, 1), models) for _, samples in found]
    noisy = [issues(with_noise(samples, generator), models) for _, samples in found]
    pairs = list(zip(found, found[1:] + found[:1], strict=True)) if len(found) > 1 else []
    mixed = {
        kind: [issues(mix(one, other), models) for (_, one), (_, other) in pairs]
        for kind, mix in MIXTURES.items()
        if pairs
    }

    def share(results: list[list[str]], label: str) -> float:
        return round(sum(label in result for result in results) / max(1, len(results)), 3)

    return {
        "people": len(found),
        "pass": round(sum(not result for result in alone) / max(1, len(alone)), 3),
        "rejected alone": {label: share(alone, label) for label in sorted({one for result in alone for one in result})},
        "rejected clipped": share(clipped, "clipping"),
        "rejected noisy": share(noisy, "noisy"),
        "rejected two people": {kind: share(results, "several voices") for kind, results in mixed.items()},
    }


def main() -> None:
    """Print one line per corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--people", type=int, default=40, help="people of each corpus, at most")
    parser.add_argument("--preset", default=DEFAULT_PRESET, help="the preset whose speaker model is used")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    corpora: dict[str, dict[str, list[Utterance]]] = {}
    for utterance in read_utterances(given.manifest):
        if utterance.speaker:
            corpora.setdefault(utterance.corpus, {}).setdefault(utterance.speaker, []).append(utterance)
    models, generator = EnrolmentModels(load(preset=given.preset)), np.random.default_rng(given.seed)
    for corpus, speakers in corpora.items():
        row = measure(recordings(speakers, generator, given.people), models, generator)
        print(json.dumps({"corpus": corpus, **row}), flush=True)


if __name__ == "__main__":
    main()
