"""Chromium's fake microphone plays a file into the page; the right people and turns come back."""

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
from playwright.sync_api import Playwright, expect

from stream.demo.conversation import AUDIO
from tests.support.browser import chromium

HEARD_S = ((0.0, 4.1), (7.7, 11.9))
"""The demo's turns of Alice and of Callum. When a browser begins to listen is chance, and so is where windows begin;
Bob's made voice is so near to Alice's that from some places on they are taken for one."""

TRUTH = ((0.6, 3.694), (4.275, 8.04))


@pytest.mark.slow
def test_a_browsers_microphone_is_heard_like_any_other(tmp_path: Path, player: Playwright) -> None:
    demo, rate_hz = soundfile.read(AUDIO, dtype="float32")
    sound = np.concatenate([demo[int(start_s * rate_hz) : int(end_s * rate_hz)] for start_s, end_s in HEARD_S])
    loud = np.concatenate(
        [soxr.resample(sound, rate_hz, 48_000), np.zeros(48_000 * 60, np.float32)]
    )  # it would begin anew
    soundfile.write(tmp_path / "microphone.wav", loud, 48_000, subtype="PCM_16")
    program = Path(sys.executable).with_name("tonewatch")
    command = [str(program), "dashboard", "--port", "0", "--quiet", "--sink", str(tmp_path / "events.ndjson")]
    node = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert node.stderr is not None
        address = re.search(r"http://\S+", node.stderr.readline())
        assert address is not None
        fake = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={tmp_path}/microphone.wav"]
        browser = player.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *fake])
        page = browser.new_context(permissions=["microphone"]).new_page()
        page.set_default_timeout(60_000)
        page.goto(address[0])
        page.get_by_role("button", name="Microphone").click()  # it is there once the models are
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name of the stream").fill("desk")
        dialog.get_by_role("button", name="Listen").click()
        page.locator(".card", has_text="desk").click()
        expect(page.locator(".lane-name")).to_have_text(["S1", "S2"])
        expect(page.locator(".who-name").first).to_have_text("Nobody")  # the file is over
        page.get_by_role("button", name="Stop microphone").click()
        expect(page.locator(".head")).to_contain_text("ended after")
        browser.close()
    finally:
        node.send_signal(signal.SIGTERM)
        node.communicate(timeout=30)
    told = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    turns = [one for one in told if one["type"] == "turn" and one["phase"] == "end"]
    assert [turn["speaker"] for turn in turns] == ["S1", "S2"]
    late_s = turns[0]["start_s"] - TRUTH[0][0]  # the browser begins to listen a moment before or after the file does
    assert abs(late_s) < 1.0
    for turn, (start_s, end_s) in zip(turns, TRUTH, strict=True):
        assert turn["start_s"] == pytest.approx(start_s + late_s, abs=0.6)
        assert turn["end_s"] == pytest.approx(end_s + late_s, abs=0.6)
