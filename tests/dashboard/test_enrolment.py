"""The button that names a voice, on a page of a running node: pressed, stored, and told from then on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.sync_api import expect

from stream.profiles.store import read_profiles
from tests.dashboard.stage import Stage
from tests.support.browser import Visit
from tests.support.node import EnrolmentNode, ScriptedSource


def test_the_current_speaker_of_a_running_node_is_enrolled(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "profiles.sqlite"
    node, named, seen = EnrolmentNode(path), asyncio.Event(), asyncio.Event()

    async def begin() -> asyncio.Task[object]:
        script = ScriptedSource("aaaaaa", named.wait, "aaa", seen.wait)
        await node.assemble(script, sinks={"page": stage.page.sink()})
        stage.page.control(node.pipeline, handlers=node.registrar.handlers)
        return asyncio.create_task(node.pipeline.run())

    async def go_on() -> None:
        named.set()

    async def end() -> None:
        seen.set()
        await running

    with Stage() as stage:
        running = stage.do(begin)
        page = visit(stage, "#/stream/floor%2Froom")
        expect(page.locator(".who-name").first).to_have_text("S1")
        page.get_by_role("button", name="Name this voice").click()
        dialog = page.get_by_role("dialog", name="Who is S1?")
        dialog.get_by_label("Name").fill("S2")
        dialog.get_by_role("button", name="Enrol").click()
        expect(dialog).to_contain_text("reserved for voices discovered in a stream")
        dialog.get_by_label("Name").fill("Alice")
        page.keyboard.press("Enter")
        expect(page.locator("#toast")).to_contain_text("S1 is Alice from now on")
        assert [profile.name for profile in read_profiles(path)] == ["Alice"]
        stage.do(go_on)
        expect(page.locator(".who-name").first).to_have_text("Alice")
        stage.do(end)
