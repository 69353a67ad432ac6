"""Trade-off and threshold from genuine and impostor scores, or why there is no threshold (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stream.tools.calibration.scores import COHORT_SPEAKER, MIN_PROFILES, LabelledTrial
from stream.tracking.calibration import Calibration, Floats, fit

MIN_SCORES = 20
"""Genuine and impostor scores needed, each, for a threshold."""

MAX_EER = 0.2
"""Equal error rate of single windows above which summing over windows, as live scoring does, no longer helps."""


@dataclass(frozen=True, slots=True)
class TradeOff:
    """Shares of accepted impostor and of rejected genuine scores by rising threshold; (thresholds,) each."""

    thresholds: Floats
    false_accepts: Floats
    false_rejects: Floats

    def at(self, threshold: float) -> tuple[float, float]:
        """Return false accepts and false rejects at a threshold."""
        place = min(int(np.searchsorted(self.thresholds, threshold)), len(self.thresholds) - 1)
        return float(self.false_accepts[place]), float(self.false_rejects[place])

    @property
    def equal(self) -> float:
        """The threshold at which both shares are nearest to each other."""
        return float(self.thresholds[int(np.argmin(np.abs(self.false_accepts - self.false_rejects)))])

    @property
    def eer(self) -> float:
        """Equal error rate: the mean of both shares at that threshold."""
        return sum(self.at(self.equal)) / 2


def trade_off(genuine: Floats, impostor: Floats) -> TradeOff:
    """Compute the trade-off at every score and above the highest; a score equal to the threshold is accepted."""
    scores = np.unique(np.concatenate((genuine, impostor)))
    thresholds = np.append(scores, np.nextafter(scores[-1], np.inf))
    rejected = np.searchsorted(np.sort(genuine), thresholds) / len(genuine)
    accepted = 1 - np.searchsorted(np.sort(impostor), thresholds) / len(impostor)
    return TradeOff(thresholds, accepted, rejected)


@dataclass(frozen=True, slots=True)
class ThresholdResult:
    """What was measured. `calibration` is None if there is no threshold; `refusal` says why and what to do."""

    genuine: Floats
    impostor: Floats
    cohort_scores: int
    profiles: int
    trade_off: TradeOff | None
    calibration: Calibration | None
    refusal: str
    remarks: tuple[str, ...]
    speech_s: float  # median over the windows
    profile_s: float  # median over the profiles

    @property
    def threshold(self) -> float | None:
        """The score at even odds for a typical window."""
        return None if self.calibration is None else self.even_odds(self.calibration)

    def even_odds(self, calibration: Calibration) -> float:
        """Return the score at even odds for a typical window by another calibration."""
        return calibration.score_at_even_odds(speech_s=self.speech_s, profile_s=self.profile_s)


def find_threshold(trials: Sequence[LabelledTrial], *, reliability_s: float) -> ThresholdResult:
    """Fit a calibration to the trials.

    `reliability_s` is the model's own, since windows of one length from a few people cannot determine it.
    """
    genuine, impostor = (_scores(one for one in trials if one.trial.same is same) for same in (True, False))
    refusal = _too_few(len(genuine), len(impostor))
    curve = trade_off(genuine, impostor) if len(genuine) and len(impostor) else None
    if not refusal and curve is not None and curve.eer > MAX_EER:
        refusal = _overlapping(trials, curve)
    scored = [one.trial for one in trials]
    return ThresholdResult(
        genuine=genuine,
        impostor=impostor,
        cohort_scores=sum(one.speaker == COHORT_SPEAKER for one in trials),
        profiles=len({one.profile for one in trials}),
        trade_off=curve,
        calibration=None if refusal else fit(scored, reliabilities_s=(reliability_s,)).calibration,
        refusal=refusal,
        remarks=_remarks(trials),
        speech_s=float(np.median([one.speech_s for one in scored])) if scored else 0.0,
        profile_s=float(np.median([one.profile_s for one in scored])) if scored else 0.0,
    )


def _scores(trials: Iterable[LabelledTrial]) -> Floats:
    return np.array([one.trial.score for one in trials], dtype=np.float64)


def _too_few(genuine: int, impostor: int) -> str:
    if genuine < MIN_SCORES:
        return (
            f"{genuine} genuine scores, at least {MIN_SCORES} needed; enrol each person with 15 s of speech or more, "
            "best in two recordings on different days, or add a test with --microphone NAME"
        )
    if impostor < MIN_SCORES:
        return f"{impostor} impostor scores, at least {MIN_SCORES} needed; enrol a second person"
    return ""


def _overlapping(trials: Sequence[LabelledTrial], curve: TradeOff) -> str:
    """Name the pair confused most often and the person rejected most often at the equal error rate."""
    threshold = curve.equal
    confused = Counter(
        " and ".join(sorted((one.profile, one.speaker)))
        for one in trials
        if not one.trial.same and one.speaker != COHORT_SPEAKER and one.trial.score >= threshold
    )
    rejected = Counter(one.profile for one in trials if one.trial.same and one.trial.score < threshold)
    parts = [f"genuine and impostor scores overlap too much (equal error rate {curve.eer:.0%})"]
    if confused:
        parts.append(f"{confused.most_common(1)[0][0]} are confused most often")
    if rejected:
        parts.append(f"{rejected.most_common(1)[0][0]} is rejected most often")
    parts.append(
        "enrol them again, each alone with 15 s or more of clean speech at the microphone in use, or choose a larger "
        "model (`tonewatch models list`)"
    )
    return "; ".join(parts)


def _remarks(trials: Sequence[LabelledTrial]) -> tuple[str, ...]:
    """Return the limits of the figures."""
    single = sorted({one.profile for one in trials if one.trial.same and one.one_recording})
    remarks = []
    if single:
        remarks.append(
            f"{', '.join(single)}: one recording only, so genuine scores are too high (one day, one place); enrol "
            "again on another day, or test with --microphone NAME"
        )
    if any(one.speaker == COHORT_SPEAKER for one in trials):
        remarks.append(
            f"fewer than {MIN_PROFILES} profiles, so speakers of the model's cohort serve as impostors; recorded by "
            "other microphones, they are easier to reject: enrol more people"
        )
    return tuple(remarks)
