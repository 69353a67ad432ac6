"""FreeSWITCH's modules, jambonz and Vonage: linear PCM, described by texts and URLs as their documentation has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.server.protocols.base import OpenStream
from stream.server.protocols.freeswitch import FreeSwitchProtocol
from stream.server.protocols.jambonz import JambonzProtocol
from stream.server.protocols.vonage import VonageProtocol
from tests.server.protocols.exchanges import audio, closed, feed, opened, spans, violation
from tests.server.protocols.messages import JAMBONZ_METADATA, VONAGE_CONNECTED

STEREO = np.arange(8, dtype="<i2").tobytes()


def freeswitch(*messages: Any, **parameters: str) -> list[Any]:
    return feed(FreeSwitchProtocol(parameters=parameters), *messages)


def jambonz(*messages: Any, **parameters: str) -> list[Any]:
    return feed(JambonzProtocol(parameters=parameters), *messages)


def vonage(*messages: Any, **parameters: str) -> list[Any]:
    return feed(VonageProtocol(parameters=parameters), *messages)


def test_jambonz_describes_the_call_in_its_first_message() -> None:
    actions = jambonz(JAMBONZ_METADATA, STEREO, {"event": "dtmf", "dtmf": "2", "duration": "1600"}, STEREO)
    stream = opened(actions)
    assert (stream.name, stream.rate_hz, stream.tracks, stream.leg) == (
        JAMBONZ_METADATA["callSid"], 16_000, ("customer", "agent"), False,
    )  # fmt: skip
    assert stream.labels == {"caller": "+15083084809", "called": "+15083728299", "queue": "sales"}
    assert spans(actions, 1) == [(0, 4), (4, 8)]
    assert (audio(actions, 0) * 32_768).tolist() == [0, 2, 4, 6] * 2
    assert (audio(actions, 1) * 32_768).tolist() == [1, 3, 5, 7] * 2


def test_the_first_channel_is_the_agent_where_it_is_said() -> None:
    assert opened(jambonz({**JAMBONZ_METADATA, "party": "agent"})).tracks == ("agent", "customer")
    assert opened(freeswitch(STEREO, mix="stereo", party="agent")).tracks == ("agent", "customer")


@pytest.mark.parametrize("metadata", [(), ("any text",), ('{"customer": 7, "agent": "Grace"}',)])
def test_freeswitch_is_described_by_its_url(metadata: tuple[str, ...]) -> None:
    actions = freeswitch(*metadata, STEREO, "sent by send_text", call="9f3a", rate="16k", mix="mono", party="agent")
    stream = opened(actions)
    assert (stream.name, stream.rate_hz, stream.tracks, stream.leg) == ("9f3a", 16_000, ("agent",), True)
    assert spans(actions) == [(0, 8)]


def test_a_recording_server_for_siprec_says_who_is_on_the_call() -> None:
    """Metadata as drachtio's recording server for SIPREC gives to `uuid_audio_fork` on FreeSWITCH."""
    metadata = {"callid": "9f3a-77", "from": "sip:+4930123456@sbc.example.org", "to": "sip:6001@sbc.example.org"}
    stream = opened(freeswitch(metadata, STEREO, mix="stereo", rate="8k"))
    assert (stream.name, stream.rate_hz, stream.tracks, stream.leg) == (
        "9f3a-77", 8_000, ("customer", "agent"), False,
    )  # fmt: skip
    assert stream.labels == {"caller": "sip:+4930123456@sbc.example.org", "called": "sip:6001@sbc.example.org"}


def test_without_a_description_it_is_a_party_at_the_rate_of_telephones() -> None:
    stream = opened(freeswitch(STEREO))
    assert (stream.name, stream.rate_hz, stream.tracks, stream.leg) == ("freeswitch", 8_000, (None,), True)


@pytest.mark.parametrize("rate", ["8000", "8k", "16000", "16k", "24k", "48000"])
def test_rates(rate: str) -> None:
    assert opened(freeswitch(STEREO, rate=rate)).rate_hz == int(rate.removesuffix("k").removesuffix("000")) * 1_000


def test_vonage_hears_everybody_unless_limited_to_a_party() -> None:
    actions = vonage(
        VONAGE_CONNECTED, bytes(640), {"event": "websocket:dtmf", "digit": "5", "duration": 260}, bytes(640)
    )
    stream = opened(actions)
    assert (stream.name, stream.rate_hz, stream.tracks, stream.leg) == ("CON-7", 16_000, (None,), False)
    assert stream.labels == {"caller": "+447700900000", "agent": "Grace"}
    assert spans(actions) == [(0, 320), (320, 640)]
    for leg in (vonage({**VONAGE_CONNECTED, "party": "customer"}), vonage(VONAGE_CONNECTED, party="customer")):
        assert (opened(leg).tracks, opened(leg).leg) == (("customer",), True)
    assert opened(vonage(VONAGE_CONNECTED, call="c9")).name == "c9"
    infobip = {**VONAGE_CONNECTED, "content-type": "audio/x-private-pcm-16;rate=24000"}
    assert opened(vonage(infobip)).rate_hz == 24_000


@pytest.mark.parametrize(
    ("actions", "fragment"),
    [
        (jambonz({**JAMBONZ_METADATA, "mixType": "quad"}), "mix must be"),
        (jambonz({**JAMBONZ_METADATA, "sampleRate": 64_000}), "must be one of"),
        (jambonz({**JAMBONZ_METADATA, "sampleRate": "fast"}), "sampleRate must be one of"),
        (freeswitch(STEREO, rate="0"), "rate must be one of"),
        (jambonz(bytes(640)), "audio before the message"),
        (jambonz("hello"), "not JSON"),
        (freeswitch('{"mix": ['), "not JSON"),
        (vonage(bytes(640)), "audio before websocket:connected"),
        (vonage("hello"), "not JSON"),
        (vonage({"event": "start"}), "first message must be websocket:connected"),
        (vonage({"event": "websocket:connected"}), "content-type is missing"),
        (vonage({**VONAGE_CONNECTED, "content-type": "audio/opus"}), "content-type must be audio/l16"),
        (vonage({**VONAGE_CONNECTED, "content-type": "audio/l16;rate=96000"}), "must be one of"),
    ],
)
def test_a_violation_before_the_call_closes_the_connection(actions: list[Any], fragment: str) -> None:
    assert fragment in closed(actions).reason
    assert not any(isinstance(action, OpenStream) for action in actions)


@pytest.mark.parametrize(
    ("tested", "messages", "fragment"),
    [
        (JambonzProtocol(), (JAMBONZ_METADATA, bytes(7)), "whole frames of 4 bytes"),
        (VonageProtocol(), (VONAGE_CONNECTED, bytes(3)), "whole frames of 2 bytes"),
    ],
)
def test_what_is_odd_is_left_out_of_an_open_call(tested: Any, messages: tuple[Any, ...], fragment: str) -> None:
    assert fragment in violation(feed(tested, *messages))
    assert not tested.closed
