"""Entry points of the compact models.

What they can and cannot do stands on their cards, SPEAKER.md and EMOTION.md. `scripts/train` made them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.models.compact.model import load_emotion, load_speaker

if TYPE_CHECKING:
    from stream.settings import ModelSettings
    from stream.types import Model


def speaker(settings: ModelSettings) -> Model:
    """Who is speaking: an x-vector of 192 numbers a window."""
    return load_speaker(settings)


def emotion(settings: ModelSettings) -> Model:
    """How it sounds: a calibrated probability for each of neutral, happy, angry and sad."""
    return load_emotion(settings)
