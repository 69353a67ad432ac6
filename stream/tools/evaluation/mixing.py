"""Conversations with known truth, mixed from recordings of single people: turns, pauses, overlaps, a room, noise.

Everything is drawn from one seed. Each conversation has a room of its own (late reverberation as decaying noise: Polack
1988), a noise floor (recordings of noise, or pink noise), and people at levels of their own. Enrolled people's
recordings lie apart from those that are mixed, and are heard in the same room. Nobody is asked to act: the reference
is the place where recordings were put, silence at their ends cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from stream.errors import SettingsError
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.runner import samples_of
from stream.tools.evaluation.segments import Segment
from stream.types import SAMPLE_RATE_HZ, Samples

ENROLMENT_S = 10.0
_LEAST_S = 20.0
_QUIET_DB = 35.0


@dataclass(frozen=True, slots=True)
class MixturePlan:
    """What kind of conversations: how long, how many people, how many of them known.

    `overlap` is the share of turns that begin before the last one has ended, by 0.2 to 0.9 s.
    """

    seconds: float = 180.0
    people: int = 5
    enrolled: int = 3
    rt60_s: tuple[float, float] = (0.2, 0.5)
    noise_db: tuple[float, float] = (15.0, 30.0)
    overlap: float = 0.08


@dataclass(frozen=True, slots=True)
class Mixture:
    """One conversation: its sound (n,), who spoke when, and the enrolled people's sound by name."""

    name: str
    samples: Samples
    segments: tuple[Segment, ...]
    enrolment: dict[str, Samples]


class SpeakerPool:
    """People with enough recordings, read once: each one's recordings, ends without silence."""

    def __init__(self, utterances: Sequence[Utterance], *, least_s: float = _LEAST_S) -> None:
        found: dict[str, list[Samples]] = {}
        for utterance in utterances:
            if utterance.speaker:
                sounds = [trimmed(samples_of(path)) for path in utterance.paths]
                found.setdefault(utterance.speaker, []).append(np.concatenate(sounds))
        self.people = {
            name: sounds
            for name, sounds in found.items()
            if len(sounds) > 1 and sum(map(len, sounds)) >= least_s * SAMPLE_RATE_HZ  # one to know them by, one to mix
        }


def mix(voices: SpeakerPool, noises: Sequence[Samples], plan: MixturePlan, *, number: int, seed: int) -> Mixture:
    """One conversation; the same numbers give the same sound. Raises `SettingsError` where people are too few."""
    if len(voices.people) < plan.people:
        raise SettingsError(
            f"{plan.people} people with two recordings and {_LEAST_S:g} s or more each are needed; "
            f"there are {len(voices.people)}"
        )
    draw = np.random.default_rng((seed, number))
    names = [sorted(voices.people)[at] for at in draw.permutation(len(voices.people))[: plan.people]]
    left = {name: [voices.people[name][at] for at in draw.permutation(len(voices.people[name]))] for name in names}
    enrolment = {name: _taken(left[name], ENROLMENT_S) for name in names[: plan.enrolled]}
    level = {name: 10.0 ** (draw.uniform(-5, 5) / 20) for name in names}
    sound = np.zeros(round(plan.seconds * SAMPLE_RATE_HZ), dtype=np.float32)
    segments = _talk(sound, left, level, plan=plan, draw=draw)
    room = _room(draw.uniform(*plan.rt60_s), draw)
    snr_db = draw.uniform(*plan.noise_db)
    mixed = _in_room(sound, room, noises, snr_db, draw)
    heard = {name: _in_room(said * level[name], room, noises, snr_db, draw) for name, said in enrolment.items()}
    return Mixture(f"mix{number:03d}", mixed, tuple(segments), heard)


def _talk(
    sound: Samples,
    left: dict[str, list[Samples]],
    level: dict[str, float],
    *,
    plan: MixturePlan,
    draw: np.random.Generator,
) -> list[Segment]:
    """Put turns of one to three recordings side by side, a pause or a little overlap between them."""
    used = dict.fromkeys(left, 0)
    place, before = round(draw.uniform(0.3, 1.0) * SAMPLE_RATE_HZ), ""
    segments: list[Segment] = []
    while place < len(sound):
        name = str(draw.choice([one for one in left if one != before] or list(left)))
        for _ in range(int(draw.integers(1, 4))):
            said = left[name][used[name] % len(left[name])]
            used[name] += 1
            longest = round(draw.uniform(3.0, 8.0) * SAMPLE_RATE_HZ)
            said = trimmed(said[:longest])[: max(0, len(sound) - place)]
            if len(said) < SAMPLE_RATE_HZ // 2:
                place = len(sound)
                break
            loudness = np.sqrt(np.mean(np.square(said))) + 1e-9
            sound[place : place + len(said)] += said * np.float32(0.05 * level[name] / loudness)
            segments.append(Segment(place / SAMPLE_RATE_HZ, (place + len(said)) / SAMPLE_RATE_HZ, name))
            place += len(said) + round(draw.uniform(0.05, 0.35) * SAMPLE_RATE_HZ)
        pause_s = -draw.uniform(0.2, 0.9) if draw.random() < plan.overlap else draw.exponential(0.45)
        place = max(0, place + round(min(pause_s, 2.5) * SAMPLE_RATE_HZ))
        before = name
    return segments


