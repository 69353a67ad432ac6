"""What an offset and mains hum do to recognition, and what conditioning mends: `python -m scripts.conditioning`.

Recordings of `TONEWATCH_DATA` (AN4 and LibriSpeech; EmoDB, and RAVDESS, of which no model was trained), clean and with
each fault added:

* five pairs of people in turns (a b a b a b): are they told apart?
* one of each pair is enrolled from other recordings with the same fault: is the other one called by that name, and how
  many of the person's own turns are?
* acted emotions: unweighted average recall of each set.

Prints one JSON line per fault, and exits with 1 if a conditioned figure is out of its limits: all pairs told apart, no
false name, and a recall within `MAX_RECALL_CHANGE` of that of clean audio.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import soundfile

from scripts.training import corpus
from stream.events import Event, TurnEvent
from stream.settings import Settings, load
from stream.tools.evaluation.corpora import Utterance, read_utterances
from stream.tools.evaluation.emotion import evaluate, figures
from stream.tools.evaluation.runner import EvaluationRunner, runners
from stream.types import SAMPLE_RATE_HZ, Samples

CORPORA = ("an4", "librispeech")
ACTED = ("emodb", "ravdess")
PAIRS = 5
MAX_RECALL_CHANGE = 0.05
CLIPS, MIN_CLIP_S, MAX_CLIP_S = 3, 2.5, 4.0
PAUSE = np.zeros(round(0.6 * SAMPLE_RATE_HZ), np.float32)
PEAK = 0.4

Fault = Callable[[Samples], Samples]


def offset(level_dbfs: float) -> Fault:
    """Return a constant offset of this level."""
    return lambda samples: np.clip(samples + np.float32(10 ** (level_dbfs / 20)), -1, 1)


def hum(base_hz: float, level_dbfs: float) -> Fault:
    """Return mains hum of this level, with harmonics that fall by their number."""

    def add(samples: Samples) -> Samples:
        time_s = np.arange(len(samples)) / SAMPLE_RATE_HZ
        wave = sum(np.sin(2 * np.pi * base_hz * one * time_s + one) / one for one in (1, 2, 3, 4, 5))
        level = 10 ** (level_dbfs / 20) / np.sqrt(np.square(wave).mean())
        return np.asarray(np.clip(samples + level * wave, -1, 1), np.float32)

    return add


FAULTS: dict[str, Fault] = {
    "clean": lambda samples: samples,
    "offset -30 dBFS": offset(-30),
    "offset -20 dBFS": offset(-20),
    "hum 50 Hz -40 dBFS": hum(50.02, -40),
    "hum 50 Hz -20 dBFS": hum(50.02, -20),
    "hum 60 Hz -40 dBFS": hum(59.98, -40),
    "hum 60 Hz -20 dBFS": hum(59.98, -20),
}


def read(path: Path) -> Samples:
    """Read a recording at a moderate level."""
    samples: Samples = soundfile.read(path, dtype="float32")[0][: round(MAX_CLIP_S * SAMPLE_RATE_HZ)]
    return samples / max(1e-9, float(np.abs(samples).max())) * np.float32(PEAK)


def pairs() -> list[tuple[list[Samples], list[Samples]]]:
    """Return the clips of two people each, twice `CLIPS` of both, of whom no net was trained."""
    held_out = corpus.held_out_speakers(corpus.manifest(corpus.data_folder()))
    clips: dict[str, list[Samples]] = {}
    for one in sorted(utterances(CORPORA), key=lambda one: (one.corpus, one.speaker, one.name)):
        if one.speaker not in held_out:
            continue
        own = clips.setdefault(one.speaker, [])
        if len(own) < 2 * CLIPS and soundfile.info(one.paths[0]).duration >= MIN_CLIP_S:
            own.append(read(one.paths[0]))
    people = [own for own in clips.values() if len(own) == 2 * CLIPS]
    chosen = [people[at] for at in np.random.default_rng(7).permutation(len(people))[: 2 * PAIRS]]
    return list(zip(chosen[::2], chosen[1::2], strict=True))


def utterances(corpora: Collection[str]) -> list[Utterance]:
    """Return the recordings of these sets."""
    return [one for one in read_utterances(corpus.data_folder() / "manifest.csv") if one.corpus in corpora]


def joined(clips: Sequence[Samples]) -> Samples:
    """Join clips by pauses."""
    return np.concatenate([PAUSE, *(part for clip in clips for part in (clip, PAUSE))])


def names(events: Sequence[Event]) -> list[TurnEvent]:
    """Return the turns of a recording."""
    return [event for event in events if isinstance(event, TurnEvent) and event.phase == "end"]


def are_told_apart(events: Sequence[Event], clips: Sequence[Samples]) -> bool:
    """Return whether the turns of every second clip have other names than those between them."""
    found: tuple[set[str | None], set[str | None]] = (set(), set())
    start = len(PAUSE)
    for number, clip in enumerate(clips):
        span = (start / SAMPLE_RATE_HZ, (start + len(clip)) / SAMPLE_RATE_HZ)
        found[number % 2].update(
            turn.speaker
            for turn in names(events)
            if turn.speaker and span[0] < (turn.start_s + turn.end_s) / 2 < span[1]
        )
        start += len(clip) + len(PAUSE)
    return bool(found[0] and found[1]) and not found[0] & found[1]


def measure_people(runner: EvaluationRunner, fault: Fault, folder: Path) -> dict[str, float]:
    """Return the pairs told apart, turns under a false name, and the share of turns under the right one."""
    apart = false = right = own = 0
    for one, other in pairs():
        mixed = [clip for both in zip(one[:CLIPS], other[:CLIPS], strict=True) for clip in both]
        recordings = {"mixed": joined(mixed), "one": joined(one[:CLIPS]), "other": joined(other[:CLIPS])}
        paths = {name: folder / f"{name}.flac" for name in (*recordings, "enrolment")}
        for name, samples in {**recordings, "enrolment": joined(one[CLIPS:])}.items():
            soundfile.write(paths[name], fault(samples), SAMPLE_RATE_HZ)
        [events], _ = runner.run([paths["mixed"]])
        apart += are_told_apart(events, mixed)
        enrolled = runner.enrol({"Alice": str(paths["enrolment"])})
        (of_one, of_other), _ = runner.run([paths["one"], paths["other"]], enrolled=enrolled)
        own += len(names(of_one))
        right += sum(turn.speaker == "Alice" for turn in names(of_one))
        false += sum(turn.speaker == "Alice" for turn in names(of_other))
    return {"pairs_told_apart": apart, "false_names": false, "own_turns_named": round(right / max(1, own), 3)}


def measure_emotion(runner: EvaluationRunner, fault: Fault, folder: Path, *, acted: str, count: int) -> float:
    """Return the unweighted average recall of some `count` utterances of a set of acted emotions."""
    emotional = utterances((acted,))
    faulty = []
    for number, one in enumerate(emotional[:: max(1, len(emotional) // count)]):
        path = folder / f"emotion{number}.flac"
        soundfile.write(path, fault(read(one.paths[0])), SAMPLE_RATE_HZ)
        faulty.append(Utterance((path,), one.speaker, one.emotion, one.corpus))
    return round(float(figures(evaluate(runner, faulty))["unweighted_average_recall"]), 3)


def main(count: int, only: Sequence[str], *, without: bool) -> int:
    """Measure all faults and return the exit code."""
    rows: dict[bool, dict[str, dict[str, float]]] = {True: {}, False: {}}
    for conditioning in (True, False) if without else (True,):
        settings: Settings = load(flags={"audio": {"conditioning": conditioning}, "speakers": {"profiles": ""}})
        speakers, emotions = (next(runners(task, [None], settings))[1] for task in ("speaker", "emotion"))
        for name, fault in FAULTS.items():
            if only and name not in (*only, "clean"):
                continue
            with tempfile.TemporaryDirectory() as folder:
                row = measure_people(speakers, fault, Path(folder))
                for acted in ACTED:
                    row[f"recall_{acted}"] = measure_emotion(emotions, fault, Path(folder), acted=acted, count=count)
            rows[conditioning][name] = row
            print(json.dumps({"fault": name, "conditioning": conditioning, **row}), flush=True)
    clean = rows[True]["clean"]
    held = all(
        row["pairs_told_apart"] == PAIRS
        and not row["false_names"]
        and all(abs(row[f"recall_{acted}"] - clean[f"recall_{acted}"]) <= MAX_RECALL_CHANGE for acted in ACTED)
        for row in rows[True].values()
    )
    print(json.dumps({"held": held}))
    return 0 if held else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=225, help="acted utterances of each set (default: all)")
    parser.add_argument("--only", nargs="*", default=[], help="faults to measure, beside `clean`")
    parser.add_argument("--without", action="store_true", help="also measure without conditioning")
    chosen = parser.parse_args()
    sys.exit(main(chosen.utterances, chosen.only, without=chosen.without))
