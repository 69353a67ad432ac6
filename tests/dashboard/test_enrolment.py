"""The enrol button on the page of a running node: the voice is stored and recognised afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.sync_api import expect

from stream.profiles.store import read_profiles
from tests.support.browser import OpenPage
from tests.support.dashboard import RunningDashboard
from tests.support.node import EnrolmentNode, ScriptedSource

pytestmark = pytest.mark.slow


def test_current_speaker_of_a_running_node_is_enrolled(
    dashboard: RunningDashboard, open_page: OpenPage, tmp_path: Path
) -> None:
    path = tmp_path / "profiles.sqlite"
    node, enrolled, finished = EnrolmentNode(path), asyncio.Event(), asyncio.Event()

    async def start() -> asyncio.Task[object]:
        source = ScriptedSource("aaaaaa", enrolled.wait, "aaa", finished.wait)
        await node.assemble(source, sinks={"dashboard": dashboard.page.sink()})
        dashboard.page.attach(node.pipeline, handlers=node.registrar.handlers)
        return asyncio.create_task(node.pipeline.run())

    async def go_on() -> None:
        enrolled.set()

    async def finish() -> None:
        finished.set()
        await running

    running = dashboard.do(start)
    page = open_page(dashboard, "#/stream/floor%2Froom")
    expect(page.locator(".speaker-name").first).to_have_text("S1")
    page.get_by_role("button", name="Enrol this voice").click()
    dialog = page.get_by_role("dialog", name="Enrol S1")
    dialog.get_by_label("Name").fill("S2")
    dialog.get_by_role("button", name="Enrol").click()
    expect(dialog).to_contain_text("reserved for voices discovered in a stream")
    dialog.get_by_label("Name").fill("Alice")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("Enrolled S1 as Alice")
    assert [profile.name for profile in read_profiles(path)] == ["Alice"]
    dashboard.do(go_on)
    expect(page.locator(".speaker-name").first).to_have_text("Alice")
    dashboard.do(finish)
