"""What the tests of the ruler share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream.settings import Settings
from stream.tools.evaluation.runner import EvaluationRunner
from tests.tools.evaluation.stand_ins import loader


@pytest.fixture
def tones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands hear with tones."""
    monkeypatch.setattr("stream.tools.evaluation.runner.load_models", loader())


@pytest.fixture
def ears(tones: None) -> Callable[..., EvaluationRunner]:
    """Ears with a tone model for each task that is named: `ears("speaker")`."""
    assert tones is None

    def made(*tasks: str) -> EvaluationRunner:
        names = {
            task: {"name": f"tone-{task}" if task in tasks else "", "window_s": 2.0, "hop_s": 0.5}
            for task in ("emotion", "speaker", "identity")
        }
        return EvaluationRunner(Settings.model_validate({"models": names}))

    return made
