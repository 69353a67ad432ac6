"""Conditioning: offset, rumble and hum go, speech stays, and block sizes do not matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audio.buffer import StreamBuffer
from stream.audio.conditioning import MAX_GAIN_DB, SoftSpeechGain
from stream.audio.highpass import HighPass
from stream.audio.hum import Hum, HumTracker, subtract_hum
from stream.demo.conversation import AUDIO
from stream.settings import GateSettings
from stream.types import FRAME_SAMPLES, Samples, SpeechRequest, WindowSpec
from tests.support.fakes import FakeDetector

SPEC = WindowSpec(length_samples=32_000, hop_samples=8_000, minimum_samples=8_000)
GATE = GateSettings(min_speech_ms=64, min_silence_ms=300, window_speech_ms=300, new_speech_ms=64)


def speech(seconds: float = 8.0) -> Samples:
    samples: Samples = soundfile.read(AUDIO, frames=round(seconds * 16_000), dtype="float32")[0]
    return samples


def power_dbfs(samples: Samples) -> float:
    return float(10 * np.log10(np.square(samples, dtype=np.float64).mean() + 1e-12))


def hum(base_hz: float, level_dbfs: float, length: int, multiples: Sequence[int] = (1, 2, 3, 5)) -> Samples:
    time_s = np.arange(length) / 16_000
    wave = sum(np.sin(2 * np.pi * base_hz * multiple * time_s + multiple) / multiple for multiple in multiples)
    return np.asarray(wave * 10 ** (level_dbfs / 20) / np.sqrt(np.square(wave).mean()), np.float32)


def tracked(samples: Samples) -> Hum | None:
    tracker = HumTracker(memory_samples=len(samples))
    tracker.push(HighPass().push(samples))
    return tracker.newest


def conditioned(samples: Samples, *, size: int = 4_096) -> list[Samples]:
    """Return all windows and frames of a buffer into which `samples` are pushed."""
    buffer = StreamBuffer(source_id="a", specs=[SPEC], gate=GATE, capacity=20 * 16_000)
    detector, found, heard = FakeDetector(), [], []
    for start in range(0, len(samples), size):
        buffer.push(samples[start : start + size])
        last = start + size >= len(samples)
        frames = buffer.frames(last=last)
        heard.append(frames)
        rows = detector.infer([SpeechRequest("a", frames, None)])[0].probabilities.tolist() if len(frames) else []
        found += [buffer.window(span).samples for span in buffer.add_speech(rows, last=last)]
    return [*found, np.concatenate(heard)]


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 700), max_size=30), rest=st.integers(0, 2_000))
def test_the_high_pass_does_not_depend_on_blocks(sizes: list[int], rest: int) -> None:
    samples = speech(2.0)[: sum(sizes) + rest]
    blocks, place, tested = [], 0, HighPass()
    for size in [*sizes, len(samples)]:
        blocks.append(tested.push(samples[place : place + size]))
        place += size
    assert np.array_equal(np.concatenate(blocks), HighPass().push(samples))


def test_the_high_pass_removes_offset_and_rumble_only() -> None:
    time_s = np.arange(48_000) / 16_000
    for hz, least_db, most_db in ((0.0, -120, -90), (5.0, -30, -20), (80.0, -0.1, 0.1), (1_000.0, -0.01, 0.01)):
        wave = np.asarray(0.1 * np.cos(2 * np.pi * hz * time_s), np.float32)
        gain_db = power_dbfs(HighPass().push(wave)[16_000:]) - power_dbfs(wave[16_000:])
        assert least_db <= gain_db <= most_db, hz


@pytest.mark.parametrize("base_hz", [49.95, 50.02, 60.05])
@pytest.mark.parametrize("level_dbfs", [-40.0, -20.0])
def test_hum_is_found_and_removed_from_speech(base_hz: float, level_dbfs: float) -> None:
    clean = speech(6.0)
    added = hum(base_hz, level_dbfs, len(clean))
    found = tracked(clean + added)
    assert found is not None
    assert found.base_hz == pytest.approx(base_hz, abs=0.05)
    assert {1, 2} <= set(found.multiples)
    cleaned, expected = subtract_hum(HighPass().push(clean + added), found), subtract_hum(HighPass().push(clean), found)
    assert power_dbfs((cleaned - expected)[8_000:-8_000]) < level_dbfs - 12, "hum is gone"
    assert power_dbfs(expected - HighPass().push(clean)) < power_dbfs(clean) - 12, "speech is not"


def test_hum_of_a_rectifier_has_no_base() -> None:
    found = tracked(speech() + hum(50.0, -34, 8 * 16_000, (2, 4, 6)))
    assert found is not None
    assert (found.nominal_hz, set(found.multiples) >= {2, 4}) == (50, True)


def test_clean_speech_and_tones_have_no_hum() -> None:
    assert tracked(speech(6.0)) is None
    for hz in (300.0, 500.0, 800.0):
        assert tracked(0.3 * np.sin(2 * np.pi * hz * np.arange(64_000) / 16_000).astype(np.float32)) is None
    assert tracked(np.zeros(64_000, np.float32)) is None


def test_windows_from_before_the_discovery_are_clean() -> None:
    length = 3 * 16_000
    for samples in conditioned(hum(50.0, -20, length, (1, 2)))[1:-1]:
        assert power_dbfs(samples) < -38  # what is left is the start of the high-pass filter


def test_blocks_do_not_change_conditioned_audio() -> None:
    samples = speech(5.0) + hum(50.0, -30, 5 * 16_000) + np.float32(0.05)
    expected = conditioned(samples)
    for size in (999, 16_000):
        got = conditioned(samples, size=size)
        assert len(got) == len(expected)
        assert all(np.array_equal(one, other) for one, other in zip(got, expected, strict=True))


def test_only_soft_speech_is_amplified() -> None:
    voice = speech(16.0)
    voice = voice[: len(voice) // FRAME_SAMPLES * FRAME_SAMPLES]
    noise = np.random.default_rng(1).normal(0, 0.001, len(voice)).astype(np.float32)
    gain_db = [
        float(20 * np.log10(SoftSpeechGain().push(one)[-1]))
        for one in (voice, np.divide(voice, 200, dtype=np.float32), noise, np.zeros_like(noise))
    ]
    assert gain_db[0] == gain_db[2] == gain_db[3] == 0
    assert 6 < gain_db[1] <= MAX_GAIN_DB
