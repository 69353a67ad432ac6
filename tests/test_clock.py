"""Samples, seconds and wall time."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from stream.clock import ArrivalLog, SampleClock, milliseconds, samples, seconds


@given(st.integers(0, 10**10))
def test_seconds_round_trip(count: int) -> None:
    assert samples(seconds(count)) == count


def test_wall_time_is_the_anchor_plus_the_count() -> None:
    clock = SampleClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.wall(16_000 * 90 + 8) == datetime(2026, 1, 1, 0, 1, 30, 500, tzinfo=UTC)
    assert SampleClock.starting(0).wall(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert milliseconds(8) == 0
    assert milliseconds(24) == 2


def test_a_file_block_is_captured_at_once_a_paced_one_sample_by_sample() -> None:
    for paced, expected_s in ((False, 11.0), (True, 10.5)):
        log = ArrivalLog(paced=paced)
        log.mark(16_000, 10.0)
        log.mark(32_000, 11.0)
        assert log.captured_s(24_000) == expected_s
        assert log.captured_s(16_000) == 10.0
        assert log.captured_s(32_001) is None


def test_old_arrivals_are_discarded() -> None:
    log = ArrivalLog(paced=False, capacity=2)
    for second in range(5):
        log.mark(second * 16_000, float(second))
    assert log.captured_s(1) == 3.0
