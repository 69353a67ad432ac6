"""Verification by what a user asks: how long to enrol, how far to sit, on the telephone, with noise or babble behind.

Each person is enrolled with some recordings and tested with two-second crops of others. One condition at a time
differs from `ENROLMENT_S` seconds of clean speech and clean crops. All crops are scored against all people, as a window
is in the tracker: by log-odds of the model's calibration, at even prior odds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from stream.clock import samples
from stream.errors import SettingsError
from stream.tools.evaluation.metrics import Floats, detection
from stream.tools.evaluation.mixing import background, impulse_response
from stream.tools.evaluation.telephone import through_telephone
from stream.tools.evaluation.verification import EmbeddedUtterance, Vectors, x_vector
from stream.tracking.scoring import Scorer, build_scorer
from stream.tracking.voice import Voice
from stream.types import Model, Samples

ENROLMENT_S = 10.0
TEST_S = 2.0
ENROLMENTS_S = 1.0, 3.0, 5.0, 10.0, 30.0
DISTANCES_M = 0.5, 1.0, 2.0, 4.0
SNRS_DB = 20.0, 10.0, 5.0
BABBLE_VOICES = 5
MAX_CROPS = 6
"""Test crops of a person."""

RT60_S = 0.4
CRITICAL_DISTANCE_M = 1.0
"""Where reverberation is as loud as direct sound; beyond, the direct sound falls by 6 dB per doubling of distance."""

Change = Callable[[Samples, np.random.Generator], Samples]


@dataclass(frozen=True, slots=True)
class _Person:
    name: str
    enrolment: Samples
    crops: tuple[Samples, ...]


def conditions(
    model: Model,
    utterances: Sequence[EmbeddedUtterance],
    noises: Sequence[Samples],
    *,
    seed: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Return a row per condition: EER, and the shares missed and falsely accepted at a probability of one half.

    Raises `SettingsError` with fewer than two people who have `ENROLMENT_S` of speech to enrol and crops to test.
    """
    people = _people(utterances)
    if len(people) < 2:  # noqa: PLR2004
        raise SettingsError(
            f"{len(people)} people have {ENROLMENT_S:g} s of speech to enrol and {TEST_S:g} s in other recordings; "
            "add recordings, or join words with --join"
        )
    enrolled = {seconds: _enrolled(model, people, seconds) for seconds in ENROLMENTS_S}
    progress()
    clean = _crop_vectors(model, people, None, seed)
    progress()
    scorer, rows = build_scorer(model.info, None), []
    for seconds, vectors in enrolled.items():
        having = [at for at, one in enumerate(people) if len(one.enrolment) >= samples(seconds)]
        if len(having) > 1:
            scores = _log_odds(scorer, vectors[having], [clean[at] for at in having], seconds)
            rows.append(_row(f"enrolled with {seconds:g} s", scores))
    for name, change in _changes(people, noises):
        changed = _crop_vectors(model, people, change, seed)
        rows.append(_row(name, _log_odds(scorer, enrolled[ENROLMENT_S], changed)))
        if change is _on_telephone:
            there = _enrolled(model, people, ENROLMENT_S, through_telephone)
            rows.append(_row(f"{name}, and enrolled there", _log_odds(scorer, there, changed)))
            rows.append(_row("enrolled on the telephone only", _log_odds(scorer, there, clean)))
        progress()
    return rows


def count(noises: Sequence[Samples]) -> int:
    """Return how often `conditions` calls its `progress`."""
    return 2 + sum(1 for _ in _changes((), noises))


def _people(utterances: Sequence[EmbeddedUtterance]) -> list[_Person]:
    """Return who has enough speech: recordings in order, the last ones for the test."""
    found = []
    for name in dict.fromkeys(one.speaker for one in utterances):
        own = [one.samples for one in utterances if one.speaker == name and len(one.samples)]
        crops: list[Samples] = []
        while len(crops) < MAX_CROPS and len(own) > 1 and sum(map(len, own[:-1])) >= samples(ENROLMENT_S):
            last, length = own.pop(), samples(TEST_S)
            crops += [last[at : at + length] for at in range(0, len(last) - length + 1, length)]
        if crops:
            found.append(_Person(name, np.concatenate(own), tuple(crops[:MAX_CROPS])))
    return found


