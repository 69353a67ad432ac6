"""The server as a browser, a stranger and a sluggard meet it."""

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

from stream.dashboard.server import LARGEST_MESSAGE, MOST_PAGES, STATIC
from stream.errors import ListenError
from tests.dashboard.scenes import Scene, telephone
from tests.dashboard.stage import Stage

TOKEN = "a long enough token"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as opened:
        yield opened


def live(stage: Stage, **more: Any) -> ClientConnection:
    opened: ClientConnection = connect(stage.url.replace("http", "ws") + "live", proxy=None, **more)
    return opened


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
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, {k.lower(): v for k, v in refusal.headers.items()}, refusal.read().decode()


def test_a_page_is_told_everything_and_then_what_changed(stage: Stage) -> None:
    scene = Scene("changing")
    stage.tell([scene.stream()])
    with live(stage) as page:
        assert next_message(page, "hello")["commands"] == ["pause", "resume"]
        assert any(card["name"] == "changing" for card in next_message(page, "snapshot")["cards"])
        stage.tell([scene.speaker("Alice", 2.0)])
        delta = next_message(page, "delta")
        assert [card["who"]["name"] for card in delta["cards"]] == ["Alice"]


def test_a_stream_that_is_looked_at_is_told_in_detail_and_then_only_what_is_new(stage: Stage) -> None:
    scene = Scene("watched")
    stage.tell([scene.stream(), *scene.turn(1, "S1", 0.0, 3.0, label="happy")])
    with live(stage) as page:
        page.send('{"watch": "floor/watched"}')
        first = next_message(page, "detail")
        assert first["whole"]
        assert [turn["who"] for turn in first["turns"]] == ["S1"]
        stage.tell(scene.turn(2, "S2", 3.0, 5.0, label="sad"))
        second = next_message(page, "detail")
        assert (second["whole"], [turn["who"] for turn in second["turns"]]) == (False, ["S2"])


def test_commands_are_carried_out_or_refused_in_words(stage: Stage) -> None:
    with live(stage) as page:
        page.send('{"command": "pause", "source": "desk", "id": "7"}')
        assert next_message(page, "reply")["reply"] == {
            "id": "7", "command": "pause", "ok": True, "result": {"source": "desk", "state": "paused"}, "error": None,
        }  # fmt: skip
        page.send('{"command": "enroll", "source": "desk", "name": "x", "id": "8"}')
        assert "not allowed" in next_message(page, "reply")["reply"]["error"]
        page.send('{"command": "dance", "id": "9"}')
        assert not next_message(page, "reply")["reply"]["ok"]
    assert ("pause", "desk") in stage.run.asked


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("nonsense", 1003),
        ("[]", 1003),
        ("7", 1003),
        ("[" * 4_000, 1003),
        ('{"watch": "' + "x" * LARGEST_MESSAGE + '"}', 1009),
    ],
)
def test_a_page_that_talks_nonsense_is_let_go_and_others_are_not(stage: Stage, message: str, code: int) -> None:
    with live(stage) as other, live(stage) as page:
        next_message(other, "snapshot")
        page.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            next_message(page, "a farewell that never comes")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code
        stage.tell([Scene("unmoved").stream()])
        assert next_message(other, "delta")


def test_strange_watches_do_no_harm(stage: Stage) -> None:
    with live(stage) as page:
        for watch in (7, ["x"], {"a": 1}, True, "no such stream", None):
            page.send(json.dumps({"watch": watch}))
        stage.tell([Scene("still").stream()])
        assert next_message(page, "snapshot")


def test_strange_origins_and_hosts_are_refused(stage: Stage) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}):
        with pytest.raises(InvalidStatus) as refusal:
            live(stage, additional_headers=headers)
        assert refusal.value.response.status_code == 403
    status, _, _ = get(stage.url, {"Host": "evil.example"})
    assert status == 421
    with live(stage, origin=stage.url.rstrip("/")) as page:
        assert next_message(page, "hello")