def trimmed(samples: Samples) -> Samples:
    """Without what lies 35 dB below the loudest 20 ms at both ends, but for 40 ms."""
    step = SAMPLE_RATE_HZ // 50
    frames = len(samples) // step
    if frames == 0:
        return samples
    power = np.square(samples[: frames * step]).reshape(frames, step).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-_QUIET_DB / 10))
    return samples[max(0, loud[0] - 2) * step : (loud[-1] + 3) * step] if len(loud) else samples


def _taken(sounds: list[Samples], seconds: float) -> Samples:
    """Take recordings out of a person's until they last that long."""
    parts: list[Samples] = []
    while len(sounds) > 1 and sum(map(len, parts)) < seconds * SAMPLE_RATE_HZ:
        parts.append(sounds.pop())
    return np.concatenate(parts)[: round(seconds * SAMPLE_RATE_HZ)]


def _room(rt60_s: float, draw: np.random.Generator) -> NDArray[np.float64]:
    """An impulse response: the direct sound, and noise that falls by 60 dB in `rt60_s`, 3 to 10 dB below it."""
    length = round(rt60_s * SAMPLE_RATE_HZ)
    tail = draw.normal(size=length) * np.exp(-6.9 * np.arange(length) / length)
    tail[: SAMPLE_RATE_HZ // 200] = 0.0
    tail *= np.sqrt(10 ** (-draw.uniform(3, 10) / 10) / np.sum(np.square(tail)))
    tail[0] = 1.0
    return tail


def _in_room(
    sound: Samples, room: NDArray[np.float64], noises: Sequence[Samples], snr_db: float, draw: np.random.Generator
) -> Samples:
    from scipy.signal import fftconvolve  # noqa: PLC0415 - a second of importing

    wet = fftconvolve(sound, room)[: len(sound)]
    noise = _noise(len(sound), noises, draw)
    speech_power = np.mean(np.square(wet[np.abs(wet) > 1e-3 * np.abs(wet).max()]))
    noise *= np.sqrt(speech_power / 10 ** (snr_db / 10) / max(float(np.mean(np.square(noise))), 1e-12))
    both = wet + noise
    peak = float(np.abs(both).max())
    return np.asarray(both * min(1.0, 0.9 / peak), dtype=np.float32)


def _noise(length: int, noises: Sequence[Samples], draw: np.random.Generator) -> NDArray[np.float64]:
    """A recording over and over, or noise that falls by 3 dB an octave."""
    if noises and draw.random() < 0.5:  # noqa: PLR2004 - as often the one as the other
        one = np.asarray(noises[int(draw.integers(len(noises)))], dtype=np.float64)
        return np.resize(one, length) + 1e-6 * draw.normal(size=length)
    spectrum = np.fft.rfft(draw.normal(size=length))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return np.fft.irfft(spectrum, n=length)


def write(mixtures: Sequence[Mixture], folder: Path) -> None:
    """`NAME.flac`, `reference.rttm`, and `NAME/PERSON.flac` for everyone who is enrolled."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for mixture in mixtures:
            soundfile.write(folder / f"{mixture.name}.flac", mixture.samples, SAMPLE_RATE_HZ, subtype="PCM_16")
            lines += [
                f"SPEAKER {mixture.name} 1 {one.start_s:.3f} {one.end_s - one.start_s:.3f} "
                f"<NA> <NA> {one.speaker} <NA> <NA>"
                for one in mixture.segments
            ]
            for name, sound in mixture.enrolment.items():
                (folder / mixture.name).mkdir(exist_ok=True)
                soundfile.write(folder / mixture.name / f"{name}.flac", sound, SAMPLE_RATE_HZ, subtype="PCM_16")
        (folder / "reference.rttm").write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error}") from error
