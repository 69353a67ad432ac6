"""Properties of MQTT 5: of publications, and of the response to a request."""

from __future__ import annotations

import math
from copy import copy
from functools import lru_cache

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from stream.sinks.mqtt.connection import IncomingMessage


@lru_cache(maxsize=32)
def _permanent_properties(content_type: str) -> Properties:
    """Properties of a payload that does not expire, cached because they are slow to build."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = content_type
    return properties


def publish_properties(*, content_type: str, expires_s: float | None, v5: bool) -> Properties | None:
    """Build the MQTT 5 properties of a payload; None for a 3.1.1 connection."""
    if not v5:
        return None
    if expires_s is None:
        return _permanent_properties(content_type)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = content_type
    properties.MessageExpiryInterval = max(1, math.ceil(expires_s))
    return properties


def response_target(message: IncomingMessage, *, v5: bool) -> tuple[str, Properties | None]:
    """Return a request's response topic (MQTT 5; "" if it names none) and the properties of the response."""
    properties = publish_properties(content_type="application/json", expires_s=None, v5=v5)
    request = message.properties
    correlation = getattr(request, "CorrelationData", None)
    if properties is not None and correlation:
        properties = copy(properties)
        properties.CorrelationData = correlation
    return str(getattr(request, "ResponseTopic", "") or ""), properties
