"""Tracker of one party's track of a call, where the track identifies the speaker.

All speech on the track is the party's, so turns need no speaker model. `speaker` events are published only when the
party starts or stops speaking. Emotion, where inferred, is always the party's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.clock import seconds
from stream.events import ActiveSpeaker, Body, Party, SpeakerBody
from stream.settings import Settings
from stream.tracking.activity import NO_FOREGROUND, Foreground
from stream.tracking.decision import Decision
from stream.tracking.stream_tracker import StreamTracker
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task, WindowSpan, WindowSpec

TURN_SPEC = WindowSpec(
    length_samples=SAMPLE_RATE_HZ, hop_samples=SAMPLE_RATE_HZ // 2, minimum_samples=SAMPLE_RATE_HZ // 10
)
"""Windows that advance the turns of a track; no model scores them."""

_TRACK_MODEL = ModelInfo(name="track", revision="", task=Task.SPEAKER)


class PartyTracker(StreamTracker):
    """Turns and emotion of one party."""

    def __init__(self, *, settings: Settings, models: Sequence[ModelInfo], party: Party) -> None:
        super().__init__(settings=settings, models=[_TRACK_MODEL, *models])
        self._speaker = self._party = party

    def close(self, end_sample: int) -> list[Body]:
        """End the open turn at a gap or at the end; the speaker stays the party."""
        bodies = super().close(end_sample)
        self._speaker = self._party
        return bodies

    def _observe_leader(self, task: Task, span: WindowSpan, values: NDArray[np.float32] | None) -> list[Body]:  # noqa: ARG002
        bodies: list[Body] = []
        silent = span.segment is None or span.new_speech_samples == 0
        if span.segment is None or silent:
            bodies += self._turns.pause(span.end_sample)
        else:
            bodies += self._turns.observe(
                span.segment,
                speaker=self._party,
                known=True,
                speech_samples=span.new_speech_samples,
                changed_at=None,
            )
        if self._silent.get(task, True) != silent:
            self._silent[task] = silent
            decision = Decision("silence", "silence") if silent else Decision("confirmed", "track")
            bodies.append(self._speaker_body(span.start_sample, span.end_sample, decision))
        return bodies

    def _speaker_body(
        self,
        start_sample: int,
        end_sample: int,
        decision: Decision,
        foreground: Foreground = NO_FOREGROUND,  # noqa: ARG002
    ) -> SpeakerBody:
        silent, since = decision.state == "silence", self._turns.foremost_since
        since = start_sample if since is None else since
        return SpeakerBody(
            start_s=seconds(start_sample),
            end_s=seconds(end_sample),
            state=decision.state,
            speaker=None if silent else self._party,
            enrolled=False,
            speakers=() if silent else (ActiveSpeaker(speaker=self._party, enrolled=False, since_s=seconds(since)),),
            score=None,
            runner_up=None,
            margin=None,
            threshold=None,
            evidence_s=0.0,
            reason=decision.reason,
        )
