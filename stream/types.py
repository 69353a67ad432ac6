"""What passes between the rooms, and the protocols the rooms meet by.

Everything here is frozen. Time is the integer sample index of a stream at `SAMPLE_RATE_HZ`; only a `Block`, fresh from
its source, counts frames at the source's own rate. Arrays are float32 in [-1, 1]; nobody writes into one
he was handed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from types import TracebackType

    from stream.events import Event

SAMPLE_RATE_HZ = 16_000
"""The only rate inside; every model of the zoo was trained at it."""

FRAME_SAMPLES = 512
"""A frame of the speech detector: 32 ms."""

Samples = NDArray[np.float32]


class Task(StrEnum):
    """What a model tells of a window."""

    EMOTION = "emotion"  # a probability for each label
    SPEAKER = "speaker"  # an x-vector, compared by cosine
    IDENTITY = "identity"  # a probability for each of a closed set of people
    OVERLAP = "overlap"  # for each frame, the probabilities that one and that another person speaks


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a source's blocks are to be read: frames a second, and channels side by side."""

    rate_hz: int
    channels: int


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive frames of a source, at the source's own rate.

    `start_frame` counts from the source's first frame and includes what was lost, so a jump between one block's end and
    the next one's start is a gap. `samples` has shape (frames, channels). `captured_s` is the monotonic time at which
    the last frame was captured, where that was not just now.
    """

    source_id: str
    start_frame: int
    samples: Samples
    captured_s: float | None = None

    @property
    def end_frame(self) -> int:
        """The frame after the last one."""
        return self.start_frame + len(self.samples)


@dataclass(frozen=True, slots=True)
class Interruption:
    """A source that is alive but gives no sound: it was lost (`stalled`) or came back (`resumed`)."""

    source_id: str
    state: str  # "stalled" | "resumed"
    reason: str


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How windows are cut: one of `length_samples` ends at every multiple of `hop_samples`.

    Where less sound than a whole window is to be had (the start of a stream, after a gap, the tail), a shorter window
    of at least `minimum_samples` is cut. `from_onset` begins a window no earlier than the stretch of speech
    its end lies in, so that it does not mix two people who are parted by a pause.
    """

    length_samples: int
    hop_samples: int
    minimum_samples: int
    from_onset: bool = True

    def __post_init__(self) -> None:
        """Refuse a spec that could never cut a window."""
        if not 0 < self.minimum_samples <= self.length_samples or self.hop_samples <= 0:
            msg = f"a window spec needs 0 < minimum <= length and a positive hop, not {self}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """Speech from `start_sample` to `end_sample`, pauses shorter than `min_silence` included."""

    start_sample: int
    end_sample: int


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """A window's place, before its samples are read. `fresh_samples` is speech since the cut before."""

    spec: WindowSpec
    index: int
    start_sample: int
    end_sample: int
    speech_samples: int
    fresh_samples: int
    stretch: SpeechSegment | None
    open: bool  # worth a model's time

    @property
    def length_samples(self) -> int:
        """The window's length."""
        return self.end_sample - self.start_sample


@dataclass(frozen=True, slots=True)
class Window:
    """Sound of one stream, ready for a model. `samples` has shape (n,), `index` counts hops from the stream's start."""

    source_id: str
    index: int
    start_sample: int
    samples: Samples = field(repr=False)  # sound is never printed
    speech_ratio: float
    speech_samples: int

    @property
    def end_sample(self) -> int:
        """The sample after the last one."""
        return self.start_sample + len(self.samples)


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's answer to one window.

    Probabilities by label (labels,), an x-vector (dimensions,), or probabilities of each frame (frames, people).
    """

    model: str
    source_id: str
    index: int
    start_sample: int
    end_sample: int
    values: NDArray[np.float32] = field(repr=False)  # nor are voices and emotions


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model says of itself.

    `labels` are the classes in the order of its scores (empty for x-vectors). `threshold` is the cosine above which
    two x-vectors count as one person (None for classifiers). `calibration` turns a cosine into a probability (slope,
    offset, weight of the logarithm of the seconds), and `cohort` are x-vectors of strangers at length one, shape
    (n, dimensions), for AS-norm; a model may come without either.
    """

    name: str
    revision: str
    task: Task
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    calibration: tuple[float, float, float] | None = None
    cohort: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)


class Model(Protocol):
    """A window in, scores out. Synchronous, called from worker threads, without memory between calls."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, task and labels."""
        ...

    @property
    def spec(self) -> WindowSpec:
        """The windows it wants."""
        ...

    def infer(self, batch: Sequence[Window]) -> Sequence[Scores]:
        """Score windows of equal length; one answer a window, in the same order.

        Raises `InferenceError` when the batch cannot be scored.
        """
        ...


class Ensemble(Protocol):
    """Models that want the same windows and can answer together, in less time than one after the other."""

    @property
    def models(self) -> Sequence[Model]:
        """Two or more; all with one `spec`."""
        ...

    def infer(self, batch: Sequence[Window]) -> Sequence[Sequence[Scores]]:
        """For each window, in order, what each model says of it, in the order of `models`.

        Raises `InferenceError` when the batch cannot be scored.
        """
        ...


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """Frames of one stream for the speech detector: shape (n * 512,). `state` is what the last result returned."""

    source_id: str
    samples: Samples = field(repr=False)
    state: object | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SpeechResult:
    """The probability of speech in each frame, shape (n,), and the state to hand in with the next request."""

    probabilities: NDArray[np.float32] = field(repr=False)
    state: object = field(repr=False)


class SpeechDetector(Protocol):
    """Says which frames hold speech; like a `Model`, but told its own past at each call."""

    def infer(self, batch: Sequence[SpeechRequest]) -> Sequence[SpeechResult]:
        """Judge requests of equal length; one result a request, in the same order."""
        ...


class Source(Protocol):
    """Sound from outside. `format` holds once `blocks()` has been entered."""

    @property
    def id(self) -> str:
        """The name events carry."""
        ...

    @property
    def channels(self) -> str:
        """How its channels become streams: `mix`, `split`, or the number of one."""
        ...

    @property
    def live(self) -> bool:
        """Whether sound comes at its own pace (windows may be dropped) or at ours (they wait)."""
        ...

    @property
    def paced(self) -> bool:
        """Whether a block comes when its last sample is heard (a microphone, a file in real time)."""
        ...

    @property
    def format(self) -> AudioFormat:
        """Rate and channels of its blocks."""
        ...

    def blocks(self) -> AbstractAsyncContextManager[AsyncIterator[Block | Interruption]]:
        """Open, give blocks in order until the end or `stop()`, close. Raises `SourceError`."""
        ...

    def stop(self) -> None:
        """End the stream as if the sound had ended; what was captured is still given."""
        ...


class Sink(Protocol):
    """A way out for events."""

    async def __aenter__(self) -> Self:
        """Connect."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush, say good-bye and close."""
        ...

    async def send(self, event: Event) -> None:
        """Take one event; may wait, and raises `SinkError` when no event can leave any more."""
        ...
