"""Alert rules in a running pipeline: their events are numbered with those of the stream, and can be changed."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import numpy as np
import pytest

from stream.app.alert_commands import alert_handlers
from stream.app.assembly import assemble
from stream.calls.current_alerts import CurrentAlerts
from stream.control.dispatcher import CommandDispatcher
from stream.errors import SettingsError
from stream.events import AlertEvent, Event, SpeakerEvent
from stream.pipeline.pipeline import Pipeline
from stream.settings import AlertsSettings, Settings, SourceSettings
from stream.types import Block, Task
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink

LOUD = np.random.default_rng(5).uniform(-0.4, 0.4, (16_000 * 4, 1)).astype(np.float32)
QUIET = np.zeros_like(LOUD)


def run(*rules: dict[str, Any]) -> list[Event]:
    """Speech of 4 s, silence of 8 s, speech of 4 s."""
    audio = np.concatenate([LOUD, QUIET, QUIET, LOUD])
    blocks = [Block("shop", start, audio[start : start + 4_000]) for start in range(0, len(audio), 4_000)]
    sink = ListSink()
    pipeline = Pipeline(
        settings=Settings.model_validate({"alerts": {"rules": rules, "clear_s": 0}}),
        sources=[FakeSource(blocks, source_id="shop")],
        models=[FakeModel(), FakeModel(task=Task.SPEAKER)],
        detector=FakeDetector(),
        sinks={"list": sink},
    )
    asyncio.run(pipeline.run())
    return sink.events


def test_alerts_of_a_stream_are_events_of_that_stream() -> None:
    events = run(
        {"name": "quiet", "field": "speaker.state", "value": "silence", "for_s": 5, "sources": ["shop"]},
        {"name": "elsewhere", "field": "speaker.state", "value": "silence", "sources": ["kitchen"]},
        {"name": "spoken", "field": "turn.speaker", "value": "S1"},
    )
    of_stream = [event for event in events if event.source == "shop"]
    assert [event.seq for event in of_stream] == list(range(len(of_stream)))
    alerts = [event for event in of_stream if isinstance(event, AlertEvent)]
    silences = [event.end_s for event in of_stream if isinstance(event, SpeakerEvent) and event.state == "silence"]
    (start, end) = (alert for alert in alerts if alert.rule == "quiet")
    assert start.end_s == silences[0] + 5, "one event says that there is silence, and it holds on"
    assert 12 < end.end_s < 14
    assert [model.name for model in start.models] == ["fake-speaker", "fake-emotion"]
    assert sum(alert.rule == "spoken" and alert.phase == "start" for alert in alerts) == 2
    assert of_stream[-1].type == "stream"


def test_without_rules_the_events_are_the_same() -> None:
    silence = {"name": "quiet", "field": "speaker.state", "value": "silence"}
    fields = {"id", "seq", "session", "time", "latency_ms"}
    plain = [event.model_dump(exclude=fields) for event in run() if event.source == "shop"]
    ruled = [event.model_dump(exclude=fields) for event in run(silence) if event.source == "shop"]
    assert [event for event in ruled if event["type"] != "alert"] == plain


def test_the_command_sets_a_condition_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    alerts = CurrentAlerts(AlertsSettings())
    dispatcher = CommandDispatcher(pipeline=None, handlers=alert_handlers(alerts))  # type: ignore[arg-type]

    def send(**command: Any) -> Any:
        payload = json.dumps({"command": "set_alert", "id": "42", **command})
        return asyncio.run(dispatcher.answer(payload, allowed=("set_alert",)))

    with caplog.at_level(logging.WARNING):
        reply = send(name="dead_air_s", value=30)
    assert reply.result == {"name": "dead_air_s", "value": 30.0, "previous": 10.0}
    assert caplog.messages == ["alert 'dead_air_s' set from 10.0 to 30.0 by command (id '42')"]
    assert alerts.settings.dead_air_s == 30
    refused = send(name="dead_air_s", value=-1)
    assert refused.error == "cannot set 'dead_air_s' to -1.0: input should be greater than 0"
    assert "no alert 'rules'" in send(name="rules", value=1).error
    assert send(name="dead_air_s").error == "nothing to set; give a value or, of a rule, enabled"


def test_the_command_disables_a_rule() -> None:
    alerts = CurrentAlerts(AlertsSettings.model_validate({"rules": [{"name": "quiet", "field": "speaker.stranger"}]}))
    dispatcher = CommandDispatcher(pipeline=None, handlers=alert_handlers(alerts))  # type: ignore[arg-type]
    payload = json.dumps({"command": "set_alert", "name": "quiet", "enabled": False})
    reply = asyncio.run(dispatcher.answer(payload, allowed=("set_alert",)))
    assert reply.result == {"name": "quiet", "enabled": False}
    assert not alerts.settings.rules[0].enabled


def test_a_rule_for_a_source_that_does_not_exist_is_refused_at_the_start() -> None:
    rule = {"name": "stranger", "field": "speaker.stranger", "sources": ["nursary"]}
    settings = Settings.model_validate({"alerts": {"rules": [rule]}, "sources": [SourceSettings(target="nursery.wav")]})
    with pytest.raises(SettingsError, match="rule 'stranger': there is no source 'nursary'; available: nursery"):
        asyncio.run(assemble(settings))
