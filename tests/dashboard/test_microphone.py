"""Chromium's fake microphone plays a file into the page; the node reports its speakers and turns."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from playwright.sync_api import expect

from stream.demo.conversation import AUDIO
from tests.support.browser import Driver, chromium
from tests.support.small_models import TINY

pytestmark = pytest.mark.slow

PLAYED_S = ((0.0, 4.85), (50.63, 55.2))
"""The demo's first turn of Alice and last of Bob. The browser starts at a random place, and windows with it; the small
nets tell these two apart at every place."""

TURNS_S = ((0.6, 4.6), (5.1, 9.12))


@pytest.mark.long
def test_microphone_of_a_browser(tmp_path: Path, driver: Driver) -> None:
    demo, rate_hz = soundfile.read(AUDIO, dtype="float32")
    audio = np.concatenate([demo[int(start_s * rate_hz) : int(end_s * rate_hz)] for start_s, end_s in PLAYED_S])
    silence = np.zeros(48_000 * 60, np.float32)  # the fake microphone repeats its file
    played = np.concatenate([soxr.resample(audio, rate_hz, 48_000), silence])
    soundfile.write(tmp_path / "microphone.wav", played, 48_000, subtype="PCM_16")
    program = Path(sys.executable).with_name("tonewatch")
    command = [str(program), "dashboard", "--port", "0", "--quiet", *TINY, "--sink", str(tmp_path / "events.ndjson")]
    node = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert node.stderr is not None
        address = re.search(r"http://\S+", node.stderr.readline())
        assert address is not None
        with driver.entered() as playwright:
            fake = [
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={tmp_path}/microphone.wav",
            ]
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *fake])
            page = browser.new_context(permissions=["microphone"]).new_page()
            page.set_default_timeout(60_000)
            page.goto(address[0])
            page.get_by_role("button", name="Microphone").click()  # shown once the models are loaded
            dialog = page.get_by_role("dialog")
            dialog.get_by_label("Name of the stream").fill("desk")
            dialog.get_by_role("button", name="Start").click()
            page.locator(".card", has_text="desk").click()
            expect(page.locator(".lane-name")).to_have_text(["S1", "S2"])
            expect(page.locator(".speaker-name").first).to_have_text("Silence")  # after the speech in the file
            page.get_by_role("button", name="Stop microphone").click()
            expect(page.locator(".head")).to_contain_text("hung up after")
            browser.close()
    finally:
        node.send_signal(signal.SIGTERM)
        node.communicate(timeout=30)
    events = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    turns = [one for one in events if one["type"] == "turn" and one["phase"] == "end"]
    assert [turn["speaker"] for turn in turns] == ["S1", "S2"]
    offset_s = turns[0]["start_s"] - TURNS_S[0][0]  # the browser starts a moment before or after the file
    assert abs(offset_s) < 1.0
    for turn, (start_s, end_s) in zip(turns, TURNS_S, strict=True):
        assert turn["start_s"] == pytest.approx(start_s + offset_s, abs=0.6)
        assert turn["end_s"] == pytest.approx(end_s + offset_s, abs=0.6)
