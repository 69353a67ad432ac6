"""Turn segmentation: which speaker holds the floor, from when to when (pure).

A turn opens once its speaker is known, dated back to the start of the speech. It continues across pauses shorter than
`pause_s` and ends where its speech ended or another voice took over. Speech whose speaker is not known yet is pending
and belongs to the speaker decided next; if none is decided, it joins the turn before it when that is near, and is
discarded otherwise. Turns of a stream never overlap.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from stream.clock import samples, seconds
from stream.events import TurnBody
from stream.settings import TurnsSettings
from stream.types import SpeechSegment


@dataclass(slots=True)
class _SpeechSpan:
    """A span with its speech, and the speech of each emotion, in samples."""

    start_sample: int
    end_sample: int
    speech_samples: int = 0
    likely_unknown: bool = False  # if no speaker is decided, the speaker is unknown
    emotions: Counter[str] = field(default_factory=Counter)

    def extend(self, other: _SpeechSpan) -> None:
        """Append a later span."""
        self.end_sample = max(self.end_sample, other.end_sample)
        self.speech_samples += other.speech_samples
        self.emotions += other.emotions


@dataclass(slots=True)
class _OpenTurn:
    """The current turn; `published` once its start event is out."""

    name: str
    speaker: str | None
    speech: _SpeechSpan
    published: bool = False


class TurnTracker:
    """Turns of one stream, one open at a time."""

    def __init__(self, *, settings: TurnsSettings) -> None:
        self._pause = samples(settings.pause_s)
        self._minimum = samples(settings.min_s)
        self._count = 0
        self._open: _OpenTurn | None = None
        self._pending: _SpeechSpan | None = None  # speech of this segment whose speaker is not known yet
        self._segment = -1
        self._ended = 0  # end of the last turn
        self._free_from = 0  # sample at which the floor became free

    def observe(
        self,
        segment: SpeechSegment,
        *,
        speaker: str | None,
        known: bool,
        speech_samples: int,
        changed_at: int | None,
        likely_unknown: bool = False,
    ) -> list[TurnBody]:
        """Add speech of a segment.

        `known` means that the speaker is decided (None: unknown speaker). `likely_unknown` means that otherwise, if no
        speaker is decided later, the speaker is unknown rather than the one before.
        """
        bodies: list[TurnBody] = []
        if segment.start_sample != self._segment:
            bodies += self._settle_pending()
            self._segment = segment.start_sample
            bodies += self._end_before(segment.start_sample)
        start_sample = segment.start_sample
        if start_sample < self._ended:  # a pause within this segment ended the turn before
            start_sample = min(self._free_from, segment.end_sample)
        speech = _SpeechSpan(start_sample, segment.end_sample, speech_samples, likely_unknown)
        if self._pending is not None:
            speech.speech_samples += self._pending.speech_samples
            speech.emotions = self._pending.emotions
        self._pending = None if known else speech
        if not known:
            return bodies
        if self._open is None or self._open.speaker != speaker:
            bodies += self._take_over(speech, speaker, changed_at)
        else:
            self._open.speech.extend(speech)
        return bodies + self._start_body()

    def pause(self, end_sample: int) -> list[TurnBody]:
        """Add silence up to `end_sample`, which may end the open turn."""
        return self._settle_pending() + self._end_before(end_sample)

    def rename(self, previous: str, speaker: str) -> None:
        """Apply a speaker correction to the open turn."""
        if self._open is not None and self._open.speaker == previous:
            self._open.speaker = speaker

    def add_emotion(self, label: str, speech_samples: int) -> None:
        """Count `speech_samples` of the newest speech for an emotion."""
        speech = self._pending or (self._open.speech if self._open is not None else None)
        if speech is not None:
            speech.emotions[label] += speech_samples

    def finish(self) -> list[TurnBody]:
        """End the open turn, if any."""
        return self._settle_pending() + self._end()

    def _end(self) -> list[TurnBody]:
        turn, self._open = self._open, None
        return [_turn_body("end", turn)] if turn is not None and turn.published else []

    def _take_over(self, speech: _SpeechSpan, speaker: str | None, changed_at: int | None) -> list[TurnBody]:
        """Open a turn of another speaker, after a pause or from a speaker change within the segment on."""
        before = self._open
        if before is not None and speech.start_sample < before.speech.end_sample:
            boundary = before.speech.end_sample if changed_at is None else changed_at
            speech.start_sample = min(max(boundary, before.speech.start_sample), speech.end_sample)
            before.speech.end_sample = speech.start_sample
        bodies = self._end()
        self._count += 1
        self._open = _OpenTurn(f"t{self._count}", speaker, speech)
        return bodies

    def _start_body(self) -> list[TurnBody]:
        turn = self._open
        if turn is None or turn.published or turn.speech.end_sample - turn.speech.start_sample < self._minimum:
            return []
        turn.published = True
        return [_turn_body("start", turn)]

    def _settle_pending(self) -> list[TurnBody]:
        """Assign pending speech that got no speaker: to an unknown speaker, or to the turn before it."""
        pending, self._pending = self._pending, None
        if pending is None:
            return []
        if pending.likely_unknown:
            taken_over = self._open is None or self._open.speaker is not None
            bodies = self._take_over(pending, None, None) if taken_over else []
            if not bodies and self._open is not None:
                self._open.speech.extend(pending)
            return bodies + self._start_body()
        if self._open is None:
            return []
        if pending.start_sample - self._open.speech.end_sample < self._pause:
            self._open.speech.extend(pending)
        return []

    def _end_before(self, sample: int) -> list[TurnBody]:
        if self._open is not None and sample - self._open.speech.end_sample >= self._pause:
            self._ended, self._free_from = self._open.speech.end_sample, sample
            return self._end()
        return []


def _turn_body(phase: Literal["start", "end"], turn: _OpenTurn) -> TurnBody:
    speech = turn.speech
    total = speech.emotions.total()
    shares = (
        {label: round(held / total, 4) for label, held in speech.emotions.items()} if phase == "end" and total else {}
    )
    return TurnBody(
        phase=phase,
        turn=turn.name,
        start_s=seconds(speech.start_sample),
        end_s=seconds(speech.end_sample),
        speaker=turn.speaker,
        emotion=max(shares, key=lambda label: shares[label]) if shares else None,
        emotions=shares,
        speech_s=seconds(speech.speech_samples),
    )
