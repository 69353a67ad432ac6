"""Guided enrolment at a microphone: when it ends, what it shows, and what it rejects."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from stream.app import registry
from stream.errors import EnrolmentRefused, SourceError
from stream.profiles.enrolment_audio import EnrolmentAudio
from stream.tools.enrolment import enrolment, guide
from stream.types import SAMPLE_RATE_HZ, AudioFormat, Block, Interruption, Samples
from tests.support.fakes import FakeSource
from tests.support.tones import tone
from tests.tools.enrolment.models import ToneEnrolmentModels

MakeMicrophone = Callable[..., guide.MicrophoneEnrolment]


@pytest.fixture
def make_microphone(monkeypatch: pytest.MonkeyPatch) -> MakeMicrophone:
    """Make a microphone that delivers the given audio and interruptions, as fast as they are read."""

    def make(*parts: Samples | Interruption, terminal: bool = False) -> guide.MicrophoneEnrolment:
        blocks: list[Block | Interruption] = []
        start = 0
        for part in parts:
            if isinstance(part, Interruption):
                blocks.append(part)
                continue
            for samples in np.split(part, range(8_000, len(part), 8_000)):
                blocks.append(Block("microphone", start, samples[:, None]))
                start += len(samples)
        source = FakeSource(blocks, source_id="microphone", live=True, audio_format=AudioFormat(SAMPLE_RATE_HZ, 1))
        monkeypatch.setattr(registry, "source", lambda settings: source)  # noqa: ARG005
        console = Console(record=True, force_terminal=terminal, width=100, file=io.StringIO())
        return guide.MicrophoneEnrolment(console=console)

    return make


def pushed(samples: Samples) -> EnrolmentAudio:
    audio = ToneEnrolmentModels().new_audio(SAMPLE_RATE_HZ)
    audio.push(samples[:, None])
    return audio


def test_it_ends_once_there_is_enough_speech(make_microphone: MakeMicrophone) -> None:
    source = make_microphone(tone(400, 30.0, level=0.3), terminal=True)
    (take,) = asyncio.run(source.record(ToneEnrolmentModels()))
    assert guide.WANTED_SPEECH_S <= take.audio.speech_s < guide.WANTED_SPEECH_S + 2
    assert (take.kind, take.origin) == ("microphone", "default")
    assert "Read this aloud" in source._console.export_text()


def test_it_ends_after_silence_and_gives_the_reason(make_microphone: MakeMicrophone) -> None:
    silence = np.zeros(SAMPLE_RATE_HZ * 90, np.float32)
    (take,) = asyncio.run(make_microphone(silence).record(ToneEnrolmentModels()))
    with pytest.raises(EnrolmentRefused, match=r"nothing was stored: 0\.0 s of speech"):
        enrolment.require_quality([take], ToneEnrolmentModels())


def test_a_lost_microphone_stores_nothing(make_microphone: MakeMicrophone, tmp_path: Path) -> None:
    database = tmp_path / "profiles.sqlite"
    source = make_microphone(tone(400, 2.0), Interruption("microphone", "stalled", "the device was unplugged"))
    with pytest.raises(SourceError, match="the microphone is gone"):
        enrolment.enrol("Al", source, models=ToneEnrolmentModels(), path=database, note=None)
    assert not database.exists()


def test_current_issues_are_shown() -> None:
    assert guide.current_issues(pushed(np.zeros(SAMPLE_RATE_HZ, np.float32))).plain == "speak now"
    voiced = pushed(tone(400, 3.0, level=0.3))
    assert guide.current_issues(voiced).plain in ("ok", "clipping")
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(guide.render(voiced))
    assert "of 10 s" in console.export_text()
