"""Resampling and channel selection: independent of block sizes and time-aligned."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audio.channels import ChannelSelector, channel_labels, select_channels
from stream.audio.resampling import Resampler
from stream.errors import AudioFormatError

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000)


def noise(length: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-0.5, 0.5, length).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(rate=st.sampled_from(RATES), sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=12))
def test_blocks_and_one_pass_give_equal_output(rate: int, sizes: list[int]) -> None:
    audio, resampler, parts, place = noise(sum(sizes)), Resampler(rate_hz=rate), [], 0
    for size in sizes:
        parts.append(resampler.push(audio[place : place + size]))
        place += size
    joined = np.concatenate([*parts, resampler.flush()])
    whole = soxr.resample(audio, rate, 16_000, quality="HQ") if rate != 16_000 else audio
    assert abs(len(joined) - len(audio) * 16_000 / rate) <= 1
    assert np.array_equal(joined, whole)
    again = np.concatenate([resampler.push(audio), resampler.flush()])
    assert np.array_equal(again, whole), "a flush resets the resampler"


@pytest.mark.parametrize("rate", RATES)
def test_a_click_keeps_its_position(rate: int) -> None:
    audio = np.zeros(rate, np.float32)
    audio[rate // 2] = 1.0
    resampler = Resampler(rate_hz=rate)
    out = np.concatenate([resampler.push(audio), resampler.flush()])
    assert abs(int(np.abs(out).argmax()) - 8_000) <= 1


def test_channels() -> None:
    frames = np.array([[0.1, 0.3], [0.2, 0.4]], np.float32)
    assert np.allclose(select_channels(frames, "mix"), [[0.2, 0.3]])
    assert np.allclose(select_channels(frames, "split"), frames.T)
    assert np.allclose(select_channels(frames, "2"), [[0.3, 0.4]])
    assert channel_labels("split", 2) == ("1", "2")
    assert channel_labels("split", 1) == channel_labels("mix", 2) == channel_labels("2", 2) == ("",)
    with pytest.raises(AudioFormatError, match="choose 1 to 2"):
        channel_labels("3", 2)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_phase(rate: int) -> None:
    def tone(at_hz: int) -> np.ndarray:
        return np.sin(2 * np.pi * 440 * np.arange(at_hz) / at_hz).astype(np.float32)

    resampler = Resampler(rate_hz=rate)
    out = np.concatenate([resampler.push(tone(rate)), resampler.flush()])
    inner = slice(1_000, 15_000)  # away from the edges, where the tone starts and ends abruptly
    assert np.allclose(out[inner], tone(16_000)[inner], atol=1e-3)


@given(channels=st.integers(1, 6), length=st.integers(0, 50))
def test_a_channel_is_selected_unchanged(channels: int, length: int) -> None:
    frames = noise(channels * length).reshape(length, channels)
    for choice in ("mix", "split", *(str(number + 1) for number in range(channels))):
        streams = select_channels(frames, choice)
        assert len(streams) == len(channel_labels(choice, channels))
        assert all(one.shape == (length,) and one.dtype == np.float32 for one in streams)
    for number, one in enumerate(select_channels(frames, "split")):
        assert np.array_equal(one, frames[:, number])
        assert np.array_equal(one, select_channels(frames, str(number + 1))[0])


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("size", [1, 333, 16_000])
def test_channels_in_opposite_phase_are_not_mixed_to_silence(rate: int, size: int) -> None:
    voice = noise(2_000 if size == 1 else 2 * rate)
    frames, selector = np.stack([voice, -0.9 * voice], axis=1), ChannelSelector("mix", rate_hz=rate)
    out = np.concatenate([selector.select(frames[at : at + size])[0] for at in range(0, len(frames), size)])
    late = rate // 50  # the first decision
    assert np.array_equal(out[late:], voice[late:])
    assert "opposite phase" in selector.take_notice()
    assert not selector.take_notice(), "said once"


def test_other_channels_are_mixed() -> None:
    left, right = noise(16_000), np.random.default_rng(5).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    for frames in (np.stack([left, right], 1), np.stack([left, 0 * left], 1), np.stack([left, left], 1)):
        selector = ChannelSelector("mix", rate_hz=16_000)
        assert np.array_equal(selector.select(frames)[0], frames.mean(axis=1))
    silenced = ChannelSelector("mix", rate_hz=16_000, conditioning=False)
    assert not silenced.select(np.stack([left, -left], 1))[0].any()


def test_some_channels_are_streams() -> None:
    frames = noise(80).reshape(10, 8)
    assert channel_labels("3,1", 8) == ("3", "1")
    assert np.array_equal(select_channels(frames, "3,1"), [frames[:, 2], frames[:, 0]])
    with pytest.raises(AudioFormatError, match="no channel 9"):
        channel_labels("3,9", 8)
