"""The HTTP server and the WebSocket of the dashboard, with well-behaved and with hostile clients."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from stream.dashboard.feed import PageCapabilities
from stream.dashboard.page_connection import MAX_MESSAGE_LENGTH, MAX_MESSAGES
from stream.dashboard.server import MAX_PAGES, STATIC
from stream.errors import ListenError
from tests.dashboard.scenes import Scene, phone_call
from tests.support.dashboard import RunningDashboard

pytestmark = pytest.mark.slow

TOKEN = "a long enough token"


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningDashboard]:
    """One dashboard for all tests of the module that need no fresh one."""
    with RunningDashboard() as running:
        yield running


def connect_page(dashboard: RunningDashboard, **options: Any) -> ClientConnection:
    page: ClientConnection = connect(dashboard.url.replace("http", "ws") + "live", proxy=None, **options)
    return page


def next_message(page: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(page.recv(timeout=20))
        if message["t"] == kind:
            return message


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()


def test_page_receives_a_snapshot_and_then_deltas(shared: RunningDashboard) -> None:
    scene = Scene("changing")
    shared.apply([scene.stream()])
    with connect_page(shared) as page:
        assert next_message(page, "hello")["commands"] == ["pause", "resume"]
        assert any(card["name"] == "changing" for card in next_message(page, "snapshot")["cards"])
        shared.apply([scene.speaker("Alice", 2.0)])
        delta = next_message(page, "delta")
        assert [card["speaker"]["name"] for card in delta["cards"]] == ["Alice"]


def test_watched_stream_gives_its_detail_and_then_the_changes(shared: RunningDashboard) -> None:
    scene = Scene("watched")
    shared.apply([scene.stream(), *scene.turn(1, "S1", 0.0, 3.0, label="happy")])
    with connect_page(shared) as page:
        page.send('{"watch": "floor/watched"}')
        first = next_message(page, "detail")
        assert first["whole"]
        assert [turn["speaker"] for turn in first["turns"]] == ["S1"]
        shared.apply(scene.turn(2, "S2", 3.0, 5.0, label="sad"))
        second = next_message(page, "detail")
        assert (second["whole"], [turn["speaker"] for turn in second["turns"]]) == (False, ["S2"])


def test_commands_are_executed_or_rejected(shared: RunningDashboard) -> None:
    with connect_page(shared) as page:
        page.send('{"command": "pause", "source": "desk", "id": "7"}')
        assert next_message(page, "reply")["reply"] == {
            "id": "7", "command": "pause", "ok": True, "result": {"source": "desk", "state": "paused"}, "error": None,
        }  # fmt: skip
        page.send('{"command": "enroll", "source": "desk", "name": "x", "id": "8"}')
        assert "not allowed" in next_message(page, "reply")["reply"]["error"]
        page.send('{"command": "dance", "id": "9"}')
        assert not next_message(page, "reply")["reply"]["ok"]
    assert ("pause", "desk") in shared.pipeline.commands


def test_read_only_dashboard_rejects_commands() -> None:
    with RunningDashboard() as dashboard:

        async def detach() -> None:
            dashboard.page.feed.set_capabilities(PageCapabilities())

        dashboard.do(detach)
        with connect_page(dashboard) as page:
            assert next_message(page, "hello")["commands"] == []
            page.send('{"command": "pause", "source": "desk", "id": "7"}')
            reply = next_message(page, "reply")["reply"]
            assert (reply["id"], reply["ok"], reply["error"]) == ("7", False, "this dashboard is read-only")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("nonsense", 1003),
        (b"\x00binary", 1003),
        ("[]", 1003),
        ("7", 1003),
        ("[" * 4_000, 1003),
        ('{"watch": "' + "x" * MAX_MESSAGE_LENGTH + '"}', 1009),
    ],
)
def test_invalid_messages_close_their_page_only(shared: RunningDashboard, message: str | bytes, code: int) -> None:
    with connect_page(shared) as other, connect_page(shared) as page:
        next_message(other, "snapshot")
        page.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            next_message(page, "no such message")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code
        shared.apply([Scene("unmoved").stream()])
        assert next_message(other, "delta")


def test_invalid_watches_are_ignored(shared: RunningDashboard) -> None:
    with connect_page(shared) as page:
        for watch in (7, ["x"], {"a": 1}, True, "no such stream", None):
            page.send(json.dumps({"watch": watch}))
        shared.apply([Scene("still").stream()])
        assert next_message(page, "snapshot")


def test_a_page_that_floods_with_messages_is_disconnected(shared: RunningDashboard) -> None:
    with connect_page(shared) as flooding, connect_page(shared) as other:
        next_message(other, "snapshot")
        with pytest.raises(ConnectionClosed, match="too many messages"):  # noqa: PT012 - sending may fail as well
            for _ in range(2 * MAX_MESSAGES):
                flooding.send(json.dumps({"alert": "a1", "action": "note", "value": "x"}))
            while True:
                flooding.recv(timeout=20)
        shared.apply([Scene("calm").stream()])
        assert next_message(other, "delta")


def test_foreign_origins_and_hosts_are_rejected(shared: RunningDashboard) -> None:
    for headers in ({"Origin": "https://other.example"}, {"Origin": "null"}):
        with pytest.raises(InvalidStatus) as rejected:
            connect_page(shared, additional_headers=headers)
        assert rejected.value.response.status_code == 403
    status, _, _ = get(shared.url, {"Host": "other.example"})
    assert status == 421
    with connect_page(shared, origin=shared.url.rstrip("/")) as page:
        assert next_message(page, "hello")


def test_every_response_has_the_security_headers(shared: RunningDashboard) -> None:
    for path in ("", "static/main.js", "static/nothing.js", "nothing"):
        _, headers, _ = get(shared.url + path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert get(shared.url + "static/..%2fserver.py")[0] == 404


def test_all_files_of_the_page_are_small() -> None:
    assert sum(file.stat().st_size for file in STATIC.rglob("*") if file.is_file()) < 200_000


def test_pages_beyond_the_limit_are_rejected(shared: RunningDashboard) -> None:
    with ExitStack() as pages:
        for _ in range(MAX_PAGES):
            next_message(pages.enter_context(connect_page(shared)), "snapshot")
        with connect_page(shared) as late, pytest.raises(ConnectionClosed, match="page limit reached"):
            late.recv(timeout=20)


def test_token_is_required_where_one_is_set() -> None:
    with RunningDashboard(token=TOKEN) as dashboard:
        status, _, body = get(dashboard.url)
        assert (status, "token" in body) == (401, True)
        assert get(dashboard.url + "?token=" + urllib.parse.quote(TOKEN))[0] == 401  # addresses end up in logs
        with pytest.raises(InvalidStatus):
            connect_page(dashboard)
        with connect_page(dashboard, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as page:
            assert next_message(page, "hello")
        jar = urllib.request.HTTPCookieProcessor()
        browser = urllib.request.build_opener(jar)
        form = urllib.parse.urlencode({"token": TOKEN}).encode()
        with browser.open(dashboard.url + "enter", form, timeout=20) as answer:
            assert (answer.status, answer.url) == (200, dashboard.url)  # at an address without the token
            assert "main.js" in answer.read().decode()
        cookie = next(iter(jar.cookiejar))
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "strict"
        dashboard.restart()  # the cookie stays valid
        with connect_page(dashboard, additional_headers={"Cookie": f"{cookie.name}={cookie.value}"}) as page:
            assert next_message(page, "hello")


def test_page_that_does_not_read_delays_nothing_and_takes_no_memory(shared: RunningDashboard) -> None:
    """It is sent nothing more until it reads; then it receives the newest state once."""
    calls = [Scene(f"busy-{number}") for number in range(100)]
    port = int(shared.url.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as idle_page, connect_page(shared) as reader:
        idle_page.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        idle_page.sendall(
            b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        next_message(reader, "snapshot")
        for round_number in range(1, 25):
            shared.apply(scene.speaker(f"S{round_number % 7}", round_number) for scene in calls)
            seen = next_message(reader, "delta")
            assert seen["cards"]
        buffered = shared.do(lambda: _buffered_bytes(shared))
        assert buffered < 2_000_000  # one message, not those of two dozen rounds


async def _buffered_bytes(shared: RunningDashboard) -> int:
    await asyncio.sleep(0)
    server = shared.page.http_server._server
    assert server is not None
    return max(one.transport.get_write_buffer_size() for one in server.server_state.connections)


def test_burst_of_events_is_sent_as_its_last_state(shared: RunningDashboard) -> None:
    scene = Scene("burst")
    shared.apply([scene.stream()])
    with connect_page(shared) as page:
        next_message(page, "snapshot")
        shared.apply(scene.speaker(f"S{number}", number / 10) for number in range(1, 500))
        last = ""
        messages = 0
        while last != "S499":
            messages += 1
            last = next_message(page, "delta")["cards"][-1]["speaker"]["name"]
    assert messages <= 3


def test_port_in_use_is_reported(shared: RunningDashboard) -> None:
    port = int(shared.url.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(ListenError, match=r"choose another dashboard\.port"),
        RunningDashboard(port=port),
    ):
        pass


def test_snapshot_of_two_hundred_cards_is_small() -> None:
    with RunningDashboard() as dashboard:
        for number in range(200):
            dashboard.apply(phone_call(f"desk-{number}", number, length_s=30))
        with connect_page(dashboard, max_size=None) as page:
            text = ""
            while '"snapshot"' not in text:
                text = str(page.recv(timeout=20))
    assert len(text) < 300_000
