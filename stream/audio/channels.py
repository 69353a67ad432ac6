"""Channel layouts: which mono streams a source's channels become, and their labels (pure)."""

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
"""Ways to read channels as the parties of a call, in the order of the channels."""


def labels(channels: str, available: int) -> tuple[str, ...]:
    """The suffix of each stream that `select` makes: `("",)`, `("1", "2", …)` when split, or the parties of a call.

    Raises `AudioFormatError` when a channel is asked for that the sound does not have.
    """
    if channels == "split" and available > 1:
        return tuple(str(number + 1) for number in range(available))
    parties = PARTIES.get(channels, ())
    if len(parties) > 1 and available != len(parties):
        raise AudioFormatError(
            f"the parties {channels} need a sound of two channels, but this one has {available}; choose "
            "`customer` or `agent` if it is one party's track"
        )
    if parties:
        return parties
    if channels.isdigit() and int(channels) > available:
        raise AudioFormatError(
            f"channel {channels} was asked for, but the sound has only {available}; choose 1 to {available}"
        )
    return ("",)


def select(samples: Samples, channels: str) -> list[Samples]:
    """Frames of shape (n, channels) to one mono array of shape (n,) for each of `labels`."""
    if channels == "split" or len(PARTIES.get(channels, ())) > 1:
        return [np.ascontiguousarray(samples[:, number]) for number in range(samples.shape[1])]
    if channels.isdigit():
        return [np.ascontiguousarray(samples[:, int(channels) - 1])]
    if samples.shape[1] == 1:
        return [samples[:, 0]]
    return [samples.mean(axis=1, dtype=np.float32)]
