"""One party's track of a call: the track is the speaker, so nobody has to be recognised.

Speech is the party's, and its turns need no model. `speaker` events are told only when the party begins to talk or
stops: there is nothing else to tell. Emotion, where it is inferred at all, is the party's own throughout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.clock import seconds
from stream.events import Body, Party, SpeakerBody
from stream.settings import Settings
from stream.tracking.decision import Decision
from stream.tracking.stream_tracker import StreamTracker
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task, WindowSpan, WindowSpec

LEAD = WindowSpec(length_samples=SAMPLE_RATE_HZ, hop_samples=SAMPLE_RATE_HZ // 2, minimum_samples=SAMPLE_RATE_HZ // 10)
"""The windows that move a track's turns; no model sees them."""

_NOBODY = ModelInfo(name="track", revision="", task=Task.SPEAKER)


class PartyTracker(StreamTracker):
    """Turns and emotion of one party."""

    def __init__(self, *, settings: Settings, models: Sequence[ModelInfo], party: Party) -> None:
        super().__init__(settings=settings, models=[_NOBODY, *models])
        self._speaker = self._party = party

    def close(self, end_sample: int) -> list[Body]:
        """The sound broke off; whoever comes back is the same party."""
        told = super().close(end_sample)
        self._speaker = self._party
        return told

    def _lead(self, task: Task, cut: WindowSpan, values: NDArray[np.float32] | None) -> list[Body]:  # noqa: ARG002
        told: list[Body] = []
        silent = cut.stretch is None or cut.fresh_samples == 0
        if cut.stretch is None or silent:
            told += self._turns.pause(cut.end_sample)
        else:
            told += self._turns.hear(
                cut.stretch,
                speaker=self._party,
                known=True,
                speech_samples=cut.fresh_samples,
                changed_at=None,
            )
        if self._silent.get(task, True) != silent:
            self._silent[task] = silent
            decision = Decision("silence", "silence") if silent else Decision("confirmed", "track")
            told.append(self._speaker_body(cut.start_sample, cut.end_sample, decision))
        return told

    def _speaker_body(self, start_sample: int, end_sample: int, decision: Decision) -> SpeakerBody:
        return SpeakerBody(
            start_s=seconds(start_sample),
            end_s=seconds(end_sample),
            state=decision.state,
            speaker=None if decision.state == "silence" else self._party,
            enrolled=False,
            score=None,
            runner_up=None,
            margin=None,
            threshold=None,
            evidence_s=0.0,
            reason=decision.reason,
        )
