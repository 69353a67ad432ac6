"""Recordings pass the pipeline of live audio, and their events are returned in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.errors import SourceError
from stream.events import NODE
from stream.tools.evaluation import runner
from stream.tools.evaluation.runner import EvaluationRunner, read_samples
from tests.support.tones import tone, wav

Maker = Callable[..., EvaluationRunner]


def test_events_come_in_the_order_of_the_recordings(
    make_runner: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MAX_CONCURRENT_RECORDINGS", 2)
    lengths = (5.0, 2.0, 3.0)
    paths = [wav(tmp_path / f"{at}.wav", tone(300, length)) for at, length in enumerate(lengths)]
    steps: list[int] = []
    found, reports = make_runner("speaker", "emotion").run(paths, progress=lambda: steps.append(1))
    assert len(reports) == 2
    assert len(steps) == 3
    for events, length in zip(found, lengths, strict=True):
        assert {event.type for event in events} == {"speaker", "emotion", "turn", "stream"}
        assert events[-1].end_s == pytest.approx(length, abs=0.01)
        assert [event.seq for event in events] == list(range(len(events)))
        assert NODE not in {event.source for event in events}


@pytest.mark.slow
def test_a_file_without_audio_is_named(make_runner: Maker, tmp_path: Path) -> None:
    valid, invalid = wav(tmp_path / "valid.wav", tone(300, 2.0)), tmp_path / "invalid.wav"
    invalid.write_text("hello")
    for call in (lambda: make_runner("speaker").run([valid, invalid]), lambda: read_samples(invalid)):
        with pytest.raises(SourceError, match=r"cannot read audio from .*invalid\.wav"):
            call()
    with pytest.raises(SourceError, match="no such file"):
        read_samples(tmp_path / "absent.wav")


def test_samples_are_mono_at_16_khz(tmp_path: Path) -> None:
    both = np.stack((tone(300, 2.0), np.zeros(32_000, np.float32)), axis=1)
    soundfile.write(tmp_path / "stereo.wav", np.repeat(both, 3, axis=0), 48_000)
    found = read_samples(tmp_path / "stereo.wav")
    assert found.shape == (32_000,)
    assert np.abs(found).max() == pytest.approx(0.25, abs=0.05)


def test_enrolled_people_are_recognised(make_runner: Maker, tmp_path: Path) -> None:
    evaluation_runner = make_runner("speaker")
    assert evaluation_runner.enrol({}) == []
    voices = evaluation_runner.enrol({"ann": str(wav(tmp_path / "ann.wav", tone(300, 5.0)))})
    assert [(voice.name, voice.enrolled) for voice in voices] == [("ann", True)]
    events, _ = evaluation_runner.run([wav(tmp_path / "talk.wav", tone(300, 5.0, seed=4))], enrolled=voices)
    assert {event.speaker for event in events[0] if event.type == "turn"} == {"ann"}
