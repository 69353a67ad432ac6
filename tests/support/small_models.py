"""The small nets of the preset `tiny`, for tests that process speech but are not about a model: they cost a tenth."""

from __future__ import annotations

from stream.app import registry
from stream.settings import load
from stream.types import Model

TINY = ("--preset", "tiny")
"""Options of a command that uses the small nets."""


def load_small_models() -> list[Model]:
    """Load the small nets: emotion, speaker."""
    models = load(preset="tiny").models
    return [registry.model(models.emotion), registry.model(models.speaker)]