def _changes(people: Sequence[_Person], noises: Sequence[Samples]) -> Iterator[tuple[str, Change]]:
    for distance_m in DISTANCES_M:
        yield f"{distance_m:g} m away in a room", partial(_in_room, distance_m=distance_m)
    yield "on the telephone", _on_telephone
    for snr_db in SNRS_DB:
        yield f"babble, {snr_db:g} dB below", partial(_with_babble, people=people, snr_db=snr_db)
    for snr_db in SNRS_DB if noises else ():
        yield f"noise, {snr_db:g} dB below", partial(_with_noise, noises=noises, snr_db=snr_db)


def _on_telephone(crop: Samples, _: np.random.Generator) -> Samples:
    return through_telephone(crop)


def _in_room(crop: Samples, draw: np.random.Generator, *, distance_m: float) -> Samples:
    """Return speech from that distance in a room of `RT60_S`, at its own level: a microphone adapts its gain."""
    from scipy.signal import fftconvolve  # noqa: PLC0415 - the import takes a second

    tail = impulse_response(RT60_S, draw)[1:]
    tail /= np.sqrt(np.sum(np.square(tail)))
    response = np.concatenate(([CRITICAL_DISTANCE_M / distance_m], tail))
    wet = fftconvolve(crop, response)[: len(crop)]
    return np.asarray(wet * np.sqrt(np.mean(np.square(crop)) / max(np.mean(np.square(wet)), 1e-12)), np.float32)


def _with_babble(crop: Samples, draw: np.random.Generator, *, people: Sequence[_Person], snr_db: float) -> Samples:
    """Add several voices at once, cut from enrolments at random; they may include the person's own."""
    total = np.zeros(len(crop))
    for at in draw.permutation(len(people))[:BABBLE_VOICES]:
        voice = people[at].enrolment
        start = int(draw.integers(max(1, len(voice) - len(crop))))
        part = np.resize(voice[start : start + len(crop)], len(crop)).astype(np.float64)
        total += part / max(float(np.sqrt(np.mean(np.square(part)))), 1e-9)
    return _with(crop, total, snr_db)


def _with_noise(crop: Samples, draw: np.random.Generator, *, noises: Sequence[Samples], snr_db: float) -> Samples:
    return _with(crop, background(len(crop), noises, draw), snr_db)


def _with(crop: Samples, noise: Floats, snr_db: float) -> Samples:
    power = float(np.mean(np.square(crop))) / 10 ** (snr_db / 10)
    scaled = noise * np.sqrt(power / max(float(np.mean(np.square(noise))), 1e-12))
    return np.asarray(np.clip(crop + scaled, -1.0, 1.0), np.float32)


def _enrolled(
    model: Model,
    people: Sequence[_Person],
    seconds: float,
    change: Callable[[Samples], Samples] = lambda audio: audio,
) -> Vectors:
    """Return the x-vector of each person's first seconds; (people, dimensions)."""
    return np.stack([x_vector(model, change(one.enrolment[: samples(seconds)])) for one in people])


def _crop_vectors(model: Model, people: Sequence[_Person], change: Change | None, seed: int) -> list[Vectors]:
    """Return the x-vectors of each person's crops; (crops, dimensions) each."""
    draw = np.random.default_rng(seed)
    return [
        np.stack([x_vector(model, change(crop, draw) if change is not None else crop) for crop in one.crops])
        for one in people
    ]


def _log_odds(
    scorer: Scorer, enrolled: Vectors, crops: Sequence[Vectors], enrolment_s: float = ENROLMENT_S
) -> tuple[Floats, Floats]:
    """Return the log-odds of crops with the own enrolment and with those of all others; (trials,) each."""
    voices = [
        Voice(name=f"{at}", exemplars=[one], enrolled=True, evidence_s=enrolment_s) for at, one in enumerate(enrolled)
    ]
    odds = [
        np.stack([scorer.log_odds(scorer.scores(crop, voices), voices, speech_s=TEST_S) for crop in own])
        for own in crops
    ]
    same = [own[:, at] for at, own in enumerate(odds)]
    different = [np.delete(own, at, axis=1).ravel() for at, own in enumerate(odds)]
    return np.concatenate(same), np.concatenate(different)


def _row(name: str, scores: tuple[Floats, Floats]) -> dict[str, Any]:
    same, different = scores
    return {
        "condition": name,
        "EER": detection(same, different).eer,
        "missed": float(np.mean(same < 0)),
        "false accepts": float(np.mean(different >= 0)),
        "same-speaker pairs": len(same),
        "different-speaker pairs": len(different),
    }
