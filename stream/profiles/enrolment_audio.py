"""Audio of one enrolment: speech detection, x-vectors of its windows, and measurements of its quality.

Audio takes the path of live audio (resampling, speech gate, windows), so that enrolment and recognition see the same
input: only windows of speech are embedded, and pauses do not count.
"""

from __future__ import annotations

import numpy as np

from stream.audio.buffer import StreamBuffer, required_capacity
from stream.audio.channels import select_channels
from stream.audio.loudness import SILENCE_DBFS, level_dbfs
from stream.audio.resampling import Resampler
from stream.clock import samples, seconds
from stream.events import ModelRef
from stream.profiles.profile import EnrolledRecording, Exemplar, Kind
from stream.profiles.quality import SoundQuality, WindowEmbedding, clipped_share, snr_db
from stream.settings import Settings
from stream.types import FRAME_SAMPLES, SAMPLE_RATE_HZ, Model, Samples, SpeechDetector, SpeechRequest, WindowSpan

MAX_ENROLMENT_SPEECH_S = 120.0
"""Speech after which further windows are ignored."""


class EnrolmentAudio:
    """Audio of one person, pushed block by block. Models run in the caller's thread."""

    def __init__(self, *, settings: Settings, model: Model, detector: SpeechDetector, rate_hz: int) -> None:
        self._model, self._detector, self._gate = model, detector, settings.gate
        self._rate_hz = rate_hz
        self._resampler = Resampler(rate_hz=rate_hz)
        capacity = required_capacity([model.spec], max_block=2 * SAMPLE_RATE_HZ)
        self._buffer = StreamBuffer(
            source_id="enrolment",
            specs=[model.spec],
            gate=settings.gate,
            capacity=capacity,
            memory=samples(settings.ring_s),
        )
        self._detector_state: object | None = None
        self._last_exemplar_end = -model.spec.length_samples
        self._powers: list[Samples] = []  # mean power of each detector frame
        self._speech: list[Samples] = []  # speech probability of each detector frame
        self._peaks: list[Samples] = []  # peak of each frame at the source's rate
        self.embeddings: list[WindowEmbedding] = []
        self.exemplars: list[Exemplar] = []
        self.level_dbfs = SILENCE_DBFS  # of the newest block

    @property
    def speech_s(self) -> float:
        """Speech so far, seconds."""
        return seconds(self._buffer.speech_samples)

    @property
    def is_full(self) -> bool:
        """Whether further audio would be ignored."""
        return self.speech_s >= MAX_ENROLMENT_SPEECH_S

    def push(self, block: Samples) -> None:
        """Process frames (n, channels) at the source's rate."""
        for start in range(0, len(block), self._rate_hz):  # one second at a time, within the ring's capacity
            part = block[start : start + self._rate_hz]
            mono = select_channels(part, "mix")[0]
            self.level_dbfs = level_dbfs(mono)
            self._peaks.append(_frame_peaks(part, round(self._rate_hz * FRAME_SAMPLES / SAMPLE_RATE_HZ)))
            self._buffer.push(self._resampler.push(mono))
            if self._buffer.is_due():
                self._process(last=False)

    def finish(self) -> None:
        """Process the remainder at the end of the audio."""
        self._buffer.push(self._resampler.flush())
        self._process(last=True)

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
            self._powers.append(np.square(frames.reshape(-1, FRAME_SAMPLES)).mean(axis=1))
        for span in self._buffer.add_speech(probabilities, last=last):
            self._embed(span)

    def _embed(self, span: WindowSpan) -> None:
        """Embed a window; windows that overlap by at most a half become exemplars."""
        if self.is_full or not span.passes_gate:
            return
        vector = self._model.infer([self._buffer.window(span)])[0].values
        if not np.isfinite(vector).all():
            return
        speech_s = seconds(span.speech_samples)
        self.embeddings.append(WindowEmbedding(vector, speech_s, seconds(span.new_speech_samples)))
        if span.end_sample - self._last_exemplar_end >= self._model.spec.length_samples // 2:
            self._last_exemplar_end = span.end_sample
            self.exemplars.append(Exemplar(vector, speech_s))


def _frame_peaks(block: Samples, frame: int) -> Samples:
    """Return the highest magnitude over all channels in each whole frame; (n, channels) to (frames,)."""
    whole = len(block) // frame * frame
    return np.asarray(np.abs(block[:whole]).reshape(-1, frame * block.shape[1]).max(axis=1), np.float32)


def _joined(parts: list[Samples]) -> Samples:
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
