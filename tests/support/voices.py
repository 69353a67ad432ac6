"""Real voices: the speakers of the bundled conversation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import soundfile

from stream.demo.conversation import AUDIO, turns
from stream.types import Samples


def demo_speech(person: str) -> Samples:
    """Return all speech of one person of the demo, without pauses and the two turns that overlap; (n,)."""
    samples, rate_hz = soundfile.read(AUDIO, dtype="float32")
    overlapped = {turn for pair in pairwise(turns()) if pair[0].end_s > pair[1].start_s for turn in pair}
    spans = [(turn.start_s, turn.end_s) for turn in turns() if turn.speaker == person and turn not in overlapped]
    return np.concatenate([samples[round(start * rate_hz) : round(end * rate_hz)] for start, end in spans])
