"""What can be set about who is speaking: a branch of the tree in `settings`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.settings.base import Branch, Fraction, Positive

Cosine = Annotated[float, Field(ge=-1, le=1)]


class SpeakersSettings(Branch):
    """How x-vectors become people; `rolling/speakers.py` says what the probabilities are of."""

    threshold: Cosine | None = Field(
        None, description="Cosine at which two voices are as likely one as two; unset: by the model's calibration."
    )
    log_odds_penalty: float = Field(
        0.2, ge=-10, le=10, description="Log-odds taken off every likeness: people in one room sound more alike."
    )
    enrolled_penalty: float = Field(
        0.7, ge=-10, le=10, description="Further log-odds taken off enrolled voices: a wrong name is worse than none."
    )
    new_voice_penalty: float = Field(
        1.3, ge=0, le=10, description="Likewise off voices just met; it fades with what is heard of them."
    )
    match: Fraction = Field(0.65, description="Probability at which a voice is told …")
    create: Fraction = Field(0.8, description="… at which it is nobody known, and becomes a new voice …")
    update: Fraction = Field(0.95, description="… and at which a voice learns.")
    merge: Fraction = Field(0.9, description="Probability at which two voices met are taken for one.")
    new_voice_prior: Positive = Field(
        1.0, description="Somebody new is as likely, before anything is heard, as so many known voices."
    )
    continuity: Fraction = Field(0.6, description="How likely whoever spoke last goes on after a short pause …")
    continuity_s: Positive = Field(3.0, description="… which fades with this time constant.")
    change_s: Positive = Field(5.0, description="Seconds of speech after which, on average, the voice changes.")
    create_s: float = Field(1.2, ge=0, le=30, description="Speech needed to become a new voice.")
    mixed_gain: Cosine = Field(
        0.05, description="What a second voice adds to the likeness of a window that both share; 1: none ever does."
    )
    max_speakers: int = Field(16, ge=1, le=1_024, description="Voices a stream remembers without enrolment.")
    forget_s: Positive = Field(
        120.0,
        description="A voice unheard for so long is forgotten if it was heard for less than 4 s, or if there are "
        "`max_speakers` and a new one comes.",
    )
    candidates: int = Field(
        3, ge=1, le=100, description="How many people a closed-set model (a demonstration) names, the likeliest first."
    )
    profiles: str = Field(
        "auto",
        description="File of enrolled people, as `tonewatch enroll NAME` fills it; `auto`: profiles.sqlite in "
        "tonewatch's data folder of this user; empty: none.",
    )
    enrolled: dict[str, str] = Field(
        default_factory=dict, description="Known people: a name and a file with 5 s or more of their voice."
    )
