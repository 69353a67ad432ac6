"""Audio levels."""

from __future__ import annotations

import numpy as np
import pytest

from stream.audio.loudness import SILENCE_DBFS, level_dbfs


def test_levels() -> None:
    square = np.tile(np.array([1.0, -1.0], np.float32), 256)
    assert level_dbfs(square) == pytest.approx(0.0)
    assert level_dbfs(square * np.float32(0.1)) == pytest.approx(-20.0, abs=1e-4)
    assert level_dbfs(np.zeros(512, np.float32)) == SILENCE_DBFS
    assert level_dbfs(np.zeros(0, np.float32)) == SILENCE_DBFS
