"""Alert rules: what raises them, for how long, on whom, and what ends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stream.calls.alert_rules import UNKNOWN_S, RuleTracker
from stream.calls.current_alerts import CurrentAlerts
from stream.errors import CommandRefused, SettingsError
from stream.events import AlertBody, Body, EmotionBody, Party, StreamBody
from stream.events.fields import FIELDS, field_names
from stream.settings import AlertsSettings, assignments_layer, build
from stream.settings.alerts import CHANGEABLE
from tests.support import examples

AROUSED = {"name": "upset", "field": "emotion.arousal", "comparison": ">", "value": 0.8, "for_s": 5}
SILENT = {"name": "quiet shop", "field": "speaker.state", "value": "silence", "for_s": 600}


def current(*rules: dict[str, Any], **alerts: Any) -> CurrentAlerts:
    return CurrentAlerts(AlertsSettings.model_validate({"rules": rules, **alerts}))


def tracker(*rules: dict[str, Any], names: tuple[str, ...] = ("room",), party: Party | None = None) -> RuleTracker:
    return RuleTracker(alerts=current(*rules), names=names, party=party)


def arousal(value: float | None, end_s: float) -> EmotionBody:
    return examples.emotion(end_s=end_s).model_copy(update={"arousal": value})


def run(tested: RuleTracker, bodies: Sequence[Body]) -> list[AlertBody]:
    """Return the alerts; every body passes, once and in order."""
    passed = [one for body in bodies for one in tested.observe(body)]
    assert [one for one in passed if not isinstance(one, AlertBody)] == list(bodies)
    return [one for one in passed if isinstance(one, AlertBody)]


def phases(alerts: list[AlertBody]) -> list[tuple[str, float]]:
    return [(alert.phase, alert.end_s) for alert in alerts]


def test_a_value_must_last_and_ends_after_clear_s() -> None:
    values = [0.9] * 5 + [0.7] + [0.9] * 8 + [0.5, 0.9, 0.5, 0.5, 0.5, 0.5]
    alerts = run(tracker(AROUSED), [arousal(value, float(second)) for second, value in enumerate(values)])
    assert phases(alerts) == [("start", 11.0), ("end", 18.0)]
    start, end = alerts
    assert (start.kind, start.rule, start.value, start.threshold) == ("rule", "upset", 0.9, 0.8)
    assert start.detail == "emotion.arousal 0.9 > 0.8 for 5 s"
    assert start.person == "S1"
    assert (end.alert, end.start_s, end.value) == (start.alert, 11.0, 0.5)


def test_time_without_a_value_stands_still_and_then_ends_the_alert() -> None:
    spoken = [arousal(0.9, second) for second in (0.0, 1.0, 2.0)]
    silent = [arousal(None, second) for second in (3.0, 4.0, 5.0)]
    again = [arousal(0.9, second) for second in (6.0, 7.0, 8.0)]
    tested = tracker(AROUSED)
    assert phases(run(tested, [*spoken, *silent, *again])) == [("start", 8.0)], "5 s of speech, the pause not counted"
    long = [arousal(None, 9.0 + second) for second in range(int(UNKNOWN_S) + 4)]
    assert phases(run(tested, long)) == [("end", 8.0 + UNKNOWN_S + 2)]


def test_silence_of_ten_minutes() -> None:
    bodies: list[Body] = [examples.speaker(None, state="silence", end_s=0.5 * half) for half in range(1_300)]
    assert phases(run(tracker(SILENT), bodies)) == [("start", 600.0)]


def test_one_event_of_silence_holds_on_until_the_next() -> None:
    tested = tracker(SILENT)
    assert not run(tested, [examples.speaker(None, state="silence", end_s=10.0)])
    assert not tested.advance(609.9)
    assert phases(tested.advance(610.0)) == [("start", 610.0)]
    assert not run(tested, [examples.speaker("S1", end_s=700.0)])
    assert phases(tested.advance(702.0)) == [("end", 702.0)]


def test_a_stranger_where_only_some_are_watched() -> None:
    rule = {"name": "stranger", "field": "speaker.stranger", "sources": ["nursery"]}
    unsure = examples.speaker(None, state="tentative", end_s=1.0)
    known = examples.speaker("Alice", enrolled=True, end_s=2.0)
    stranger = examples.speaker("S1", end_s=3.0)
    assert phases(run(tracker(rule, names=("nursery-left", "nursery")), [unsure, known, stranger])) == [("start", 3.0)]
    assert not run(tracker(rule, names=("kitchen",)), [unsure, known, stranger])


def test_a_person_has_spoken_with_a_cooldown() -> None:
    rule = {"name": "Alice", "field": "turn.speaker", "value": "Alice", "cooldown_s": 60}
    turns: list[Body] = [
        examples.turn(number, phase, name=name, start_s=at_s - 2, end_s=at_s)
        for number, (name, at_s) in enumerate([("Alice", 10.0), ("Bob", 20.0), ("Alice", 69.0), ("Alice", 70.0)])
        for phase in ("start", "end")
    ]
    alerts = run(tracker(rule), turns)
    assert phases(alerts) == [("start", 10.0), ("end", 10.0), ("start", 70.0), ("end", 70.0)]
    assert {alert.person for alert in alerts} == {"Alice"}
    assert len({alert.alert for alert in alerts}) == 2


def test_several_speak_and_one_is_watched() -> None:
    body = examples.speaker("Bob", others=("Alice",), state="overlap", enrolled=True)
    (alert,) = run(tracker({"name": "Alice", "field": "speaker.speaker", "value": "Alice"}), [body])
    assert alert.person == "Alice"
    assert run(tracker({"name": "crowd", "field": "speaker.people", "comparison": ">=", "value": 2}), [body])


def test_rules_for_a_party_and_for_a_speaker() -> None:
    body = arousal(0.9, 1.0)
    quick = {**AROUSED, "for_s": 0}
    assert run(tracker({**quick, "party": "customer"}, party="customer"), [body])[0].speaker == "customer"
    assert not run(tracker({**quick, "party": "customer"}, party="agent"), [body])
    assert not run(tracker({**quick, "party": "customer"}), [body])
    assert run(tracker({**quick, "speaker": "S1"}), [body])
    assert not run(tracker({**quick, "speaker": "S2"}), [body])


@pytest.mark.parametrize("state", ["stalled", "paused", "ended"])
def test_an_alert_ends_before_its_stream_stops(state: Any) -> None:
    tested = tracker({**AROUSED, "for_s": 0})
    stop = StreamBody(state=state, start_s=2.0, end_s=2.0)
    out = [one for body in (arousal(0.9, 1.0), stop) for one in tested.observe(body)]
    assert [getattr(one, "phase", one.type) for one in out] == ["emotion", "start", "end", "stream"]


def test_lost_audio_is_not_counted() -> None:
    gap = StreamBody(state="gap", start_s=1.0, end_s=100.0, lost_s=99.0)
    alerts = run(
        tracker(AROUSED), [arousal(0.9, 0.0), arousal(0.9, 1.0), gap, arousal(0.9, 101.0), arousal(0.9, 105.0)]
    )
    assert phases(alerts) == [("start", 105.0)]


def test_figures_of_a_call() -> None:
    rule = {"name": "much crosstalk", "field": "call.crosstalk_s", "comparison": ">", "value": 0}
    assert run(tracker(rule), [examples.call("live")])[0].rule == "much crosstalk"


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (
            {"field": "emotion.arousel"},
            "no field 'emotion.arousel' .did you mean 'emotion.arousal'?.*fields: emotion.label",
        ),
        ({"field": "emotion.probabilities"}, "no field"),
        ({"field": "emotion.arousal", "value": "high"}, "is compared with a number, not 'high'"),
        ({"field": "speaker.state", "value": "quiet"}, "never 'quiet'; it is one of silence, tentative"),
        ({"field": "speaker.enrolled", "comparison": ">", "value": True}, "use == or !="),
        ({"field": "turn.speaker", "value": "Alice", "for_s": 5}, "does not last; remove for_s"),
        ({"field": "call.state", "value": "silence", "speaker": "Alice"}, "belongs to no speaker"),
        ({"field": "emotion.arousal", "value": 0.5, "seconds": 3}, "unknown setting 'alerts.rules.0.seconds'"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_by_name(rule: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as refusal:
        build([("rules.toml", {"alerts": {"rules": [{"name": "mine", **rule}]}})])
    assert "mine" in str(refusal.value) or "seconds" in sentence


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="two rules are called 'upset'"):
        build([("rules.toml", {"alerts": {"rules": [AROUSED, AROUSED]}})])


def test_rules_come_from_a_flag_as_well() -> None:
    text = 'alerts.rules=[{"name": "joy", "field": "emotion.probabilities.happy", "comparison": ">", "value": 0.5}]'
    (rule,) = build([("flags", assignments_layer([text]))]).alerts.rules
    assert (rule.name, rule.value, rule.cooldown_s) == ("joy", 0.5, 0.0)


def test_fields_are_those_of_the_events() -> None:
    assert {"emotion.arousal", "speaker.state", "turn.emotion", "stream.state", "call.silence_s"} <= set(FIELDS)
    assert "emotion.probabilities.LABEL" in field_names()
    assert not any(name.endswith((".type", ".parties", ".speakers")) for name in FIELDS)


def test_conditions_change_while_a_node_runs() -> None:
    alerts = current({**AROUSED, "for_s": 0})
    tested = RuleTracker(alerts=alerts, names=("room",), party=None)
    assert not run(tested, [arousal(0.7, 1.0)])
    assert alerts.change("upset", 0.6) == 0.8
    assert run(tested, [arousal(0.7, 2.0)])
    assert alerts.change("dead_air_s", 30) == 10.0
    assert alerts.settings.dead_air_s == 30
    for name, value, sentence in (
        ("volume", 1, "no alert 'volume' to set; available: anger_on"),
        ("anger_off", 0.9, "off is above its on"),
        ("anger_on", 7, "less than or equal to 1"),
        ("upset", "loud", "compared with a number"),
    ):
        with pytest.raises(CommandRefused, match=sentence):
            alerts.change(name, value)
    assert set(CHANGEABLE) <= set(AlertsSettings.model_fields)


def test_a_disabled_rule_ends_its_alert_and_raises_none_until_it_is_enabled() -> None:
    alerts = current({**AROUSED, "for_s": 0})
    tested = RuleTracker(alerts=alerts, names=("room",), party=None)
    assert phases(run(tested, [arousal(0.9, 1.0)])) == [("start", 1.0)]
    assert alerts.enable("upset", enabled=False)
    assert phases(run(tested, [arousal(0.9, 2.0), arousal(0.9, 3.0)])) == [("end", 2.0)]
    assert not alerts.enable("upset", enabled=True)
    assert phases(run(tested, [arousal(0.9, 4.0)])) == [("start", 4.0)]
    with pytest.raises(CommandRefused, match="no rule 'anger_on' to enable; available: upset"):
        alerts.enable("anger_on", enabled=False)
