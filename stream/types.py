"""Values passed between packages, and the protocols of sources, models, speech detectors and sinks.

All values are frozen. Time is the integer sample index of a stream at `SAMPLE_RATE_HZ`; only a `Block` counts frames at
its source's rate. Audio arrays are float32 in [-1, 1] and are never modified by their receivers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from types import TracebackType

    from stream.events import CallChange, Event, Outcome

SAMPLE_RATE_HZ = 16_000
"""Sample rate of all streams; every model of the zoo was trained at it."""

PAUSE_SAMPLES = SAMPLE_RATE_HZ * 2 // 5
"""Pause after speech that is silence: 0.4 s."""

FRAME_SAMPLES = 512
"""Samples per frame of the speech detector (32 ms)."""

OVERLAP_FRAME_SAMPLES = 320
"""A frame of an overlap model: 20 ms."""

Samples = NDArray[np.float32]


class Task(StrEnum):
    """What a model infers from a window."""

    EMOTION = "emotion"  # a probability for each label
    SPEAKER = "speaker"  # an x-vector, compared by cosine
    IDENTITY = "identity"  # a probability for each of a closed set of people
    OVERLAP = "overlap"  # for each frame, the probabilities that each of two people speaks


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Format of a source's blocks: frames per second, and channels per frame."""

    rate_hz: int
    channels: int


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive frames of a source, at the source's rate.

    `start_frame` counts from the source's first frame and includes lost frames, so a difference between the end of one
    block and the start of the next is a gap. `samples` has shape (frames, channels). `captured_s` is the monotonic time
    at which the last frame was captured; None means on arrival.
    """

    source_id: str
    start_frame: int
    samples: Samples
    captured_s: float | None = None

    @property
    def end_frame(self) -> int:
        """Index of the frame after the last one."""
        return self.start_frame + len(self.samples)


@dataclass(frozen=True, slots=True)
class Interruption:
    """A source that stays open stopped delivering audio (`stalled`; `paused`: on purpose), or resumes (`resumed`).

    `described` changes nothing but the labels: what is known about a call.
    """

    source_id: str
    state: str  # "stalled" | "paused" | "resumed" | "described"
    reason: str
    labels: Mapping[str, str] = field(default_factory=dict)
    call_change: CallChange | None = None


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Window layout: a window of `length_samples` ends at every multiple of `hop_samples`.

    Where less audio is available (at the start of a stream, after a gap, at the tail), windows are shorter, but at
    least `minimum_samples` long. With `from_onset` a window starts no earlier than the speech segment that its end is
    in, so that it does not mix two speakers separated by a pause. With `any_speech` a window is scored however little
    new speech it holds: the model itself finds out where somebody speaks.
    """

    length_samples: int
    hop_samples: int
    minimum_samples: int
    from_onset: bool = True
    any_speech: bool = False

    def __post_init__(self) -> None:
        """Reject a spec that yields no windows. Raises `ValueError`."""
        if not 0 < self.minimum_samples <= self.length_samples or self.hop_samples <= 0:
            msg = f"invalid window spec {self}; use 0 < minimum <= length and a positive hop"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """Speech from `start_sample` to `end_sample`, including pauses shorter than `gate.min_silence_ms`."""

    start_sample: int
    end_sample: int


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """Position of a window, before its samples are read.

    `new_speech_samples` is the speech since the previous span, `segment` the speech segment of its end, if any.
    `passes_gate` means that the window holds enough speech to be scored. An `interim` window ends at half a hop. An
    `onset` ends at a quarter and is not scored: it says that speech has begun.
    """

    spec: WindowSpec
    index: int
    start_sample: int
    end_sample: int
    speech_samples: int
    new_speech_samples: int
    segment: SpeechSegment | None
    passes_gate: bool
    interim: bool = False
    onset: bool = False

    @property
    def silent(self) -> bool:
        """Whether speech has paused for `PAUSE_SAMPLES`, or none began yet."""
        return self.segment is None or self.end_sample - self.segment.end_sample >= PAUSE_SAMPLES

    @property
    def length_samples(self) -> int:
        """Length of the window."""
        return self.end_sample - self.start_sample


