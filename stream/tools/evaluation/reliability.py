"""Reliability of match probabilities: of the trials with some probability, the share that is of the same person.

A trial is a window of speech against a profile. Its probability is that of the tracker's scorer with even prior odds,
before the penalties in the settings. A profile is made of the person's first recordings, up to `PROFILE_S` of speech;
for a window of the same person, the window's own recording is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.tools.evaluation.metrics import Floats
from stream.tracking.scoring import Scorer, build_scorer
from stream.tracking.voice import Voice
from stream.types import ModelInfo

EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)
"""Edges of the bins of probability; each bin contains its lower edge, the last one both."""

DURATIONS_S = (1.0, 2.0, 3.0)
"""Seconds of speech in a window."""

PROFILE_CROP_S = 2.0
PROFILE_S = 10.0
"""A profile holds x-vectors of crops of `PROFILE_CROP_S`, until it has this much speech."""

_MAX_LOG_ODDS = 50.0


@dataclass(frozen=True, slots=True)
class EmbeddedCrops:
    """Crops of recordings: unit x-vectors (n, dimensions), speakers, indices of recordings, seconds; (n,) each."""

    vectors: NDArray[np.float32]
    speakers: tuple[str, ...]
    recordings: NDArray[np.int64]
    speech_s: Floats


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Trials with a probability in a bin: count, mean probability and share of the same person, both weighted."""

    low: float
    high: float
    trials: int
    weight: float
    mean_probability: float | None
    same_share: float | None


@dataclass(frozen=True, slots=True)
class ReliabilityTable:
    """Bins of trials in which both classes have equal total weight, as even prior odds assume."""

    bins: tuple[ReliabilityBin, ...]
    trials_same: int
    trials_different: int

    @property
    def calibration_error(self) -> float:
        """The expected calibration error (Guo et al. 2017) over these bins."""
        gaps = ((one.weight, one.same_share, one.mean_probability) for one in self.bins)
        return sum(weight * abs(share - mean) for weight, share, mean in gaps if share is not None and mean is not None)


Reliability = Mapping[str, Mapping[str, ReliabilityTable]]
"""Tables by corpus and duration of speech."""


def calibrated_scorer(info: ModelInfo, threshold: float | None) -> Scorer | None:
    """Return the tracker's scorer of a model; None if it does not use a calibration of the model."""
    return None if info.calibration is None or threshold is not None else build_scorer(info, None)


def missing_reason(info: ModelInfo, threshold: float | None) -> str:
    """Return why there is no table, as a sentence."""
    if info.calibration is None:
        return f"{info.name} has no calibration, so there is no reliability table."
    if threshold is not None:
        return "No reliability table: speakers.threshold replaces the model's calibration; unset it."
    return (
        "No reliability table: it needs windows of 1, 2 or 3 s, a person with two recordings of "
        f"{PROFILE_CROP_S * 3 / 4:g} s of speech or more, and another person."
    )


def reliability_table(probabilities: Floats, same: NDArray[np.bool_]) -> ReliabilityTable:
    """Sort trials into bins, given their probabilities and whether they are of the same person; (n,) each.

    Both classes must occur.
    """
    genuine = int(same.sum())
    weights = np.where(same, 0.5 / genuine, 0.5 / (len(same) - genuine))
    place = np.clip(np.searchsorted(EDGES, probabilities, side="right") - 1, 0, len(EDGES) - 2)
    bins = []
    for at, (low, high) in enumerate(pairwise(EDGES)):
        inside = place == at
        weight = float(weights[inside].sum())
        mean = float(weights[inside] @ probabilities[inside]) / weight if weight else None
        share = float(weights[inside & same].sum()) / weight if weight else None
        bins.append(ReliabilityBin(low, high, int(inside.sum()), weight, mean, share))
    return ReliabilityTable(tuple(bins), genuine, len(same) - genuine)


class Profiles:
    """Profiles of all people, made of crops of `PROFILE_CROP_S`."""

    def __init__(self, crops: EmbeddedCrops) -> None:
        self._crops = crops
        self._voices: dict[tuple[str, int | None], Voice | None] = {}
        self._places: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for at, (speaker, recording) in enumerate(zip(crops.speakers, crops.recordings.tolist(), strict=True)):
            self._places[speaker][recording].append(at)

    def against(self, speaker: str, recording: int) -> list[Voice]:
        """Return the profiles for a window of a recording: that of its speaker is made of other recordings."""
        voices = [self._profile(other, recording if other == speaker else None) for other in self._places]
        return [voice for voice in voices if voice is not None]

    def _profile(self, speaker: str, without: int | None) -> Voice | None:
        """Return the profile of a person without a recording; None if there is no other."""
        key = (speaker, without)
        if key not in self._voices:
            taken: list[int] = []
            for recording, places in self._places[speaker].items():
                if recording != without and self._crops.speech_s[taken].sum() < PROFILE_S:
                    taken += places
            exemplars, speech_s = list(self._crops.vectors[taken]), float(self._crops.speech_s[taken].sum())
            voice = Voice(name=speaker, exemplars=exemplars, enrolled=True, evidence_s=speech_s) if taken else None
            self._voices[key] = voice
        return self._voices[key]


def match_probabilities(scorer: Scorer, windows: EmbeddedCrops, profiles: Profiles) -> ReliabilityTable | None:
    """Score each window against all profiles without its recording; None without trials of both classes."""
    probabilities: list[float] = []
    same: list[bool] = []
    rows = zip(windows.vectors, windows.speakers, windows.recordings.tolist(), windows.speech_s.tolist(), strict=True)
    for vector, speaker, recording, speech_s in rows:
        voices = profiles.against(speaker, recording)
        odds = scorer.log_odds(scorer.scores(vector, voices), voices, speech_s=speech_s)
        probabilities += (1.0 / (1.0 + np.exp(-np.clip(odds, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)))).tolist()
        same += [voice.name == speaker for voice in voices]
    return reliability_table(np.array(probabilities), np.array(same)) if len(set(same)) == 2 else None  # noqa: PLR2004


def reliability_tables(
    scorer: Scorer, crops: Mapping[float | None, EmbeddedCrops], enrolment: EmbeddedCrops | None
) -> dict[str, ReliabilityTable]:
    """Return a table for each duration of `DURATIONS_S` in `crops` that has trials of both classes.

    Profiles are made of `enrolment`: crops of `PROFILE_CROP_S` of the same recordings.
    """
    if enrolment is None:
        return {}
    profiles = Profiles(enrolment)
    found = {f"{at:g}": match_probabilities(scorer, crops[at], profiles) for at in DURATIONS_S if at in crops}
    return {duration: table for duration, table in found.items() if table is not None}


def reliability_figures(tables: Reliability) -> dict[str, Any] | None:
    """Return the tables by corpus and duration as plain figures; None without any."""
    return {
        corpus: {duration: _figures(table) for duration, table in by_duration.items()}
        for corpus, by_duration in tables.items()
    } or None


def _figures(table: ReliabilityTable) -> dict[str, Any]:
    return {
        "expected_calibration_error": table.calibration_error,
        "trials_same": table.trials_same,
        "trials_different": table.trials_different,
        "bins": [
            {
                "from": one.low,
                "to": one.high,
                "trials": one.trials,
                "mean_probability": one.mean_probability,
                "same_share": one.same_share,
            }
            for one in table.bins
        ],
    }
