"""Channel layouts: which mono streams the channels of a source become, and their labels (pure)."""

from __future__ import annotations

import numpy as np

from stream.errors import AudioFormatError
from stream.events import Party
from stream.types import Samples

PARTIES: dict[str, tuple[Party, ...]] = {
    "customer-agent": ("customer", "agent"),
    "agent-customer": ("agent", "customer"),
    "customer": ("customer",),
    "agent": ("agent",),
}
"""Layouts that map channels to the parties of a call, in channel order."""


def channel_labels(channels: str, available: int) -> tuple[str, ...]:
    """Return the suffix of each stream of `select_channels`: `("",)`, `("1", "2", …)` if split, or the call parties.

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
    if channels.isdigit() and int(channels) > available:
        raise AudioFormatError(f"no channel {channels}, the audio has {available}; choose 1 to {available}")
    return ("",)


def select_channels(samples: Samples, channels: str) -> list[Samples]:
    """Convert frames of shape (n, channels) to one mono array of shape (n,) for each of `channel_labels`."""
    if channels == "split" or len(PARTIES.get(channels, ())) > 1:
        return [np.ascontiguousarray(samples[:, number]) for number in range(samples.shape[1])]
    if channels.isdigit():
        return [np.ascontiguousarray(samples[:, int(channels) - 1])]
    if samples.shape[1] == 1:
        return [samples[:, 0]]
    return [samples.mean(axis=1, dtype=np.float32)]
