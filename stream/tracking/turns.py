"""Turns: who held the floor from when to when.

A turn opens when its speaker is known, dated back to where the speech began. It goes on across pauses shorter than
`pause_s` and ends where its speech ended, or where another voice took over. Speech whose speaker is not known yet is
kept aside and belongs to whoever turns out to have spoken; if that never turns out, it joins the turn before it when
that is near, and is nobody's otherwise. Turns of a stream never overlap.
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
    """A span of speech, how much of it was speech, and how much of that held each emotion (in samples)."""

    start_sample: int
    end_sample: int
    speech_samples: int = 0
    nobody: bool = False  # it is likely nobody's that is known
    emotions: Counter[str] = field(default_factory=Counter)

    def take(self, other: _SpeechSpan) -> None:
        """Add a later span."""
        self.end_sample = max(self.end_sample, other.end_sample)
        self.speech_samples += other.speech_samples
        self.emotions += other.emotions


@dataclass(slots=True)
class _OpenTurn:
    """A turn that is going on."""

    name: str
    speaker: str | None
    speech: _SpeechSpan
    told: bool = False


class TurnTracker:
    """The turns of one stream, one open at a time."""

    def __init__(self, *, settings: TurnsSettings) -> None:
        self._pause = samples(settings.pause_s)
        self._minimum = samples(settings.min_s)
        self._count = 0
        self._open: _OpenTurn | None = None
        self._aside: _SpeechSpan | None = None  # speech of this stretch whose speaker is not known yet
        self._stretch = -1
        self._ended = self._free_from = 0  # where the last turn ended, and where nobody held the floor any more

    def hear(
        self,
        stretch: SpeechSegment,
        *,
        speaker: str | None,
        known: bool,
        speech_samples: int,
        changed_at: int | None,
        nobody: bool = False,
    ) -> list[TurnBody]:
        """Speech in a stretch. `known` says that it was decided whose it is (None: nobody's that we know).

        `nobody` says that, if nothing else turns out, it is nobody's, and not the one's who spoke before.
        """
        told: list[TurnBody] = []
        if stretch.start_sample != self._stretch:
            told += self._settle()
            self._stretch = stretch.start_sample
            told += self._end_before(stretch.start_sample)
        start_sample = stretch.start_sample
        if start_sample < self._ended:  # a pause within this very stretch ended the turn before
            start_sample = min(self._free_from, stretch.end_sample)
        heard = _SpeechSpan(start_sample, stretch.end_sample, speech_samples, nobody)
        if self._aside is not None:
            heard.speech_samples += self._aside.speech_samples
            heard.emotions = self._aside.emotions
        self._aside = None if known else heard
        if not known:
            return told
        if self._open is None or self._open.speaker != speaker:
            told += self._take_over(heard, speaker, changed_at)
        else:
            self._open.speech.take(heard)
        return told + self._tell_start()

    def pause(self, end_sample: int) -> list[TurnBody]:
        """No speech up to `end_sample`: an open turn may have ended."""
        return self._settle() + self._end_before(end_sample)

    def rename(self, was: str, speaker: str) -> None:
        """Whoever holds the floor turned out to be somebody else."""
        if self._open is not None and self._open.speaker == was:
            self._open.speaker = speaker

    def feel(self, label: str, speech_samples: int) -> None:
        """The speech just heard held an emotion."""
        speech = self._aside or (self._open.speech if self._open is not None else None)
        if speech is not None:
            speech.emotions[label] += speech_samples

    def finish(self) -> list[TurnBody]:
        """End the open turn, if there is one."""
        return self._settle() + self._end()

    def _end(self) -> list[TurnBody]:
        turn, self._open = self._open, None
        return [_told("end", turn)] if turn is not None and turn.told else []

    def _take_over(self, heard: _SpeechSpan, speaker: str | None, changed_at: int | None) -> list[TurnBody]:
        """Another voice holds the floor, from a pause on or from somewhere within the stretch."""
        before = self._open
        if before is not None and heard.start_sample < before.speech.end_sample:
            cut = before.speech.end_sample if changed_at is None else changed_at
            heard.start_sample = min(max(cut, before.speech.start_sample), heard.end_sample)
            before.speech.end_sample = min(before.speech.end_sample, heard.start_sample)
        told = self._end()
        self._count += 1
        self._open = _OpenTurn(f"t{self._count}", speaker, heard)
        return told

    def _tell_start(self) -> list[TurnBody]:
        turn = self._open
        if turn is None or turn.told or turn.speech.end_sample - turn.speech.start_sample < self._minimum:
            return []
        turn.told = True
        return [_told("start", turn)]

    def _settle(self) -> list[TurnBody]:
        """Speech that stayed nobody's is a turn of nobody, or joins the one before if nothing at all was made out."""
        aside, self._aside = self._aside, None
        if aside is None:
            return []
        if aside.nobody:
            told = self._take_over(aside, None, None) if self._open is None or self._open.speaker is not None else []
            if not told and self._open is not None:
                self._open.speech.take(aside)
            return told + self._tell_start()
        if self._open is None:
            return []
        if aside.start_sample - self._open.speech.end_sample < self._pause:
            self._open.speech.take(aside)
        return []

    def _end_before(self, sample: int) -> list[TurnBody]:
        if self._open is not None and sample - self._open.speech.end_sample >= self._pause:
            self._ended, self._free_from = self._open.speech.end_sample, sample
            return self._end()
        return []


def _told(phase: Literal["start", "end"], turn: _OpenTurn) -> TurnBody:
    speech = turn.speech
    felt = speech.emotions.total()
    shares = (
        {label: round(held / felt, 4) for label, held in speech.emotions.items()} if phase == "end" and felt else {}
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
