"""Samples, seconds and wall time."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.clock import ArrivalLog, ClockDrift, SampleClock, milliseconds, samples, seconds
from stream.types import SAMPLE_RATE_HZ


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


@pytest.mark.parametrize("fast_ppm", [200, -200, 0])
def test_a_source_whose_clock_runs_differently_keeps_the_time(fast_ppm: int) -> None:
    """Four hours over a path with jitter: the time of the newest audio is right to 0.1 s."""
    delays_s = np.random.default_rng(4).exponential(0.08, 4 * 3_600)
    drift, clock = ClockDrift(1_000.0), SampleClock.starting(0.0)
    for second, delay_s in enumerate(delays_s, start=1):
        end_sample = round(second * SAMPLE_RATE_HZ * (1 + fast_ppm / 1e6))
        clock = clock.shifted(drift.mark(1_000.0 + second + delay_s, end_sample))
        assert clock.wall(end_sample).timestamp() == pytest.approx(second, abs=0.1), second
    assert drift.shift_s == pytest.approx(-4 * 3_600 * fast_ppm / 1e6, abs=0.1)


def test_audio_that_a_server_had_kept_was_recorded_earlier() -> None:
    drift = ClockDrift(1_000.0)
    shifts_s = [drift.mark(1_000.0 + 0.1 * at, (8 + at) * SAMPLE_RATE_HZ // 10) for at in range(1, 100)]
    assert shifts_s == [pytest.approx(-0.8), *[0.0] * 98]
    assert drift.shift_s == pytest.approx(-0.8)
