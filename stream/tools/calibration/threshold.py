"""What follows from genuine and impostor scores: the trade-off, and a threshold or why there is none (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stream.tools.calibration.scores import STRANGER, ScoreSet
from stream.tracking.calibration import Calibration, Floats, fit

LEAST = 20
"""Scores of each kind below which no threshold is named."""

MOST_EER = 0.2
"""Equal error rate of single windows above which none is: adding up windows, as is done live, no longer mends it."""


@dataclass(frozen=True, slots=True)
class TradeOff:
    """Shares of impostors accepted and of genuine scores rejected at each threshold; (thresholds,) each, rising."""

    thresholds: Floats
    false_accepts: Floats
    false_rejects: Floats

    def at(self, threshold: float) -> tuple[float, float]:
        """False accepts and false rejects at a threshold."""
        place = min(int(np.searchsorted(self.thresholds, threshold)), len(self.thresholds) - 1)
        return float(self.false_accepts[place]), float(self.false_rejects[place])

    @property
    def equal(self) -> float:
        """The threshold at which both shares are nearest to each other."""
        return float(self.thresholds[int(np.argmin(np.abs(self.false_accepts - self.false_rejects)))])

    @property
    def eer(self) -> float:
        """Equal error rate: the mean of both shares there."""
        return sum(self.at(self.equal)) / 2


def trade_off(genuine: Floats, impostor: Floats) -> TradeOff:
    """At every score there is, and above all of them; a score that equals the threshold is accepted."""
    scores = np.unique(np.concatenate((genuine, impostor)))
    thresholds = np.append(scores, np.nextafter(scores[-1], np.inf))
    rejected = np.searchsorted(np.sort(genuine), thresholds) / len(genuine)
    accepted = 1 - np.searchsorted(np.sort(impostor), thresholds) / len(impostor)
    return TradeOff(thresholds, accepted, rejected)


@dataclass(frozen=True, slots=True)
class ThresholdResult:
    """What was measured. Without a `calibration` no threshold is named, and `refusal` says why and what to do."""

    genuine: Floats
    impostor: Floats
    strangers: int
    people: int
    trade_off: TradeOff | None
    calibration: Calibration | None
    refusal: str
    remarks: tuple[str, ...]
    speech_s: float  # of a window, and of a profile: medians
    profile_s: float

    @property
    def threshold(self) -> float | None:
        """The score from which on a typical window is as likely one person's as two people's."""
        return None if self.calibration is None else self.even_odds(self.calibration)

    def even_odds(self, calibration: Calibration) -> float:
        """The same by another calibration."""
        return calibration.score_at_even_odds(speech_s=self.speech_s, profile_s=self.profile_s)


def judge(scored: Sequence[ScoreSet], *, reliability_s: float) -> ThresholdResult:
    """The reliability of speech is the model's, since a few people's windows of one length could not tell it."""
    genuine, impostor = (_scores(one for one in scored if one.trial.same is same) for same in (True, False))
    people = len({one.profile for one in scored})
    strangers = sum(one.speaker == STRANGER for one in scored)
    refusal = _too_little(len(genuine), len(impostor))
    curve = trade_off(genuine, impostor) if len(genuine) and len(impostor) else None
    if not refusal and curve is not None and curve.eer > MOST_EER:
        refusal = _overlapping(scored, curve)
    trials = [one.trial for one in scored]
    return ThresholdResult(
        genuine=genuine,
        impostor=impostor,
        strangers=strangers,
        people=people,
        trade_off=curve,
        calibration=None if refusal else fit(trials, reliabilities_s=(reliability_s,)).calibration,
        refusal=refusal,
        remarks=_remarks(scored),
        speech_s=float(np.median([one.speech_s for one in trials])) if trials else 0.0,
        profile_s=float(np.median([one.profile_s for one in trials])) if trials else 0.0,
    )


def _scores(scored: Iterable[ScoreSet]) -> Floats:
    return np.array([one.trial.score for one in scored], dtype=np.float64)


def _too_little(genuine: int, impostor: int) -> str:
    if genuine < LEAST:
        return (
            f"there are {genuine} scores of a person against themselves, {LEAST} at least are needed; enrol everybody "
            "with 15 s of speech or more, best in two recordings of different days, or test with --microphone NAME"
        )
    if impostor < LEAST:
        return (
            f"there are {impostor} scores of somebody against another person's profile, {LEAST} at least are needed; "
            "enrol a second person"
        )
    return ""


def _overlapping(scored: Sequence[ScoreSet], curve: TradeOff) -> str:
    """Who is mistaken for whom, and who is not known again, at the equal error rate."""
    at = curve.equal
    alike = Counter(
        " and ".join(sorted((one.profile, one.speaker)))
        for one in scored
        if not one.trial.same and one.speaker != STRANGER and one.trial.score >= at
    )
    lost = Counter(one.profile for one in scored if one.trial.same and one.trial.score < at)
    said = [f"scores of one person and of two overlap too much (equal error rate {curve.eer:.0%})"]
    if alike:
        said.append(f"{alike.most_common(1)[0][0]} are taken for each other most")
    if lost:
        said.append(f"{lost.most_common(1)[0][0]} is least often known again")
    said.append(
        "enrol them anew with 15 s or more of clean speech each, alone and at the microphone that will listen, or "
        "choose a larger model (`tonewatch models list`)"
    )
    return "; ".join(said)


def _remarks(scored: Sequence[ScoreSet]) -> tuple[str, ...]:
    """What the figures do not say by themselves."""
    genuine = [one for one in scored if one.trial.same]
    once = sorted({one.profile for one in genuine if one.one_recording})
    remarks = []
    if once:
        remarks.append(
            f"{', '.join(once)}: known by one recording only, so that genuine scores are of one day and place and "
            "promise too much; enrol again another day, or test with --microphone NAME"
        )
    if any(one.speaker == STRANGER for one in scored):
        remarks.append(
            "there are hardly any people, so that strangers of the model's cohort stand among the impostors; other "
            "microphones heard them, which makes them easier than whoever comes to yours: enrol more people"
        )
    return tuple(remarks)
