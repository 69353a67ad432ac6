"""Tones in place of voices: audio, models and detectors that need no weights, and fixtures that install them.

People differ in pitch (500 Hz apart), emotions in loudness (a quarter of full scale each).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.errors import SettingsError
from stream.models.vad import SileroVad
from stream.settings import Settings
from stream.tools.evaluation.runner import EvaluationRunner
from stream.types import SAMPLE_RATE_HZ, Model, ModelInfo, Samples, Scores, SpeechDetector, Task, Window, WindowSpec
from tests.support.fakes import FakeDetector

EMOTIONS = ("neutral", "happy", "angry", "sad")
IDENTITIES = ("bass", "tenor", "alto", "treble")
BANDS = 64
Loaded = tuple[list[Model], SpeechDetector, Callable[[int], None]]
MakeRunner = Callable[..., EvaluationRunner]


def tone(hz: float, seconds: float, *, level: float = 0.5, seed: int = 0) -> Samples:
    """Return a steady voice: one pitch and a little noise; (n,)."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(seed).normal(size=len(time_s))
    return np.asarray(level * (np.sin(2 * np.pi * hz * time_s) + 0.02 * noise) / 1.1, dtype=np.float32)


def wav(
    path: Path, samples: Samples | None = None, *, rate_hz: int = SAMPLE_RATE_HZ, subtype: str | None = None
) -> Path:
    """Write a recording and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(300, 0.2) if samples is None else samples, rate_hz, subtype=subtype)
    return path


class ToneModel:
    """Recognises pitches (speaker, identity) and loudness (emotion)."""

    def __init__(
        self, task: Task, *, name: str = "", cohort: Samples | None = None, labels: Sequence[str] = ()
    ) -> None:
        classes = tuple(labels) or (EMOTIONS if task is Task.EMOTION else ())
        threshold = 0.5 if task is Task.SPEAKER else None
        self.info = ModelInfo(name or f"tone-{task}", "7", task, classes, threshold, cohort=cohort)
        self.spec = WindowSpec(32_000, 8_000, 8_000)

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        return [
            Scores(
                self.info.name, one.source_id, one.index, one.start_sample, one.end_sample, self._values(one.samples)
            )
            for one in batch
        ]

    def _values(self, samples: Samples) -> Samples:
        if self.info.task is Task.EMOTION:
            loudest = min(int(np.abs(samples).max() * 4), 3)
            values = np.full(4, 0.1)
            values[loudest] = 0.7
            return np.asarray(values, dtype=np.float32)
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        if self.info.task is Task.IDENTITY:
            nearest = int(spectrum.argmax() / len(spectrum) * SAMPLE_RATE_HZ / 2 // 500)
            weights = np.full(len(self.info.labels), 0.01)
            weights[min(nearest, len(weights) - 1)] = 1.0
            return np.asarray(weights / weights.sum(), dtype=np.float32)
        bands = np.array([part.sum() for part in np.array_split(spectrum, BANDS)])
        return np.asarray(bands / np.linalg.norm(bands), dtype=np.float32)


def tone_loader(models: Mapping[Task, Model] | None = None) -> Callable[[Settings], Loaded]:
    """Return a stand-in for `load_models`: a tone model, or one of `models`, for every task with a model name.

    Tones do not overlap: there is none for overlap.
    """

    def load(settings: Settings) -> Loaded:
        found: list[Model] = []
        for task in set(Task) - {Task.OVERLAP}:
            name = getattr(settings.models, task).name
            if name.startswith("absent"):
                raise SettingsError(f"there is no model called {name!r}")
            if name and models is not None and task in models:
                found.append(models[task])
            elif name:
                labels = IDENTITIES if task is Task.IDENTITY else ()
                found.append(ToneModel(task, name=Path(name).name, labels=labels))
        return found, FakeDetector(), lambda _: None

    return load


def tone_loader_with_vad(settings: Settings) -> Loaded:
    """Load tone models with the real speech detector."""
    models, _, thread_setup = tone_loader()(settings)
    return models, SileroVad(), thread_setup


@pytest.fixture
def tone_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation commands load tone models."""
    monkeypatch.setattr("stream.app.assembly.load_models", tone_loader())


@pytest.fixture
def make_runner(tone_models: None) -> MakeRunner:
    """Make an evaluation runner with a tone model for each named task: `make_runner("speaker")`."""
    assert tone_models is None

    def make(*tasks: str) -> EvaluationRunner:
        names = {
            task: {"name": f"tone-{task}" if task in tasks else "", "window_s": 2.0, "hop_s": 0.5}
            for task in ("emotion", "speaker", "identity")
        }
        return EvaluationRunner(Settings.model_validate({"models": names}))

    return make
