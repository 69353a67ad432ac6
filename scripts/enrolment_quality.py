"""What the checks of enrolment let pass and refuse: `python -m scripts.enrolment_quality MANIFEST.csv`.

Recordings of one person are put together to ten seconds or so, and must pass; then the same with a fault put in must
be refused: turned up tenfold beyond full scale, in pink noise as loud as the speech itself, and two people's sound
one after the other (`half`: 5 s and 5 s, `end`: 7 s and 3 s) or in turns of 2.5 s. One JSON line a corpus. Seeded.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stream.profiles.enrolment_audio import EnrolmentAudio
from stream.profiles.quality import faults, one_person, several, too_short
from stream.settings import load
from stream.tools.enrolment.enrolment import EnrolmentModels
from stream.tools.evaluation.corpora import Utterance, utterances
from stream.tools.evaluation.runner import samples_of
from stream.types import SAMPLE_RATE_HZ, Samples

WANTED_S = 10.0
PAUSE_S = 0.3


def sounds(people: dict[str, list[Utterance]], draw: np.random.Generator, most: int) -> list[tuple[str, Samples]]:
    """One sound of ten seconds or so for each of the people who said as much; (n,)."""
    found = []
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE_HZ), np.float32)
    for name in draw.permutation(sorted(people)):
        parts: list[Samples] = []
        for place in draw.permutation(len(people[name])):
            parts += [samples_of(path) for path in people[name][place].paths] + [pause]
            if sum(map(len, parts)) >= WANTED_S * SAMPLE_RATE_HZ:
                break
        sound = np.concatenate(parts)
        if len(sound) >= 0.75 * WANTED_S * SAMPLE_RATE_HZ:
            found.append((str(name), sound[: round(1.2 * WANTED_S * SAMPLE_RATE_HZ)]))
        if len(found) == most:
            break
    return found


def wrong(sound: Samples, ears: EnrolmentModels) -> list[str]:
    """What is wrong with it, in a word each."""
    take: EnrolmentAudio = ears.take(SAMPLE_RATE_HZ)
    take.push(sound[:, None])
    take.finish()
    short = too_short(take.speech_s)
    mixed = several(one_person(take.pieces, ears.scorer))
    found = [short] if short else [*faults(take.sound()), *([mixed] if mixed else [])]
    return [fault.brief for fault in found]


def noisy(sound: Samples, draw: np.random.Generator) -> Samples:
    """In pink noise of the same power."""
    spectrum = np.fft.rfft(draw.normal(size=len(sound)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(sound))
    return np.asarray(sound + noise * (sound.std() / noise.std()), np.float32)


def joined(one: Samples, other: Samples, *spans_s: tuple[int, float, float]) -> Samples:
    """Spans of the one (0) and the other (1), side by side."""
    return np.concatenate(
        [(one, other)[who][round(start * SAMPLE_RATE_HZ) : round(end * SAMPLE_RATE_HZ)] for who, start, end in spans_s]
    )


MIXED: dict[str, Callable[[Samples, Samples], Samples]] = {
    "half": lambda one, other: joined(one, other, (0, 0, 5), (1, 0, 5)),
    "turns": lambda one, other: joined(one, other, (0, 0, 2.5), (1, 0, 2.5), (0, 2.5, 5), (1, 2.5, 5)),
    "end": lambda one, other: joined(one, other, (0, 0, 7), (1, 0, 3)),
}


def measure(found: list[tuple[str, Samples]], ears: EnrolmentModels, draw: np.random.Generator) -> dict[str, object]:
    """Shares that pass and that are refused."""
    alone = [wrong(sound, ears) for _, sound in found]
    cut = [wrong(np.clip(sound * 10 / np.abs(sound).max(), -1, 1), ears) for _, sound in found]
    loud = [wrong(noisy(sound, draw), ears) for _, sound in found]
    pairs = list(zip(found, found[1:] + found[:1], strict=True)) if len(found) > 1 else []
    mixed = {
        kind: [wrong(mix(one, other), ears) for (_, one), (_, other) in pairs] for kind, mix in MIXED.items() if pairs
    }

    def share(results: list[list[str]], fault: str) -> float:
        return round(sum(fault in result for result in results) / max(1, len(results)), 3)

    return {
        "people": len(found),
        "pass": round(sum(not result for result in alone) / max(1, len(alone)), 3),
        "refused alone": {fault: share(alone, fault) for fault in sorted({f for result in alone for f in result})},
        "refused clipped": share(cut, "clipping"),
        "refused noisy": share(loud, "noisy"),
        "refused two people": {kind: share(results, "several voices") for kind, results in mixed.items()},
    }


def main() -> None:
    """Print a line a corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--people", type=int, default=40, help="of each corpus, at most")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    corpora: dict[str, dict[str, list[Utterance]]] = {}
    for utterance in utterances(given.manifest):
        if utterance.speaker:
            corpora.setdefault(utterance.corpus, {}).setdefault(utterance.speaker, []).append(utterance)
    ears, draw = EnrolmentModels(load()), np.random.default_rng(given.seed)
    for corpus, people in corpora.items():
        row = measure(sounds(people, draw, given.people), ears, draw)
        print(json.dumps({"corpus": corpus, **row}), flush=True)


if __name__ == "__main__":
    main()
