"""Entry points of the compact models.

Their abilities and limits are on the model cards SPEAKER.md and EMOTION.md. `scripts/train` trains them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.models.compact.model import load_emotion, load_speaker

if TYPE_CHECKING:
    from stream.settings import ModelSettings
    from stream.types import Model


def speaker(settings: ModelSettings) -> Model:
    """Load the speaker model: one 192-dimensional x-vector per window."""
    return load_speaker(settings)


def emotion(settings: ModelSettings) -> Model:
    """Load the emotion model: calibrated probabilities of neutral, happy, angry and sad."""
    return load_emotion(settings)