def test_every_answer_carries_the_policy(stage: Stage) -> None:
    for path in ("", "static/main.js", "static/nothing.js", "nothing"):
        _, headers, _ = get(stage.url + path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert get(stage.url + "static/..%2fserver.py")[0] == 404


def test_all_that_a_page_can_load_is_light() -> None:
    assert sum(file.stat().st_size for file in STATIC.rglob("*") if file.is_file()) < 200_000


def test_too_many_pages_are_told_so(stage: Stage) -> None:
    with ExitStack() as pages:
        for _ in range(MOST_PAGES):
            next_message(pages.enter_context(live(stage)), "snapshot")
        with live(stage) as late, pytest.raises(ConnectionClosed, match="pages are open"):
            late.recv(timeout=20)


def test_with_a_token_nothing_is_shown_without_it() -> None:
    with Stage(token=TOKEN) as stage:
        status, _, body = get(stage.url)
        assert (status, "token" in body) == (401, True)
        assert get(stage.url + "?token=" + urllib.parse.quote(TOKEN))[0] == 401  # addresses end up in logs
        with pytest.raises(InvalidStatus):
            live(stage)
        with live(stage, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as page:
            assert next_message(page, "hello")
        jar = urllib.request.HTTPCookieProcessor()
        browser = urllib.request.build_opener(jar)
        form = urllib.parse.urlencode({"token": TOKEN}).encode()
        with browser.open(stage.url + "enter", form, timeout=20) as answer:
            assert (answer.status, answer.url) == (200, stage.url)  # back at an address without the token
            assert "main.js" in answer.read().decode()
        cookie = next(iter(jar.cookiejar))
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "strict"
        stage.restart()  # the pass outlives the server
        with live(stage, additional_headers={"Cookie": f"{cookie.name}={cookie.value}"}) as page:
            assert next_message(page, "hello")


def test_a_page_that_reads_nothing_holds_nobody_up_and_costs_no_memory(stage: Stage) -> None:
    """It is told nothing more until it reads; then it is told the newest, once."""
    calls = [Scene(f"busy-{number}") for number in range(100)]
    port = int(stage.url.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sluggard, live(stage) as reader:
        sluggard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sluggard.sendall(
            b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        next_message(reader, "snapshot")
        for round_number in range(1, 25):
            stage.tell(scene.speaker(f"S{round_number % 7}", round_number) for scene in calls)
            seen = next_message(reader, "delta")
            assert seen["cards"]
        held = stage.do(lambda: _waiting(stage))
        assert held < 2_000_000  # what the transport holds: one message, not two dozen rounds of them


async def _waiting(stage: Stage) -> int:
    await asyncio.sleep(0)
    server = stage.page.site._server
    assert server is not None
    return max(one.transport.get_write_buffer_size() for one in server.server_state.connections)


def test_a_burst_is_told_as_its_last_state(stage: Stage) -> None:
    scene = Scene("burst")
    stage.tell([scene.stream()])
    with live(stage) as page:
        next_message(page, "snapshot")
        stage.tell(scene.speaker(f"S{number}", number / 10) for number in range(1, 500))
        last = ""
        messages = 0
        while last != "S499":
            messages += 1
            last = next_message(page, "delta")["cards"][-1]["who"]["name"]
    assert messages <= 3


def test_a_port_that_is_taken_is_refused_in_a_sentence(stage: Stage) -> None:
    port = int(stage.url.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(ListenError, match=r"choose another dashboard\.port"),
        Stage(port=port),
    ):
        pass


def test_two_hundred_streams_are_told_in_few_bytes() -> None:
    with Stage() as full:
        for number in range(200):
            full.tell(telephone(f"desk-{number}", number, length_s=30))
        with live(full, max_size=None) as page:
            text = ""
            while '"snapshot"' not in text:
                text = str(page.recv(timeout=20))
    assert len(text) < 300_000
