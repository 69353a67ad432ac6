"""From a source's channels and rate to mono streams at 16 kHz.

`select` picks or mixes channels; `Resampler` changes the rate with soxr's streaming resampler (HQ). Its chunked output
is bit-identical to the one-shot one and already in place: output sample n is the sound at n / 16,000 s. What its filter
still holds back (about 21 ms) comes with later input or with `flush`; it delays output, it does not shift it.
"""

from __future__ import annotations

import numpy as np
import soxr

from stream.bodies import Party
from stream.errors import AudioFormatError
from stream.types import SAMPLE_RATE_HZ, Samples

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


class Resampler:
    """One mono stream from `rate_hz` to 16 kHz. Block sizes do not change what comes out."""

    def __init__(self, *, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._start()

    def push(self, samples: Samples) -> Samples:
        """Samples of shape (n,) in; what is ready of shape (m,) out."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples), dtype=np.float32)

    def flush(self) -> Samples:
        """What the filter still held; afterwards a new, unrelated stretch of sound may begin."""
        if self._stream is None:
            return np.empty(0, np.float32)
        rest = np.asarray(self._stream.resample_chunk(np.empty(0, np.float32), last=True), dtype=np.float32)
        self._start()
        return rest

    def _start(self) -> None:
        self._stream = (
            None
            if self._rate_hz == SAMPLE_RATE_HZ
            else soxr.ResampleStream(self._rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        )
