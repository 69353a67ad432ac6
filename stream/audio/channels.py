"""Channel layouts: which mono streams the channels of a source become, and their labels (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream.errors import AudioFormatError
from stream.types import Samples

if TYPE_CHECKING:
    from stream.events import Party

MIX_CELL_S = 0.02
"""Time after which the mix is decided anew."""

MIX_DECAY = 0.98
"""Weight of the past per cell: a second."""

MIN_MIX_POWER = 1e-8
"""Power of all channels together, per frame, below which nothing is decided."""

MAX_CANCELLED, MIN_KEPT = 0.2, 0.5
"""Power of the mix, over that of channels that have nothing in common, below which they cancel each other; and above
which they no longer do."""

Powers = NDArray[np.float64]

PARTIES: dict[str, tuple[Party, ...]] = {
    "customer-agent": ("customer", "agent"),
    "agent-customer": ("agent", "customer"),
    "customer": ("customer",),
    "agent": ("agent",),
}
"""Layouts that map channels to the parties of a call, in channel order."""


def channel_labels(channels: str, available: int) -> tuple[str, ...]:
    """Return the suffix of each stream of `select_channels`: `("",)`, `("1", "2", …)` if several, or the call parties.

    `available` is the number of channels of the audio. Raises `AudioFormatError` if `channels` needs others.
    """
    if channels == "split" and available > 1:
        return tuple(str(number + 1) for number in range(available))
    parties = PARTIES.get(channels, ())
    if len(parties) > 1 and available != len(parties):
        raise AudioFormatError(
            f"channels {channels!r} need two-channel audio, this has {available}; choose `customer` or `agent` for a "
            "single party's track"
        )
    if parties:
        return parties
    if "," in channels:
        chosen = channels.split(",")
        if max(map(int, chosen)) > available:
            raise AudioFormatError(
                f"no channel {max(map(int, chosen))}, the audio has {available}; choose 1 to {available}"
            )
        return tuple(chosen)
    if channels.isdigit() and int(channels) > available:
        raise AudioFormatError(f"no channel {channels}, the audio has {available}; choose 1 to {available}")
    return ("",)


class ChannelSelector:
    """Makes mono streams of one source's frames, one for each of `channel_labels`.

    Channels are mixed by their mean, except where they cancel each other, as those of a balanced cable that is wired as
    stereo do: then the louder channel is taken (`selected`), until they no longer do. Not so without `conditioning`.
    """

    def __init__(self, channels: str, *, rate_hz: int, conditioning: bool = True) -> None:
        self._channels = channels
        self._conditioning = conditioning
        self._is_notice_due = True
        self._cell_frames = max(1, round(MIX_CELL_S * rate_hz))
        self._place = 0  # frames of the unfinished cell
        self._cell: Powers | None = None
        self._recent: Powers | None = None
        self.selected: int | None = None

    def select(self, samples: Samples) -> list[Samples]:
        """Return the streams of the next frames, shape (n, channels); each has shape (n,)."""
        if self._channels != "mix" or samples.shape[1] == 1 or not self._conditioning:
            return select_channels(samples, self._channels)
        mixed = np.empty(len(samples), np.float32)
        start = 0
        while start < len(samples):
            end = min(len(samples), start + self._cell_frames - self._place)
            part = samples[start:end]
            mixed[start:end] = part.mean(axis=1) if self.selected is None else part[:, self.selected]
            self._add(part)
            start = end
        return [mixed]

    def take_notice(self) -> str:
        """Return once that channels cancel each other, and what is done about it; else an empty text."""
        if self.selected is None or not self._is_notice_due:
            return ""
        self._is_notice_due = False
        return (
            f"the channels cancel each other, in opposite phase; only channel {self.selected + 1} is used. Swap the "
            "wires of the other one to get both"
        )

    def _add(self, part: Samples) -> None:
        """Add the powers of frames within one cell; at its end decide about the next one."""
        centred = part.astype(np.float64)
        powers = np.append(np.square(centred).sum(axis=0), np.square(centred.mean(axis=1)).sum())
        self._cell = powers if self._cell is None else self._cell + powers
        self._place += len(part)
        if self._place < self._cell_frames:
            return
        recent = self._cell if self._recent is None else self._recent * MIX_DECAY + self._cell
        self._recent, self._cell, self._place = recent, None, 0
        channels, mix = recent[:-1], recent[-1]
        ratio = mix / max(1e-12, channels.sum() / len(channels) ** 2)  # 1 for channels that have nothing in common
        if channels.sum() > MIN_MIX_POWER * self._cell_frames and ratio < MAX_CANCELLED:
            self.selected = int(channels.argmax()) if self.selected is None else self.selected
        elif ratio > MIN_KEPT:
            self.selected = None


def select_channels(samples: Samples, channels: str) -> list[Samples]:
    """Convert frames of shape (n, channels) to one mono array of shape (n,) for each of `channel_labels`."""
    if channels == "split" or len(PARTIES.get(channels, ())) > 1:
        return [np.ascontiguousarray(samples[:, number]) for number in range(samples.shape[1])]
    if "," in channels:
        return [np.ascontiguousarray(samples[:, int(number) - 1]) for number in channels.split(",")]
    if channels.isdigit():
        return [np.ascontiguousarray(samples[:, int(channels) - 1])]
    if samples.shape[1] == 1:
        return [samples[:, 0]]
    return [samples.mean(axis=1, dtype=np.float32)]
