"""Ears that need no weights: tones for voices, their loudness for emotions, and events as a stream would tell them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile

from stream.errors import SettingsError
from stream.events import EmotionBody, EmotionEvent, SpeakerBody, SpeakerEvent, TurnBody, TurnEvent
from stream.models.vad import SileroVad
from stream.settings import Settings
from stream.types import SAMPLE_RATE_HZ, Model, ModelInfo, Samples, Scores, SpeechDetector, Task, Window, WindowSpec
from tests.support.fakes import FakeDetector

EMOTIONS = ("neutral", "happy", "angry", "sad")
BANDS = 64
Loaded = tuple[list[Model], SpeechDetector, Callable[[int], None]]


def tone(hz: float, seconds: float, *, level: float = 0.5, seed: int = 0) -> Samples:
    """A steady voice: one pitch and a little noise; (n,)."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(seed).normal(size=len(time_s))
    return np.asarray(level * (np.sin(2 * np.pi * hz * time_s) + 0.02 * noise) / 1.1, dtype=np.float32)


def wav(path: Path, samples: Samples | None = None) -> Path:
    """Write a recording and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(300, 0.2) if samples is None else samples, SAMPLE_RATE_HZ)
    return path


class ToneModel:
    """Tells tones by pitch (people 500 Hz apart), and emotions by loudness (a quarter of full scale each)."""

    def __init__(
        self, task: Task, *, name: str = "", cohort: Samples | None = None, labels: Sequence[str] = ()
    ) -> None:
        known = tuple(labels) or (EMOTIONS if task is Task.EMOTION else ())
        threshold = 0.5 if task is Task.SPEAKER else None
        self.info = ModelInfo(name or f"tone-{task}", "7", task, known, threshold, cohort=cohort)
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
            place = min(int(np.abs(samples).max() * 4), 3)
            values = np.full(4, 0.1)
            values[place] = 0.7
            return np.asarray(values, dtype=np.float32)
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        if self.info.task is Task.IDENTITY:
            place = int(spectrum.argmax() / len(spectrum) * SAMPLE_RATE_HZ / 2 // 500)
            wide = np.full(len(self.info.labels), 0.01)
            wide[min(place, len(wide) - 1)] = 1.0
            return np.asarray(wide / wide.sum(), dtype=np.float32)
        bands = np.array([part.sum() for part in np.array_split(spectrum, BANDS)])
        return np.asarray(bands / np.linalg.norm(bands), dtype=np.float32)


def loader(models: Mapping[Task, Model] | None = None) -> Callable[[Settings], Loaded]:
    """What stands in for `load_models`: a model for every task that is named, told by that name."""

    def load(settings: Settings) -> Loaded:
        found: list[Model] = []
        for task in Task:
            name = getattr(settings.models, task).name
            if name.startswith("absent"):
                raise SettingsError(f"there is no model called {name!r}")
            if name and models is not None and task in models:
                found.append(models[task])
            elif name:
                labels = ("bass", "tenor", "alto", "treble") if task is Task.IDENTITY else ()
                found.append(ToneModel(task, name=Path(name).name, labels=labels))
        return found, FakeDetector(), lambda _: None

    return load


def real_detector(settings: Settings) -> Loaded:
    """Tones, but the real speech gate."""
    models, _, prepare = loader()(settings)
    return models, SileroVad(), prepare


def _envelope(seq: int) -> dict[str, object]:
    return {
        "id": f"s/r/{seq}",
        "session": "s",
        "seq": seq,
        "source": "r",
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "latency_ms": 20.0 + seq,
    }


def speaker_event(end_s: float, name: str | None, *, enrolled: bool = False, state: str = "") -> SpeakerEvent:
    """A speaker event told at a moment; `""` is silence, None somebody unknown."""
    body = SpeakerBody.model_validate(
        {
            "start_s": max(0.0, end_s - 1.0),
            "end_s": end_s,
            "state": state or ("silence" if name == "" else "unknown" if name is None else "confirmed"),
            "speaker": name or None,
            "enrolled": enrolled,
            "score": None,
            "runner_up": None,
            "margin": None,
            "threshold": 0.5,
            "evidence_s": 1.0,
            "reason": "silence" if name == "" else "matched",
        }
    )
    return SpeakerEvent.model_validate({**dict(body), **_envelope(int(end_s * 10))})


def turn_event(start_s: float, end_s: float, name: str | None, *, phase: str = "end") -> TurnEvent:
    """A turn."""
    body = TurnBody.model_validate({"phase": phase, "turn": "t1", "start_s": start_s, "end_s": end_s, "speaker": name})
    return TurnEvent.model_validate({**dict(body), **_envelope(int(end_s * 10))})


def emotion_event(start_s: float, end_s: float, label: str, raw: Mapping[str, float]) -> EmotionEvent:
    """An emotion event."""
    body = EmotionBody.model_validate(
        {
            "start_s": start_s,
            "end_s": end_s,
            "label": label,
            "since_s": 0.0,
            "confidence": 0.5,
            "probabilities": dict(raw),
            "raw": dict(raw),
            "speech_ms": 1_000,
            "speaker": None,
        }
    )
    return EmotionEvent.model_validate({**dict(body), **_envelope(int(end_s * 10))})
