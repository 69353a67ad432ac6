"""With segmentation the speaker model gets the parts in which one person speaks alone, and is asked less often."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings
from stream.types import Block, Model, Scores, Task, Window, WindowSpec
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink

pytestmark = pytest.mark.slow

SAMPLES = 16_000 * 12
AUDIO = (np.random.default_rng(5).permutation(SAMPLES)[:, None] / SAMPLES - 0.5).astype(np.float32)
"""Every sample has its own value, so that samples can be told apart."""

POSITIONS = {value: at for at, value in enumerate(AUDIO[:, 0].tolist())}

OVERLAPPED = range(16_000 * 4, 16_000 * 5)


class FakeSegmentation(FakeModel):
    """One person speaks throughout, another one in `OVERLAPPED`."""

    def __init__(self) -> None:
        spec = WindowSpec(80_000, 8_000, 16_000, from_onset=False, any_speech=True)
        super().__init__(task=Task.OVERLAP, spec=spec)

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        return [
            replace(score, values=_activity(window)) for window, score in zip(batch, super().infer(batch), strict=True)
        ]


class RecordingSpeaker(FakeModel):
    """Keeps the positions of the samples that it is given, which `AUDIO` tells."""

    def __init__(self) -> None:
        super().__init__(task=Task.SPEAKER)
        self.given: list[np.ndarray] = []

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        self.given += [np.array([POSITIONS[value] for value in window.samples.tolist()]) for window in batch]
        return super().infer(batch)


def _activity(window: Window) -> np.ndarray:
    at = window.start_sample + 320 * np.arange(len(window.samples) // 320)
    second = np.where((at >= OVERLAPPED.start) & (at < OVERLAPPED.stop), 0.9, 0.1)
    return np.stack([np.full(len(at), 0.9), second, np.zeros(len(at))], axis=1).astype(np.float32)


def run(models: Sequence[Model], *, block: int = 4_000, **speakers: float) -> list[str]:
    """Process `AUDIO` with settings of `speakers`; return the states of its speaker events."""
    blocks = [Block("a", start, AUDIO[start : start + block]) for start in range(0, len(AUDIO), block)]
    sink = ListSink()
    pipeline = Pipeline(
        settings=Settings.model_validate({"audio": {"conditioning": False}, "speakers": speakers}),  # samples are known
        sources=[FakeSource(blocks, source_id="a")],
        models=models,
        detector=FakeDetector(),
        sinks={"sink": sink},
    )
    asyncio.run(pipeline.run())
    return [event.state for event in sink.events if event.type == "speaker"]


def test_the_speaker_model_gets_no_overlapped_audio_and_fewer_windows() -> None:
    speaker, alone = RecordingSpeaker(), RecordingSpeaker()
    states = run([FakeSegmentation(), speaker], recheck_s=1.0)
    run([alone])
    assert "overlap" in states
    assert len(speaker.given) < 0.7 * len(alone.given)
    assert all(8_000 <= len(positions) <= 32_000 for positions in speaker.given)
    settled = [positions for positions in speaker.given if positions.max() > OVERLAPPED.stop + 8_000]
    assert settled
    assert not any(OVERLAPPED.start + 640 < at < OVERLAPPED.stop - 640 for at in np.concatenate(settled))


@pytest.mark.long
@pytest.mark.parametrize("interim_s", [0.0, 1.5])
@pytest.mark.parametrize("block", [500, 16_000])
def test_blocks_do_not_change_what_is_embedded(block: int, interim_s: float) -> None:
    expected, tested = RecordingSpeaker(), RecordingSpeaker()
    states = run([FakeSegmentation(), tested], block=block, interim_s=interim_s)
    assert run([FakeSegmentation(), expected], interim_s=interim_s) == states
    assert [positions.tolist() for positions in tested.given] == [positions.tolist() for positions in expected.given]
