"""G.711 against the values of the recommendation."""

from __future__ import annotations

import numpy as np
import pytest

from stream.audio import g711


def test_mu_law_has_the_values_of_the_recommendation() -> None:
    """Table 2a: the ends of the segments, as 16-bit PCM (14 bits, shifted by two)."""
    expected = {0x80: 32_124, 0x8F: 16_764, 0x90: 15_996, 0x9F: 8_316, 0xFF: 0, 0x00: -32_124, 0x7F: 0, 0xFE: 8}
    assert {code: int(g711.MU_LAW[code]) for code in expected} == expected


def test_a_law_has_the_values_of_the_recommendation() -> None:
    """Table 1a: 13 bits, shifted by three; every other bit is inverted."""
    expected = {0xD5: 8, 0x55: -8, 0xD4: 24, 0xAA: 32_256, 0x2A: -32_256, 0xC5: 264, 0x80: 5_504}
    assert {code: int(g711.A_LAW[code]) for code in expected} == expected


@pytest.mark.parametrize(("law", "table"), [("mulaw", g711.MU_LAW), ("alaw", g711.A_LAW)])
def test_every_byte_has_a_distinct_sample(law: str, table: np.ndarray) -> None:
    assert len(set(table.tolist())) == (255 if law == "mulaw" else 256), "µ-law has two zeros"
    assert np.array_equal(g711.decode(bytes(range(256)), law), table.astype(np.float32) / 32_768)
    assert g711.decode(b"", law).shape == (0,)
