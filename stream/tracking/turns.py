"""Turn segmentation: who speaks from when to when (pure).

A turn opens once its speaker is known, dated back to the start of the speech. It continues across pauses shorter than
`pause_s` and ends where its speech ended or another voice took over. Speech whose speaker is not known yet is pending
and belongs to the speaker decided next; if none is decided, it joins the turn before it when that is near, and is
discarded otherwise.

One turn is in the foreground. Where segmentation tells people apart who speak at once, the turns of others overlap it:
who takes the floor did so where they began to speak, although the one before had not ended, and who speaks into a turn
has one in the background (`background_turns.py`). Turns of one voice never overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

from stream.clock import samples
from stream.events import TurnBody
from stream.settings import TurnsSettings
from stream.tracking.activity import NO_FOREGROUND, Foreground
from stream.tracking.background_turns import BackgroundSpeech, BackgroundTurns
from stream.tracking.open_turn import OpenTurn, SpeechSpan
from stream.tracking.voice import Vector, unit
from stream.types import FRAME_SAMPLES, SpeechSegment

LEAD_SAMPLES = 2 * FRAME_SAMPLES
"""Speech before the speech detector is sure of it: 64 ms, four fifths of which are speech in mixed conversations."""

MEMORY_S = 60.0
"""Time for which the end of a voice's last turn is kept."""


