"""What viewers, supervisors and admins see and may do on the dashboard, and the log of what they did."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect

from stream.app.alert_commands import alert_handlers
from stream.calls.current_alerts import CurrentAlerts
from stream.dashboard.changes import ChangeRecord
from stream.settings import AlertsSettings
from tests.dashboard.scenes import Scene
from tests.support.browser import OpenPage
from tests.support.dashboard import RunningDashboard

pytestmark = pytest.mark.slow

TOKENS = {"admin": "the token of admins", "supervisor": "the supervisors' token", "viewer": "the viewers' token"}
ROLE_TOKENS = {"supervisor_token": TOKENS["supervisor"], "viewer_token": TOKENS["viewer"], "change_days": 1}


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A dashboard with tokens of all roles and an alert, whose changes are kept."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))

    async def enroll(_: object) -> dict[str, object]:
        return {}

    rule = {"name": "loud", "field": "emotion.arousal", "comparison": ">", "value": 0.8}
    alerts = CurrentAlerts(AlertsSettings.model_validate({"rules": [rule]}))
    handlers = {"enroll": enroll, **alert_handlers(alerts)}
    options: dict[str, Any] = {"handlers": handlers, "alerts": alerts, "microphone": "/v1/stream"}
    with RunningDashboard(token=TOKENS["admin"], more=ROLE_TOKENS, **options) as running:
        scene = Scene("desk", call=True)
        running.apply([scene.stream(party="customer"), scene.alert("a1", "anger", 9.0)])
        yield running


def asked(dashboard: RunningDashboard, role: str, *messages: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return the first message of a page of that role, and the errors of its messages."""
    headers = {"Authorization": f"Bearer {TOKENS[role]}"}
    with connect(dashboard.url.replace("http", "ws") + "live", proxy=None, additional_headers=headers) as page:
        received = [json.loads(page.recv(timeout=20))]
        for number, message in enumerate(messages):
            page.send(json.dumps({**message, "id": str(number)}))
        errors: list[Any] = []
        while len(errors) < len(messages):
            message = json.loads(page.recv(timeout=20))
            errors += [message["reply"]["error"]] if message["t"] == "reply" else []
        return received[0], errors


PAUSE = {"command": "pause", "source": "desk"}
ENROLL = {"command": "enroll", "source": "desk", "name": "Grace"}


def alert_of(dashboard: RunningDashboard) -> dict[str, str]:
    (alert,) = dashboard.page.feed.alerts.since(0)
    return {"alert": alert.id, "action": "acknowledge"}


def test_roles_decide_what_is_seen_and_done(guarded: RunningDashboard) -> None:
    messages = (PAUSE, ENROLL, alert_of(guarded))
    hello, errors = asked(guarded, "viewer", *messages)
    assert (hello["role"], hello["signed_in"], hello["commands"], hello["microphone"]) == ("viewer", True, [], None)
    assert "settings" not in hello["about"]
    assert all("a viewer may not" in error for error in errors)
    assert guarded.pipeline.commands == []
    hello, errors = asked(guarded, "supervisor", *messages)
    assert (hello["commands"], hello["microphone"]) == (["pause", "resume", "set_alert"], "/v1/stream")
    assert (errors[0], errors[2]) == (None, None)
    assert "may not send 'enroll'" in errors[1]
    hello, errors = asked(guarded, "admin", *messages)
    assert hello["commands"] == ["pause", "resume", "enroll", "set_alert"]
    assert hello["about"]["settings"]["dashboard"]["viewer_token"].strip("*") == ""
    assert errors == [None, None, None]


def exported(dashboard: RunningDashboard, role: str, path: str) -> tuple[int, str]:
    request = urllib.request.Request(dashboard.url + path, headers={"Authorization": f"Bearer {TOKENS[role]}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_every_change_is_in_the_log_for_admins(guarded: RunningDashboard) -> None:
    asked(guarded, "viewer", PAUSE)
    asked(guarded, "supervisor", alert_of(guarded))
    status, text = exported(guarded, "admin", "changes.ndjson")
    changes = [ChangeRecord.model_validate_json(line) for line in text.splitlines()]
    assert status == 200
    assert [(one.role, one.address, one.action, bool(one.error)) for one in changes] == [
        ("supervisor", "127.0.0.1", "acknowledge", False),
        ("viewer", "127.0.0.1", "pause", True),
    ]
    assert json.loads(changes[1].detail) == {"source": "desk"}
    for role in ("viewer", "supervisor"):
        assert exported(guarded, role, "changes.ndjson")[0] == 403
    assert exported(guarded, "viewer", "calls.csv")[0] == 403


def test_a_viewer_sees_no_buttons_and_can_sign_out(guarded: RunningDashboard, open_page: OpenPage) -> None:
    page = open_page(guarded, unauthorized=True)
    page.get_by_label("Access token").fill(TOKENS["viewer"])
    page.get_by_role("button", name="Enter").click()
    page.get_by_role("link", name="Alerts").click()
    expect(page.locator("ol.alerts li")).to_have_count(1)
    expect(page.get_by_role("button", name="Snooze")).to_have_count(0)
    page.get_by_role("button", name="Sign out (viewer)").click()
    page.get_by_label("Access token").fill(TOKENS["supervisor"])
    page.get_by_role("button", name="Enter").click()
    page.get_by_role("link", name="Alerts").click()
    expect(page.get_by_role("button", name="Snooze")).to_have_count(1)


def test_a_supervisor_sets_a_condition_which_every_page_gets(guarded: RunningDashboard, open_page: OpenPage) -> None:
    page = open_page(guarded, f"#token={TOKENS['supervisor']}", unauthorized=True)
    page.get_by_role("link", name="Alerts").click()
    page.get_by_text("Conditions").click()
    silence = page.get_by_label("Silence that raises")
    expect(silence).to_have_value("10")
    silence.fill("25")
    silence.press("Enter")
    expect(page.locator("#toast")).to_contain_text("dead_air_s is 25")
    capabilities = guarded.page.feed.capabilities
    assert capabilities.alerts is not None
    assert capabilities.alerts.settings.dead_air_s == 25
    silence.fill("-1")
    silence.press("Enter")
    expect(page.locator("#toast")).to_contain_text("cannot set 'dead_air_s'")
    expect(silence).to_have_value("25")
    page.get_by_label("loud enabled").uncheck()
    expect(page.locator("#toast")).to_contain_text("loud is disabled")
    assert not capabilities.alerts.settings.rules[0].enabled
