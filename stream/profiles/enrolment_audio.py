"""One piece of sound on its way to a recording of somebody.

It goes the way all sound goes (resampling, speech gate, windows), so that enrolment and recognition hear alike: only
windows of speech are embedded, and silence between words counts for nothing. Beside, it is measured how good it is.
"""

from __future__ import annotations

import numpy as np

from stream.audio.buffer import StreamBuffer, required_capacity
from stream.audio.channels import select
from stream.audio.loudness import SILENCE_DBFS, level_dbfs
from stream.audio.resampling import Resampler
from stream.clock import samples, seconds
from stream.events import ModelRef
from stream.profiles.profile import EnrolledRecording, Exemplar, Kind
from stream.profiles.quality import SoundQuality, WindowEmbedding, clipped_share, snr_db
from stream.settings import Settings
from stream.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, Model, Samples, SpeechDetector, SpeechRequest, WindowSpan

MOST_S = 120.0
"""Speech after which nothing is learned any more."""


class EnrolmentAudio:
    """Sound of one person, pushed block after block. Models run in the caller's thread."""

    def __init__(self, *, settings: Settings, model: Model, detector: SpeechDetector, rate_hz: int) -> None:
        self._model, self._detector, self._gate = model, detector, settings.gate
        self._rate_hz = rate_hz
        self._resampler = Resampler(rate_hz=rate_hz)
        capacity = required_capacity([model.spec], piece=2 * SAMPLE_RATE_HZ)
        self._intake = StreamBuffer(
            source_id="enrolment",
            specs=[model.spec],
            gate=settings.gate,
            capacity=capacity,
            memory=samples(settings.ring_s),
        )
        self._memory: object | None = None  # the speech detector's
        self._kept_until = -model.spec.length_samples
        self._powers: list[Samples] = []  # of frames
        self._speech: list[Samples] = []  # their probabilities of speech
        self._peaks: list[Samples] = []  # of frames at the source's rate
        self.pieces: list[WindowEmbedding] = []
        self.exemplars: list[Exemplar] = []
        self.level_dbfs = SILENCE_DBFS  # of the newest block

    @property
    def speech_s(self) -> float:
        """Speech so far, seconds."""
        return seconds(self._intake.speech_samples)

    @property
    def is_full(self) -> bool:
        """Whether more would not be learned from."""
        return self.speech_s >= MOST_S

    def push(self, sound: Samples) -> None:
        """Take frames (n, channels) at the source's rate."""
        for at in range(0, len(sound), self._rate_hz):  # a second at a time: the ring must never be outrun
            piece = sound[at : at + self._rate_hz]
            mono = select(piece, "mix")[0]
            self.level_dbfs = level_dbfs(mono)
            self._peaks.append(_peaks(piece, round(self._rate_hz * FRAME_SAMPLES / SAMPLE_RATE_HZ)))
            self._intake.push(self._resampler.push(mono))
            if self._intake.is_due():
                self._listen(last=False)

    def finish(self) -> None:
        """The sound has ended."""
        self._intake.push(self._resampler.flush())
        self._listen(last=True)

    def sound(self, *, recent_s: float | None = None) -> SoundQuality:
        """How good it is: all of it, or the newest part."""
        frames = None if recent_s is None else -round(recent_s * SAMPLE_RATE_HZ / FRAME_SAMPLES)
        powers, speech, peaks = (_joined(parts)[frames:] for parts in (self._powers, self._speech, self._peaks))
        talk = powers[speech >= self._gate.on]
        return SoundQuality(
            level_dbfs=max(SILENCE_DBFS, float(10 * np.log10(talk.mean() + 1e-12))) if len(talk) else SILENCE_DBFS,
            snr_db=snr_db(powers, speech, on=self._gate.on),
            clipped=clipped_share(peaks, speech_frames=len(talk)),
        )

    def recording(self, *, kind: Kind, origin: str) -> EnrolledRecording:
        """What is kept of it. Raises `ProfilesError` if there is nothing."""
        info = self._model.info
        return EnrolledRecording(
            model=ModelRef(name=info.name, revision=info.revision),
            kind=kind,
            origin=origin,
            speech_s=self.speech_s,
            exemplars=tuple(self.exemplars),
        )

    def _listen(self, *, last: bool) -> None:
        """Advance by what was pushed."""
        frames = self._intake.frames(last=last)
        probabilities: list[float] = []
        if len(frames):
            result = self._detector.infer([SpeechRequest("enrolment", frames, self._memory)])[0]
            self._memory, probabilities = result.state, result.probabilities.tolist()
            self._speech.append(result.probabilities)
            self._powers.append(np.square(frames.reshape(-1, FRAME_SAMPLES)).mean(axis=1))
        for cut in self._intake.hear(probabilities, last=last):
            self._embed(cut)

    def _embed(self, cut: WindowSpan) -> None:
        """Every window tells who speaks; those that share no more than half of their sound become exemplars."""
        if self.is_full or not cut.open:
            return
        vector = self._model.infer([self._intake.window(cut)])[0].values
        if not np.isfinite(vector).all():
            return
        self.pieces.append(WindowEmbedding(vector, seconds(cut.speech_samples), seconds(cut.fresh_samples)))
        if cut.end_sample - self._kept_until >= self._model.spec.length_samples // 2:
            self._kept_until = cut.end_sample
            self.exemplars.append(Exemplar(vector, seconds(cut.speech_samples)))


def _peaks(sound: Samples, frame: int) -> Samples:
    """The highest magnitude in each whole frame, all channels together; (frames,)."""
    whole = len(sound) // frame * frame
    return np.asarray(np.abs(sound[:whole]).reshape(-1, frame * sound.shape[1]).max(axis=1), np.float32)


def _joined(parts: list[Samples]) -> Samples:
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
