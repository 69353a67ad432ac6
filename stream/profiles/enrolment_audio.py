"""Audio of one enrolment: speech detection, x-vectors of its windows, and measurements of its quality.

Audio takes the path of live audio (resampling, speech gate, windows), so that enrolment and recognition see the same
input: only windows of speech are embedded, and pauses do not count. Clipped parts are left out. With a segmentation
model, x-vectors come from parts in which one person speaks alone, and only those of the person who speaks longest are
kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stream.audio.buffer import StreamBuffer, required_capacity
from stream.audio.channels import ChannelSelector
from stream.audio.loudness import SILENCE_DBFS, level_dbfs
from stream.audio.resampling import Resampler
from stream.audio.windows import join_parts
from stream.clock import samples, seconds
from stream.events import ModelRef
from stream.profiles.clean_speech import CleanSpeech, LeftOut
from stream.profiles.people import PersonSpeech, TrackSpeech, people_issue, people_of, tracks_of
from stream.profiles.profile import EnrolledRecording, Exemplar, Kind
from stream.profiles.quality import (
    QualityIssue,
    SoundQuality,
    WindowEmbedding,
    clipped_share,
    same_speaker_probability,
    snr_db,
    speaker_issue,
)
from stream.settings import Settings
from stream.tracking.scoring import Scorer, build_scorer
from stream.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, Model, Samples, SpeechDetector, SpeechRequest, WindowSpan

MAX_ENROLMENT_SPEECH_S = 120.0
"""Speech after which further windows are ignored."""


class EnrolmentAudio:
    """Audio of one person, pushed block by block. Models run in the caller's thread."""

    def __init__(
        self,
        *,
        settings: Settings,
        model: Model,
        detector: SpeechDetector,
        rate_hz: int,
        segmentation: Model | None = None,
    ) -> None:
        self._model, self._detector, self._segmentation = model, detector, segmentation
        self._gate = settings.gate
        self._scorer = build_scorer(model.info, settings.speakers.threshold)
        self._rate_hz = rate_hz
        self._resampler = Resampler(rate_hz=rate_hz)
        self._selector = ChannelSelector("mix", rate_hz=rate_hz, conditioning=settings.audio.conditioning)
        specs = [model.spec]
        if segmentation is not None:  # its windows end where those of the speaker model do, and come before them
            specs.insert(0, replace(segmentation.spec, hop_samples=model.spec.hop_samples))
        self._buffer = StreamBuffer(
            source_id="enrolment",
            specs=specs,
            gate=settings.gate,
            capacity=required_capacity(specs, max_block=2 * SAMPLE_RATE_HZ),
            memory=samples(settings.ring_s),
            conditioning=settings.audio.conditioning,
        )
        self._detector_state: object | None = None
        self._last_exemplar_end: dict[int | None, int] = {}  # by track
        self._clean = CleanSpeech(rate_hz=rate_hz)
        self._others: frozenset[int] = frozenset()  # tracks of other people
        self._powers: list[Samples] = []  # mean power of each detector frame
        self._speech: list[Samples] = []  # speech probability of each detector frame
        self._peaks: list[Samples] = []  # peak of each frame at the source's rate
        self.embeddings: list[WindowEmbedding] = []
        self._exemplars: list[tuple[int | None, Exemplar]] = []  # with their tracks
        self.level_dbfs = SILENCE_DBFS  # of the newest block

    @property
    def speech_s(self) -> float:
        """Clean speech so far, seconds; that of other people is left out once the audio is finished."""
        return max(0.0, seconds(self._buffer.speech_samples) - self.left_out.total_s)

    @property
    def left_out(self) -> LeftOut:
        """Speech so far that is not used."""
        return self._clean.left_out(self._others)

    @property
    def exemplars(self) -> list[Exemplar]:
        """X-vectors for a profile; those of other people are left out once the audio is finished."""
        return [exemplar for track, exemplar in self._exemplars if track not in self._others]

    @property
    def people(self) -> list[PersonSpeech]:
        """The people that segmentation found, who speaks longest first; empty without segmentation."""
        return people_of(self.tracks, self._scorer)

    @property
    def tracks(self) -> list[TrackSpeech]:
        """The tracks that segmentation found; none without segmentation."""
        numbers = sorted({one.track for one in self.embeddings if one.track is not None})
        return tracks_of(self.embeddings, {number: self._clean.solo_s(number) for number in numbers})

    @property
    def is_full(self) -> bool:
        """Whether further audio would be ignored."""
        return seconds(self._buffer.speech_samples) >= MAX_ENROLMENT_SPEECH_S

    def push(self, block: Samples) -> None:
        """Process frames (n, channels) at the source's rate."""
        for start in range(0, len(block), self._rate_hz):  # one second at a time, within the ring's capacity
            part = block[start : start + self._rate_hz]
            mono = self._selector.select(part)[0]
            self.level_dbfs = level_dbfs(mono)
            self._peaks.append(_frame_peaks(part, round(self._rate_hz * FRAME_SAMPLES / SAMPLE_RATE_HZ)))
            self._clean.add_samples(part)
            self._buffer.push(self._resampler.push(mono))
            if self._buffer.is_due():
                self._process(last=False)

    def finish(self) -> None:
        """Process the remainder at the end of the audio."""
        self._buffer.push(self._resampler.flush())
        self._process(last=True)
        first, *others = [{track.number for track in person.tracks} for person in self.people] or [set()]
        self._others = frozenset(set().union(*others) - first)

    def quality(self, *, recent_s: float | None = None) -> SoundQuality:
        """Measure the quality of all audio, or of the newest `recent_s` seconds."""
        frames = None if recent_s is None else -round(recent_s * SAMPLE_RATE_HZ / FRAME_SAMPLES)
        powers, speech, peaks = (_joined(parts)[frames:] for parts in (self._powers, self._speech, self._peaks))
        voiced = powers[speech >= self._gate.on]
        return SoundQuality(
            level_dbfs=max(SILENCE_DBFS, float(10 * np.log10(voiced.mean() + 1e-12))) if len(voiced) else SILENCE_DBFS,
            snr_db=snr_db(powers, speech, on=self._gate.on),
            clipped=clipped_share(peaks, speech_frames=len(voiced)),
        )

    def recording(self, *, kind: Kind, origin: str) -> EnrolledRecording:
        """Return what a profile stores. Raises `ProfilesError` without an exemplar."""
        info = self._model.info
        return EnrolledRecording(
            model=ModelRef(name=info.name, revision=info.revision),
            kind=kind,
            origin=origin,
            speech_s=self.speech_s,
            exemplars=tuple(self.exemplars),
        )

    def _process(self, *, last: bool) -> None:
        """Detect speech in what was pushed and embed the windows that are due."""
        frames = self._buffer.frames(last=last)
        probabilities: list[float] = []
        if len(frames):
            result = self._detector.infer([SpeechRequest("enrolment", frames, self._detector_state)])[0]
            self._detector_state, probabilities = result.state, result.probabilities.tolist()
            self._speech.append(result.probabilities)
            powers = np.square(frames.reshape(-1, FRAME_SAMPLES)).mean(axis=1)
            self._powers.append(powers / np.square(self._buffer.frame_gains))
            self._clean.add_speech(result.probabilities >= self._gate.on)
        for span in self._buffer.add_speech(probabilities, last=last):
            if self.is_full or not span.passes_gate:
                continue
            if self._segmentation is None:
                self._embed(span, None)
            elif span.spec is not self._model.spec:
                self._clean.add_activity(span, self._segmentation.infer([self._buffer.window(span)])[0].values)
            else:
                for track in self._clean.newest_tracks:
                    self._embed(span, track)

    def _embed(self, span: WindowSpan, track: int | None) -> None:
        """Embed the clean parts of a window (of a track); windows that overlap by at most a half become exemplars."""
        spec, parts = self._model.spec, self._clean.parts(span, track)
        length = sum(end - start for start, end in parts)
        if length < spec.minimum_samples:
            return
        vector = self._model.infer([join_parts(self._buffer.window(span), parts)])[0].values
        if not np.isfinite(vector).all():
            return
        speech_s = seconds(min(length, span.speech_samples))
        self.embeddings.append(WindowEmbedding(vector, speech_s, seconds(span.new_speech_samples), track))
        if span.end_sample - self._last_exemplar_end.get(track, -spec.length_samples) >= spec.length_samples // 2:
            self._last_exemplar_end[track] = span.end_sample
            self._exemplars.append((track, Exemplar(vector, speech_s)))


def speakers_issue(audios: Sequence[EnrolmentAudio], scorer: Scorer) -> QualityIssue | None:
    """Return the defect if several people speak: by count with segmentation, else as x-vectors suggest."""
    tracks = [track for audio in audios for track in audio.tracks]
    if tracks:
        return people_issue(people_of(tracks, scorer))
    embeddings = [embedding for audio in audios for embedding in audio.embeddings]
    return speaker_issue(same_speaker_probability(embeddings, scorer))


def _frame_peaks(block: Samples, frame: int) -> Samples:
    """Return the highest magnitude over all channels in each whole frame; (n, channels) to (frames,)."""
    whole = len(block) // frame * frame
    return np.asarray(np.abs(block[:whole]).reshape(-1, frame * block.shape[1]).max(axis=1), np.float32)


def _joined(parts: list[Samples]) -> Samples:
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