class TurnTracker:
    """Turns of one stream: one in the foreground, and those in the background."""

    def __init__(self, *, settings: TurnsSettings) -> None:
        self._pause = samples(settings.pause_s)
        self._minimum = samples(settings.min_s)
        self._count = 0
        self._open: OpenTurn | None = None
        self._background = BackgroundTurns(
            pause_samples=self._pause, minimum_samples=self._minimum, new_name=self._new_name
        )
        self._pending: SpeechSpan | None = None  # speech of this segment whose speaker is not known yet
        self._segment = -1
        self._before_segment: SpeechSpan | None = None  # speech of the open turn before this segment
        self._ended = 0  # end of the last turn
        self._ends: dict[str | None, int] = {}  # of the last turn of each voice
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
        foreground: Foreground = NO_FOREGROUND,
    ) -> list[TurnBody]:
        """Add speech of a segment.

        `known` means that the speaker is decided (None: unknown speaker). `likely_unknown` means that otherwise, if no
        speaker is decided later, the speaker is unknown rather than the one before. `foreground` is by segmentation.
        """
        bodies: list[TurnBody] = []
        if segment.start_sample != self._segment:
            bodies += self._settle_pending()
            self._segment = segment.start_sample
            bodies += self._end_before(segment.start_sample)
            self._before_segment = None if self._open is None else self._open.speech.copy()
        start_sample = segment.start_sample
        if start_sample < self._ended:  # a pause within this segment ended the turn before
            start_sample = min(self._free_from, segment.end_sample)
        speech = SpeechSpan(start_sample, segment.end_sample, speech_samples, likely_unknown)
        if self._pending is not None:
            speech.speech_samples += self._pending.speech_samples
            speech.emotions, speech.voice = self._pending.emotions, self._pending.voice
        self._pending = None if known else speech
        if not known:
            return bodies
        if self._open is None or self._open.speaker != speaker:
            bodies += self._take_over(speech, speaker, changed_at, foreground)
        else:
            self._open.speech.extend(speech)
            self._open.track = foreground.track
            bodies += self._end_background(foreground.track, speaker)
        return bodies + self._start_body()

    def observe_background(
        self, speech: Sequence[BackgroundSpeech], end_sample: int, *, foreground: int | None
    ) -> list[TurnBody]:
        """Add the newest speech of all tracks but the one in the foreground."""
        foremost = None if self._open is None else self._open.speaker
        if self._open is not None:
            self._background.tell(self._open.track, self._open.speech.end_sample)
        for one in speech:
            self._background.tell(one.run.track, self._ends.get(one.speaker, 0))
        return self._ended_turns(self._background.observe(speech, end_sample, foreground=foreground, foremost=foremost))

    def pause(self, end_sample: int) -> list[TurnBody]:
        """Add silence up to `end_sample`, which may end the open turn."""
        background = self._ended_turns(self._background.observe((), end_sample))
        return self._settle_pending() + background + self._end_before(end_sample)

    @property
    def foremost_since(self) -> int | None:
        """Where the speech in the foreground began: that of the open turn, or that whose speaker is not known yet."""
        if self._pending is not None:
            return self._pending.start_sample
        return None if self._open is None else self._open.speech.start_sample

    def since(self, track: int) -> int | None:
        """Return where the turn of a track began."""
        turn = self._background.turn_of(track)
        if turn is None and self._open is not None and self._open.track == track:
            turn = self._open
        return None if turn is None else turn.speech.start_sample

    def rename(self, previous: str, speaker: str) -> None:
        """Apply a speaker correction to the open turns."""
        if self._open is not None and self._open.speaker == previous:
            self._open.speaker = speaker
        self._background.rename(previous, speaker)

    def add_emotion(self, label: str, speech_samples: int) -> None:
        """Count `speech_samples` of the newest speech for an emotion."""
        speech = self._pending or (self._open.speech if self._open is not None else None)
        if speech is not None:
            speech.emotions[label] += speech_samples

    def add_voice(self, vector: Vector) -> None:
        """Count an x-vector for the newest speech, which is one person's."""
        speech = self._pending or (self._open.speech if self._open is not None else None)
        if speech is not None:
            speech.voice = speech.voice + unit(vector)

    def finish(self) -> list[TurnBody]:
        """End all open turns."""
        return self._settle_pending() + self._background.finish() + self._end()

    def _new_name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def _end(self) -> list[TurnBody]:
        turn, self._open = self._open, None
        if turn is None:
            return []
        self._background.tell(turn.track, turn.speech.end_sample)
        return self._ended_turns(turn.end_body())

    def _end_background(self, track: int | None, speaker: str | None) -> list[TurnBody]:
        """End the turns in the background of a track and of a speaker, who are in the foreground now."""
        turn, bodies = self._background.take(track, speaker)
        return self._ended_turns(bodies + (turn.end_body() if turn is not None else []))

    def _ended_turns(self, bodies: list[TurnBody]) -> list[TurnBody]:
        """Note where turns ended."""
        for body in bodies:
            if body.phase == "end":
                end = max(samples(body.end_s), self._ends.get(body.speaker, 0))
                self._ends = {who: ended for who, ended in self._ends.items() if end - ended <= samples(MEMORY_S)}
                self._ends[body.speaker] = end
        return bodies

    def _take_over(
        self,
        speech: SpeechSpan,
        speaker: str | None,
        changed_at: int | None,
        foreground: Foreground = NO_FOREGROUND,
    ) -> list[TurnBody]:
        """Open a turn of another speaker, after a pause or from a speaker change within the segment on."""
        before, began, track = self._open, None, foreground.track
        if before is not None and speech.start_sample < before.speech.end_sample:
            other_track = track is not None and before.track is not None and track != before.track
            if (other_track or changed_at is None) and foreground.onset_sample > speech.start_sample:
                changed_at = foreground.onset_sample  # segmentation is more exact than x-vectors
            boundary = before.speech.end_sample if changed_at is None else changed_at
            boundary = min(max(boundary, before.speech.start_sample), speech.end_sample)
            if boundary <= before.speech.start_sample:  # all of it is the new speaker's: the start named another one
                bodies = self._end_background(track, speaker)
                before.speaker, before.track = speaker, track
                before.speech.extend(speech)
                self._limit(before.speech, speaker)
                return bodies
            self._divide(before.speech, speech, boundary)
            began = foreground.began_sample if other_track else None
        turn, ended = self._background.take(track, speaker)
        bodies = self._ended_turns(ended)
        if began is not None and before is not None and before.name is not None and before.track is not None:
            self._background.add(before, before.track)  # who may still be speaking
        else:
            bodies += self._end()
        if began is not None:
            self._antedate(speech, max(began, self._background.published_until(track)))
        elif speech.start_sample == self._segment:
            last_end = min(self._segment, max(self._ends.values(), default=0))
            speech.start_sample = max(self._segment - LEAD_SAMPLES, last_end)
        self._limit(speech, speaker)
        if turn is None:
            turn = OpenTurn(speaker, speech, track=track)
        else:
            speech.speech_samples = min(speech.speech_samples, max(0, speech.end_sample - turn.speech.end_sample))
            turn.speech.extend(speech)
        self._open, self._before_segment = turn, None
        return bodies

    def _divide(self, before: SpeechSpan, speech: SpeechSpan, boundary: int) -> None:
        """Give the speech of the turn before that lies beyond the boundary to the one who took over."""
        held = self._before_segment
        if held is not None and boundary <= speech.start_sample:  # nothing of this segment is of the one before
            moved = before.speech_samples - held.speech_samples
            before.end_sample = min(held.end_sample, boundary)
            speech.emotions += before.emotions - held.emotions
            before.emotions = held.emotions
            speech.voice, before.voice = speech.voice + (before.voice - held.voice), held.voice
        else:
            moved = min(before.speech_samples, before.end_sample - boundary)
            moved = max(moved, -speech.speech_samples)  # beyond the end of the turn before, it gets what there is
            speech.start_sample = before.end_sample = boundary
        before.speech_samples -= moved
        speech.speech_samples += moved

    def _limit(self, speech: SpeechSpan, speaker: str | None) -> None:
        """Let the turn of a voice begin after the one before ended."""
        speech.start_sample = min(max(speech.start_sample, self._ends.get(speaker, 0)), speech.end_sample)

    def _antedate(self, speech: SpeechSpan, began_at: int) -> None:
        """Let speech begin where it did, while another person was still speaking."""
        if began_at < speech.start_sample:
            speech.speech_samples += speech.start_sample - began_at
            speech.start_sample = began_at

    def _start_body(self) -> list[TurnBody]:
        return [] if self._open is None else self._open.start_body(self._new_name, minimum_samples=self._minimum)

    def _settle_pending(self) -> list[TurnBody]:
        """Assign pending speech that got no speaker: to an unknown speaker, or to the turn before it."""
        pending, self._pending = self._pending, None
        if pending is None:
            return []
        if pending.likely_unknown:
            if self._open is not None and self._open.speaker is None:
                self._open.speech.extend(pending)
                return self._start_body()
            return self._take_over(pending, None, None) + self._start_body()
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
