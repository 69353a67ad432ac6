"""MQTT topics and broker addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import SettingsError
from stream.settings import MqttSettings
from stream.sinks.mqtt import topics
from tests.support import examples


@pytest.mark.parametrize(
    ("target", "broker"),
    [
        ("mqtt://lan", topics.BrokerAddress("lan", 1883, tls=False, username="", prefix="tonewatch")),
        ("mqtt://lan:99/a/b/", topics.BrokerAddress("lan", 99, tls=False, username="", prefix="a/b")),
        ("mqtts://me@lan/x", topics.BrokerAddress("lan", 8883, tls=True, username="me", prefix="x")),
        (
            "mqtt+ws://lan:9001/x",
            topics.BrokerAddress("lan", 9001, tls=False, username="", prefix="x", transport="websockets"),
        ),
    ],
)
def test_addresses(target: str, broker: topics.BrokerAddress) -> None:
    assert topics.parse_address(target, MqttSettings()) == broker


@pytest.mark.parametrize(
    "target",
    [
        "mqtt://",
        "mqtt:lan",
        "mqtt://[lan",
        "http://lan",
        "mqtt://lan:port/",
        "mqtt://u:pass@lan",
        "mqtt://lan/a+b",
        "mqtt://lan/a/#",
        "mqtt:u:pass@lan",
        "mqtt://u:1#pass@lan",
    ],
)
def test_an_invalid_address_is_refused_without_showing_a_password(target: str) -> None:
    with pytest.raises(SettingsError) as refused:
        topics.parse_address(target, MqttSettings())
    assert "pass@" not in str(refused.value)


@given(st.text(), st.text())
def test_different_names_give_different_levels(one: str, other: str) -> None:
    assert (topics.topic_level(one) == topics.topic_level(other)) == (one == other)
    assert not set(topics.topic_level(one)) & set("+#/")


def test_a_name_becomes_one_level() -> None:
    topic = topics.event_topic(examples.event(examples.emotion(), source="a/b+c#"), prefix="p", node="n/1")
    assert topic == "p/n%2F1/a%2Fb%2Bc%23/emotion"
    assert topics.event_topic(examples.event(examples.health(), source="node"), prefix="p", node="n") == "p/n/health"
