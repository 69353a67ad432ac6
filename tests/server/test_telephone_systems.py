"""Each telephone system's endpoint: where its token may be, and which subprotocol it is answered with."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import websockets

from stream.server.telephone_systems import TELEPHONE_SYSTEMS
from tests.server.protocols.messages import EXCHANGES, EXOTEL_START, JAMBONZ_METADATA, PLIVO_START, VONAGE_CONNECTED
from tests.server.telephone import connect, receive_all
from tests.server.test_sockets import TOKEN, on_a_node
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OPENINGS: dict[str, Any] = {
    "exotel": {**EXOTEL_START, "start": {**EXOTEL_START["start"], "custom_parameters": {"token": TOKEN}}},
    "freeswitch": {"mix": "stereo", "token": TOKEN},
    "jambonz": {**JAMBONZ_METADATA, "token": TOKEN},
    "plivo": {**PLIVO_START, "extra_headers": f"token={TOKEN}"},
    "vonage": {**VONAGE_CONNECTED, "token": TOKEN},
}


def password(token: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'tonewatch:{token}'.encode()).decode()}"}


@pytest.mark.parametrize("system", sorted(TELEPHONE_SYSTEMS))
def test_the_token_may_be_in_the_url_or_a_password(system: str) -> None:
    async def check(tested: Any) -> None:
        for query, headers in ((f"?token={TOKEN}", {}), ("", password(TOKEN))):
            async with connect(tested.listener, f"/v1/{system}{query}", additional_headers=headers) as link:
                await link.send(EXCHANGES[system][1][0])
                await wait_until(lambda: tested.gateway.statistics().streams > 0)
            await wait_until(lambda: not tested.gateway.statistics().streams)
        for query, headers in (("?token=wrong", {}), ("", password("wrong")), ("", {"Authorization": "Basic ~"})):
            with pytest.raises(websockets.InvalidStatus, match="403"):
                await connect(tested.listener, f"/v1/{system}{query}", additional_headers=headers)

    on_a_node(check, token=TOKEN)


@pytest.mark.parametrize("system", sorted(OPENINGS))
def test_the_token_may_be_in_the_first_message(system: str) -> None:
    async def check(tested: Any) -> None:
        async with connect(tested.listener, f"/v1/{system}") as link:
            await link.send(json.dumps(OPENINGS[system]))
            await wait_until(lambda: tested.gateway.statistics().streams > 0)
        async with connect(tested.listener, f"/v1/{system}") as link:
            await link.send(json.dumps(OPENINGS[system]).replace(TOKEN, "wrong"))
            await receive_all(link)
            assert link.close_code == 1008
        assert tested.rejected == {"unauthorized": 1}

    on_a_node(check, token=TOKEN)


@pytest.mark.parametrize(
    ("system", "offered"),
    [("asterisk", "media"), ("freeswitch", "audio.drachtio.org"), ("jambonz", "audio.jambonz.org"), ("vonage", None)],
)
def test_subprotocols(system: str, offered: str | None) -> None:
    async def check(tested: Any) -> None:
        async with connect(tested.listener, f"/v1/{system}", subprotocols=[offered or "other"]) as link:
            assert link.subprotocol == offered

    on_a_node(check)
