"""Messages between the command and the process that holds its connection to the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream.tools.archive.task import ArchiveSettings, Outcome
from stream.tools.watch.folder import FoundRecording


@dataclass(frozen=True, slots=True)
class ArchiveRequest:
    """All recordings to be processed, and where; a task needs `num_cpus` cores and `num_gpus` GPUs."""

    address: str
    num_cpus: float
    num_gpus: float
    local_cpus: int
    shared: ArchiveSettings
    recordings: Sequence[FoundRecording]


@dataclass(frozen=True, slots=True)
class ArchiveAnswer:
    """What became of the recording of a number; an `outcome.error` is that of the whole run."""

    number: int
    outcome: Outcome
