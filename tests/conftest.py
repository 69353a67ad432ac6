"""What holds for every test: nothing is kept in the home of whoever runs them, and nothing of theirs is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import browser, player, stage, visit
from tests.support.tones import make_runner, tone_models

__all__ = ["browser", "make_runner", "player", "stage", "tone_models", "visit"]


@pytest.fixture(scope="session", autouse=True)
def _state_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_STATE_HOME", "XDG_DATA_HOME"):
            patch.setenv(variable, str(folder))
        yield folder
