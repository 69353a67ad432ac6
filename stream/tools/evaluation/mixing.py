"""Conversations with exact reference, mixed from recordings of single speakers: turns, pauses, overlap, room, noise.

Everything is drawn from one seed. Each conversation has its own room (late reverberation as decaying noise: Polack
1988), a noise floor (recorded or pink noise) and a level per speaker. Enrolment recordings are separate from the mixed
ones and pass the same room. The reference is the position of the recordings, trimmed of leading and trailing silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from stream.errors import SettingsError
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.runner import read_samples
from stream.tools.evaluation.segments import Segment
from stream.types import SAMPLE_RATE_HZ, Samples

ENROLMENT_S = 10.0
_MIN_SPEAKER_S = 20.0
_SILENCE_DB = 35.0


@dataclass(frozen=True, slots=True)
class MixturePlan:
    """Parameters of a conversation: duration, number of speakers, number of enrolled speakers, room and noise.

    `overlap` is the share of turns that start 0.2 to 0.9 s before the end of the previous turn.
    """

    seconds: float = 180.0
    people: int = 5
    enrolled: int = 3
    rt60_s: tuple[float, float] = (0.2, 0.5)
    noise_db: tuple[float, float] = (15.0, 30.0)
    overlap: float = 0.08


@dataclass(frozen=True, slots=True)
class Mixture:
    """One conversation: samples (n,), reference segments, and enrolment samples by speaker."""

    name: str
    samples: Samples
    segments: tuple[Segment, ...]
    enrolment: dict[str, Samples]


class SpeakerPool:
    """Speakers with enough recordings, read once and trimmed."""

    def __init__(self, utterances: Sequence[Utterance], *, min_duration_s: float = _MIN_SPEAKER_S) -> None:
        recordings: dict[str, list[Samples]] = {}
        for utterance in utterances:
            if utterance.speaker:
                parts = [trim_silence(read_samples(path)) for path in utterance.paths]
                recordings.setdefault(utterance.speaker, []).append(np.concatenate(parts))
        self.people = {
            name: own
            for name, own in recordings.items()
            if len(own) > 1 and sum(map(len, own)) >= min_duration_s * SAMPLE_RATE_HZ  # one to enrol, one to mix
        }


def mix_all(
    pool: SpeakerPool,
    noises: Sequence[Samples],
    plan: MixturePlan,
    *,
    people: range,
    count: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Mixture]:
    """Mix `count` conversations like `plan`, with each number of speakers in `people` in turn."""
    mixtures = []
    for number in range(count):
        speakers = people[number % len(people)]
        own = replace(plan, people=speakers, enrolled=min(plan.enrolled, speakers))
        mixtures.append(mix(pool, noises, own, number=number, seed=seed))
        progress()
    return mixtures


def mix(pool: SpeakerPool, noises: Sequence[Samples], plan: MixturePlan, *, number: int, seed: int) -> Mixture:
    """Mix one conversation; equal numbers give equal samples. Raises `SettingsError` for too few speakers."""
    if len(pool.people) < plan.people:
        raise SettingsError(
            f"{len(pool.people)} people have two recordings and {_MIN_SPEAKER_S:g} s of audio, {plan.people} needed; "
            "reduce --people or add recordings"
        )
    draw = np.random.default_rng((seed, number))
    names = [sorted(pool.people)[at] for at in draw.permutation(len(pool.people))[: plan.people]]
    unused = {name: [pool.people[name][at] for at in draw.permutation(len(pool.people[name]))] for name in names}
    enrolment = {name: take(unused[name], ENROLMENT_S) for name in names[: plan.enrolled]}
    level = {name: 10.0 ** (draw.uniform(-5, 5) / 20) for name in names}
    audio = np.zeros(round(plan.seconds * SAMPLE_RATE_HZ), dtype=np.float32)
    segments = place_turns(audio, unused, level, plan=plan, draw=draw)
    room = impulse_response(draw.uniform(*plan.rt60_s), draw)
    snr_db = draw.uniform(*plan.noise_db)
    mixed = _in_room(audio, room, noises, snr_db, draw)
    enrolled = {name: _in_room(part * level[name], room, noises, snr_db, draw) for name, part in enrolment.items()}
    return Mixture(f"mix{number:03d}", mixed, tuple(segments), enrolled)


def place_turns(
    audio: Samples,
    unused: dict[str, list[Samples]],
    level: dict[str, float],
    *,
    plan: MixturePlan,
    draw: np.random.Generator,
) -> list[Segment]:
    """Add turns of one to three recordings to `audio`, with pauses or short overlap between; return their segments."""
    used = dict.fromkeys(unused, 0)
    position, previous = round(draw.uniform(0.3, 1.0) * SAMPLE_RATE_HZ), ""
    segments: list[Segment] = []
    while position < len(audio):
        name = str(draw.choice([one for one in unused if one != previous] or list(unused)))
        for _ in range(int(draw.integers(1, 4))):
            part = unused[name][used[name] % len(unused[name])]
            used[name] += 1
            max_samples = round(draw.uniform(3.0, 8.0) * SAMPLE_RATE_HZ)
            part = trim_silence(part[:max_samples])[: max(0, len(audio) - position)]
            if len(part) < SAMPLE_RATE_HZ // 2:
                position = len(audio)
                break
            level_rms = np.sqrt(np.mean(np.square(part))) + 1e-9
            audio[position : position + len(part)] += part * np.float32(0.05 * level[name] / level_rms)
            segments.append(Segment(position / SAMPLE_RATE_HZ, (position + len(part)) / SAMPLE_RATE_HZ, name))
            position += len(part) + round(draw.uniform(0.05, 0.35) * SAMPLE_RATE_HZ)
        pause_s = -draw.uniform(0.2, 0.9) if draw.random() < plan.overlap else draw.exponential(0.45)
        position = max(0, position + round(min(pause_s, 2.5) * SAMPLE_RATE_HZ))
        previous = name
    return segments


def trim_silence(samples: Samples) -> Samples:
    """Trim both ends where the level is 35 dB below the loudest 20 ms, keeping 40 ms."""
    step = SAMPLE_RATE_HZ // 50
    frames = len(samples) // step
    if frames == 0:
        return samples
    power = np.square(samples[: frames * step]).reshape(frames, step).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-_SILENCE_DB / 10))
    return samples[max(0, loud[0] - 2) * step : (loud[-1] + 3) * step] if len(loud) else samples


def take(recordings: list[Samples], seconds: float) -> Samples:
    """Remove recordings from the list until they have that duration, and return them concatenated."""
    parts: list[Samples] = []
    while len(recordings) > 1 and sum(map(len, parts)) < seconds * SAMPLE_RATE_HZ:
        parts.append(recordings.pop())
    return np.concatenate(parts)[: round(seconds * SAMPLE_RATE_HZ)]


def impulse_response(rt60_s: float, draw: np.random.Generator) -> NDArray[np.float64]:
    """Return an impulse response: a direct path, and noise that decays by 60 dB in `rt60_s`, 3 to 10 dB below it."""
    length = round(rt60_s * SAMPLE_RATE_HZ)
    tail = draw.normal(size=length) * np.exp(-6.9 * np.arange(length) / length)
    tail[: SAMPLE_RATE_HZ // 200] = 0.0
    tail *= np.sqrt(10 ** (-draw.uniform(3, 10) / 10) / np.sum(np.square(tail)))
    tail[0] = 1.0
    return tail


def _in_room(
    audio: Samples, room: NDArray[np.float64], noises: Sequence[Samples], snr_db: float, draw: np.random.Generator
) -> Samples:
    from scipy.signal import fftconvolve  # noqa: PLC0415 - the import takes a second

    wet = fftconvolve(audio, room)[: len(audio)]
    noise = background(len(audio), noises, draw)
    speech_power = np.mean(np.square(wet[np.abs(wet) > 1e-3 * np.abs(wet).max()]))
    noise *= np.sqrt(speech_power / 10 ** (snr_db / 10) / max(float(np.mean(np.square(noise))), 1e-12))
    both = wet + noise
    peak = float(np.abs(both).max())
    return np.asarray(both * min(1.0, 0.9 / peak), dtype=np.float32)


def background(length: int, noises: Sequence[Samples], draw: np.random.Generator) -> NDArray[np.float64]:
    """Return a noise recording, repeated as needed, or pink noise."""
    if noises and draw.random() < 0.5:  # noqa: PLR2004 - both equally often
        one = np.asarray(noises[int(draw.integers(len(noises)))], dtype=np.float64)
        return np.resize(one, length) + 1e-6 * draw.normal(size=length)
    spectrum = np.fft.rfft(draw.normal(size=length))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return np.fft.irfft(spectrum, n=length)


def write(mixtures: Sequence[Mixture], folder: Path) -> None:
    """Write `NAME.flac`, `reference.rttm`, and `NAME/PERSON.flac` for each enrolled speaker."""
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
            for name, audio in mixture.enrolment.items():
                (folder / mixture.name).mkdir(exist_ok=True)
                soundfile.write(folder / mixture.name / f"{name}.flac", audio, SAMPLE_RATE_HZ, subtype="PCM_16")
        (folder / "reference.rttm").write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error}") from error