@dataclass(frozen=True, slots=True)
class Window:
    """Audio of one window. `samples` has shape (n,); `index` counts hops from the start of the stream."""

    source_id: str
    index: int
    start_sample: int
    samples: Samples = field(repr=False)  # audio is never printed or logged
    speech_ratio: float
    speech_samples: int

    @property
    def end_sample(self) -> int:
        """Index of the sample after the last one."""
        return self.start_sample + len(self.samples)


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's output for one window.

    `values` are probabilities by label and then the model's dimensions (labels + dimensions,), an x-vector
    (dimensions,), or frame probabilities (frames, people).
    """

    model: str
    source_id: str
    index: int
    start_sample: int
    end_sample: int
    values: NDArray[np.float32] = field(repr=False)  # nor are x-vectors and emotions


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Metadata of a model.

    `labels` are the classes in score order (empty for x-vectors); `dimensions` are values of 0 to 1 that follow their
    probabilities in the scores, such as `arousal`. `threshold` is the cosine above which two x-vectors
    count as the same person (None for classifiers). `calibration` maps scores to log-odds (the arguments of
    `tracking.calibration.Calibration`), and `cohort` holds unit x-vectors of other people, shape (n, dimensions), for
    AS-norm; both are optional. With `telephone_shift` its second half are the same people by telephone
    (`tracking.scoring.Cohort`).
    """

    name: str
    revision: str
    task: Task
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    calibration: tuple[float, float, float] | None = None
    cohort: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    dimensions: tuple[str, ...] = ()
    telephone_shift: float = 0.0


class Model(Protocol):
    """A model that scores windows. Synchronous, called from worker threads, stateless between calls."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, task and labels."""
        ...

    @property
    def spec(self) -> WindowSpec:
        """Layout of the windows it scores."""
        ...

    def infer(self, batch: Sequence[Window]) -> Sequence[Scores]:
        """Score windows of equal length; returns one result per window, in the same order.

        Raises `InferenceError` when the batch cannot be scored.
        """
        ...


class Ensemble(Protocol):
    """Models that share a window layout and score together, in less time than one after the other."""

    @property
    def models(self) -> Sequence[Model]:
        """Two or more models with equal `spec`."""
        ...

    def infer(self, batch: Sequence[Window]) -> Sequence[Sequence[Scores]]:
        """Score windows of equal length; returns for each window, in order, the scores of each of `models`.

        Raises `InferenceError` when the batch cannot be scored.
        """
        ...


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """Frames of one stream for the speech detector, shape (n * 512,); `state` is that of the previous result."""

    source_id: str
    samples: Samples = field(repr=False)
    state: object | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SpeechResult:
    """Probability of speech in each frame, shape (n,), and the state for the next request."""

    probabilities: NDArray[np.float32] = field(repr=False)
    state: object = field(repr=False)


class SpeechDetector(Protocol):
    """Voice activity detector; like a `Model`, but with explicit state per stream."""

    def infer(self, batch: Sequence[SpeechRequest]) -> Sequence[SpeechResult]:
        """Score requests of equal length; returns one result per request, in the same order."""
        ...


class Source(Protocol):
    """A source of audio. `format` is valid once `blocks()` has been entered."""

    @property
    def id(self) -> str:
        """Name of the source in events."""
        ...

    @property
    def channels(self) -> str:
        """How channels become streams: `mix`, `split`, a channel number, or parties of a call."""
        ...

    @property
    def live(self) -> bool:
        """Whether audio arrives in real time, so that windows may be dropped, or is read on demand."""
        ...

    @property
    def paced(self) -> bool:
        """Whether blocks arrive as their last sample is played or captured (microphone, file in real time)."""
        ...

    @property
    def format(self) -> AudioFormat:
        """Rate and channels of the blocks."""
        ...

    def blocks(self) -> AbstractAsyncContextManager[AsyncIterator[Block | Interruption]]:
        """Open the source, yield blocks in order until the end or `stop()`, and close it. Raises `SourceError`."""
        ...

    def stop(self) -> None:
        """End the stream as if the audio had ended; blocks already captured are still yielded."""
        ...


@runtime_checkable
class ConnectedSource(Protocol):
    """A source that knows what its peer said about the call, and why and how its audio ended."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Caller, agent, queue; empty if nothing is known."""
        ...

    @property
    def ending(self) -> tuple[str, Outcome]:
        """Reason as text, and outcome; valid once its blocks have ended."""
        ...


class Sink(Protocol):
    """A destination of events."""

    async def __aenter__(self) -> Self:
        """Connect."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush and close."""
        ...

    async def send(self, event: Event) -> None:
        """Send one event; may wait. Raises `SinkError` once no further event can be sent."""
        ...
