"""Telephone systems whose clients send the token in the URL, as a password, or in their first message.

Each is served at `/v1/NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stream.server.protocols.asterisk import AsteriskProtocol
from stream.server.protocols.base import ConnectionProtocol, IsAuthorized
from stream.server.protocols.exotel import ExotelProtocol
from stream.server.protocols.freeswitch import FreeSwitchProtocol
from stream.server.protocols.jambonz import JambonzProtocol
from stream.server.protocols.plivo import PlivoProtocol
from stream.server.protocols.vonage import VonageProtocol


@dataclass(frozen=True, slots=True)
class TelephoneSystem:
    """Makes the protocol of a system's connection; `title` is its name, `subprotocols` are those that it may ask for.

    The protocol is made from the parameters of the request URL and, if the first message is to prove who the client is,
    from what checks its fields; without `takes_token` it cannot.
    """

    title: str
    protocol: Callable[[Mapping[str, str], IsAuthorized | None], ConnectionProtocol]
    subprotocols: tuple[str, ...] = ()
    takes_token: bool = True


TELEPHONE_SYSTEMS: Mapping[str, TelephoneSystem] = {
    "asterisk": TelephoneSystem(
        "Asterisk chan_websocket",
        lambda parameters, _: AsteriskProtocol(parameters=parameters),
        ("media",),
        takes_token=False,
    ),
    "exotel": TelephoneSystem(
        "Exotel",
        lambda parameters, check: ExotelProtocol(parameters=parameters, is_authorized=check),
    ),
    "freeswitch": TelephoneSystem(
        "FreeSWITCH",
        lambda parameters, check: FreeSwitchProtocol(parameters=parameters, is_authorized=check),
        ("audio.drachtio.org",),
    ),
    "jambonz": TelephoneSystem(
        "jambonz",
        lambda parameters, check: JambonzProtocol(parameters=parameters, is_authorized=check),
        ("audio.jambonz.org", "audio.drachtio.org"),
    ),
    "plivo": TelephoneSystem(
        "Plivo",
        lambda parameters, check: PlivoProtocol(parameters=parameters, is_authorized=check),
    ),
    "vonage": TelephoneSystem(
        "Vonage, Infobip",
        lambda parameters, check: VonageProtocol(parameters=parameters, is_authorized=check),
    ),
}
"""Systems by name."""
