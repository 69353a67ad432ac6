"""Call alerts: raised once, ended once, with hysteresis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.calls.alerts import AlertReading, AlertTracker
from stream.events import AlertBody

SECOND = 16_000


def run(values: list[float], *, clear_s: float = 2.0) -> list[AlertBody]:
    """Check one value per second; on at 0.6, off below 0.4."""
    tested, bodies = AlertTracker(), []
    for second, value in enumerate(values):
        bodies += tested.check(second * SECOND, [AlertReading("anger", "customer", value, 0.6, 0.4)], clear_s=clear_s)
    return bodies + tested.close(len(values) * SECOND)


@given(values=st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), max_size=60), clear_s=st.sampled_from([0.0, 2.0]))
def test_every_alert_starts_and_ends_once(values: list[float], clear_s: float) -> None:
    bodies = run(values, clear_s=clear_s)
    assert [alert.phase for alert in bodies] == ["start", "end"] * (len(bodies) // 2)
    for start, end in zip(bodies[::2], bodies[1::2], strict=True):
        assert start.alert == end.alert
        assert start.start_s == start.end_s == end.start_s < end.end_s
        assert start.value >= start.threshold
    assert len({alert.alert for alert in bodies}) == len(bodies) // 2


def test_an_alert_ends_only_after_clear_s() -> None:
    bodies = run([0.7, 0.5, 0.3, 0.5, 0.3, 0.3, 0.3, 0.1])
    assert [(alert.phase, alert.end_s) for alert in bodies] == [("start", 0.0), ("end", 6.0)]


def test_a_reading_that_is_not_eligible_raises_nothing() -> None:
    tested = AlertTracker()
    reading = AlertReading("anger", "agent", 0.9, 0.6, 0.4, eligible=False)
    assert not tested.check(0, [reading], clear_s=0)
    assert not tested.open


def test_an_active_alert_is_listed_until_it_ends() -> None:
    tested = AlertTracker()
    tested.check(SECOND, [AlertReading("dead_air", None, 11.0, 10.0, 10.0)], clear_s=0)
    (open_one,) = tested.open
    assert (open_one.kind, open_one.speaker, open_one.since_s) == ("dead_air", None, 1.0)
    (ended,) = tested.check(2 * SECOND, [AlertReading("dead_air", None, 0.0, 10.0, 10.0)], clear_s=0)
    assert (ended.phase, ended.value, ended.threshold) == ("end", 0.0, 10.0)
    assert not tested.open
    assert dict(tested.counts) == {"dead_air": 1}
