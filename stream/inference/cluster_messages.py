"""Messages between a node and its bridge to the cluster, a process of its own on the same machine.

They travel pickled over a socket pair that no other process can reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream.inference.replica import Loader, ModelGroups, WindowHeader
from stream.types import Samples

CALLS_PER_REPLICA = 2
"""Calls of a node that a replica has at a time: one batch is scored while the next one is on its way."""


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """What a bridge needs to start. `address` is that of the cluster; `local` starts one."""

    address: str
    namespace: str
    replicas: int
    num_cpus: float
    num_gpus: float
    threads: int
    load: Loader


@dataclass(frozen=True, slots=True)
class Request:
    """A batch to be scored by a replica; asked again, once, if its replica is lost within `fresh_s`."""

    number: int
    lane: int
    headers: Sequence[WindowHeader]
    samples: Sequence[bytes]
    fresh_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """The values of every model for a batch, or why there are none; `is_lost`: the cluster's fault."""

    number: int
    values: Sequence[Samples] = ()
    error: str = ""
    is_lost: bool = False
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class BridgeState:
    """Replicas that answer, and the models, once known; `detail` says what is missing."""

    replicas_up: int
    models: ModelGroups = ()
    detail: str = ""
