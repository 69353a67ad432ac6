"""Commands that run in the test process share models, which are loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from stream.app import registry


@pytest.fixture(scope="package", autouse=True)
def _models_loaded_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.app.registry.model", cache(registry.model))
        yield
