"""Settings of the active speaker."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.settings.base import Branch, Fraction, Positive
from stream.settings.texts import PersonName

MIN_ENROLMENT_SPEECH_S = 3.0
"""Minimum speech for an enrolment; shorter x-vectors depend on the words spoken."""

Cosine = Annotated[float, Field(ge=-1, le=1)]


class SpeakersSettings(Branch):
    """How x-vectors become speakers; `tracking/speakers.py` defines the probabilities."""

    threshold: Cosine | None = Field(
        None,
        description="Cosine at which two x-vectors are equally likely of one or of two speakers; unset: the model's "
        "calibration.",
    )
    log_odds_penalty: float = Field(
        0.2,
        ge=-10,
        le=10,
        description="Log-odds subtracted from every comparison, since voices recorded in one place are more alike.",
    )
    enrolled_penalty: float = Field(
        0.7,
        ge=-10,
        le=10,
        description="Further log-odds subtracted for enrolled voices, since a wrong name is worse than none.",
    )
    new_voice_penalty: float = Field(
        1.3, ge=0, le=10, description="Likewise for new session voices; it decreases as their speech accumulates."
    )
    match: Fraction = Field(0.65, description="Probability at which a window is assigned to a known voice …")
    create: Fraction = Field(
        0.8, description="… at which it is assigned to an unknown speaker, and a new voice is created …"
    )
    create_below: Fraction = Field(
        1.0,
        description="… unless a known voice is likelier than this for that window alone, without penalties: speech "
        "that may be of a known person makes no second voice of them …",
    )
    update: Fraction = Field(0.95, description="… and at which the voice is updated with the window.")
    merge: Fraction = Field(0.9, description="Probability at which two session voices are merged.")
    new_voice_prior: Positive = Field(1.0, description="Prior weight of an unknown speaker, in known voices.")
    continuity: Fraction = Field(0.6, description="Probability that the last speaker continues after a short pause …")
    continuity_s: Positive = Field(3.0, description="… which decays with this time constant.")
    change_s: Positive = Field(5.0, description="Average seconds of speech between two changes of speaker.")
    interim_s: float = Field(
        0.0,
        ge=0,
        le=30,
        description="Seconds from the start of a speech segment in which who speaks is asked at half hops as well, and "
        "again when speech has paused; 0: never.",
    )
    recheck_s: Positive = Field(
        0.5,
        description="With segmentation: longest time for which a certain voice goes on without an x-vector. A longer "
        "time costs less, and wrong labels last longer.",
    )
    create_s: float = Field(1.2, ge=0, le=30, description="Speech needed to create a new voice.")
    mixed_gain: Cosine = Field(
        0.05, description="Increase of a window's cosine by a second voice at which it counts as mixed; 1: never."
    )
    max_speakers: int = Field(16, ge=1, le=1_024, description="Maximum number of session voices of a stream.")
    forget_s: Positive = Field(
        120.0,
        description="Time without speech after which a session voice is removed, if it has less than 4 s of speech, or "
        "if there are `max_speakers` and a new one is created.",
    )
    candidates: int = Field(
        3, ge=1, le=100, description="Number of speakers that a closed-set model reports, the most likely first."
    )
    publish_embeddings: bool = Field(
        False,
        description="Publish the voice of each turn as an x-vector, in the event of its end. It is biometric data: "
        "any subscriber can recognise the person elsewhere.",
    )
    profiles: str = Field(
        "auto",
        description="Profile database, filled by `tonewatch enroll NAME`; `auto`: profiles.sqlite in the user's data "
        "folder; empty: none.",
    )
    enrolled: dict[PersonName, str] = Field(
        default_factory=dict,
        description=f"Enrolled voices: name → recording with at least {MIN_ENROLMENT_SPEECH_S:g} s of speech.",
    )
