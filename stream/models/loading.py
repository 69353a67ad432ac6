"""From a name to a model: the zoo, any hub name (`org/model`), or a folder with a checkpoint.

Rules:

* A folder that exists wins over a name. What is not on this machine is fetched once, unless `HF_HUB_OFFLINE` is set.
* Weights are safetensors, or a `.bin` read with `weights_only`: nothing else is ever unpickled, and no code that a
  checkpoint brings along is run.
* Every weight that scores depend on must come from the checkpoint; a missing one is a refusal, never a random number.
  What only training used may be absent (`objective.*`, the mask's embedding) or left over (quantisers and the like).
* transformers is imported here, late, and kept quiet; it never goes on the network, since it is handed a folder.

Refused: see `checkpoint.py` for folders that hold no such model, and `zoo.py` for what is not to be had.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from stream.errors import ModelError, ModelFormatError, ModelNotFound
from stream.models.capability import choose_dtype, packs
from stream.models.checkpoint import Checkpoint, Head, read
from stream.models.devices import resolve_device, resolve_dtype
from stream.models.fast.conversion import accelerated
from stream.models.pretrained import PretrainedModel
from stream.models.zoo import ZOO, absent, cached, fetch, find, is_hub_name, on_disk
from stream.settings import ModelSettings
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task, WindowSpec

MINIMUM_SAMPLES = 8_000
XVECTOR_MINIMUM_SAMPLES = 5_200
"""Shorter windows leave an x-vector head no or one frame: it fails below 4,880 samples and gives NaN up to here."""

THRESHOLDS: Mapping[str, float] = {"wavlm": 0.86, "unispeech-sat": 0.89}
"""Cosines the cards of the families' x-vector models name; `THRESHOLD` holds for the rest."""
THRESHOLD = 0.7

_TRAINING_ONLY = ("objective.", "masked_spec_embed")
_loading = threading.Lock()  # transformers patches torch while it builds a model

log = logging.getLogger(__name__)


def load(settings: ModelSettings, *, task: Task | None = None) -> PretrainedModel:
    """The model that the settings name, ready to score.

    `task` decides what a checkpoint is that names no architecture. Raises `ModelNotFound`, `ModelFormatError`, and
    `ModelError` where device or dtype are not to be had.
    """
    device = resolve_device(settings.device)
    int8 = settings.dtype == "int8"
    dtype = resolve_dtype(choose_dtype(settings.dtype, device), device)
    entry = find(settings.name)
    checkpoint = read(locate(settings.name, revision=settings.revision), task=entry.task if entry else task)
    net = _build(checkpoint).eval().requires_grad_(requires_grad=False)
    fast = accelerated(net, name=settings.name)
    if int8 and fast is None:
        raise ModelError(f"{settings.name} does not compute in int8; set dtype to auto, float32 or bfloat16")
    try:
        if fast is not None:
            fast.place(device=device, dtype=dtype, int8=int8, pack=packs(device, dtype))
            net = fast
        else:
            net = net.to(device=device, dtype=dtype)
    except RuntimeError as error:  # out of memory, too
        raise ModelError(f"{settings.name} does not fit on {device.type} ({error}); set device to cpu") from error
    is_folder = Path(settings.name).expanduser().is_dir()
    info = ModelInfo(
        name=checkpoint.folder.name if is_folder else settings.name,
        revision=checkpoint.revision,
        task=checkpoint.task,
        labels=checkpoint.labels,
        threshold=_threshold(checkpoint, None if is_folder or entry is None else entry.threshold),
    )
    return PretrainedModel(net=net, info=info, spec=_spec(settings, checkpoint.head), normalise=checkpoint.normalise)


def library_model(name: str) -> nn.Module:
    """The model of transformers behind a name, in float32 on the processor, with the library's own forward."""
    return _build(read(locate(name))).eval().requires_grad_(requires_grad=False)


def locate(name: str, *, revision: str = "") -> Path:
    """The folder behind a name, fetched if need be."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision:
            raise ModelNotFound(f"{name} is a folder, which has no revision {revision}; leave its revision empty")
        return folder.resolve()
    if folder.is_file():
        raise ModelNotFound(f"{name} is a file; name the folder that holds it, with its config.json")
    entry = find(name)
    if entry is None and not is_hub_name(name):
        raise ModelNotFound(
            f"there is no folder and no model {name!r}; the zoo has {', '.join(ZOO)}, and the hub's names are org/model"
        )
    checkpoint = entry.checkpoint if entry else name
    found = on_disk(entry) if entry and not revision else cached(checkpoint, revision or "main")
    if found is not None:
        return found
    from huggingface_hub import constants  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        raise absent(name, checkpoint=checkpoint)
    log.info("fetching %s from the hub", checkpoint)
    return fetch(name, revision=revision, progress=sys.stderr.isatty())


def _build(checkpoint: Checkpoint) -> nn.Module:
    """The checkpoint's class from transformers with all of its weights."""
    import transformers  # noqa: PLC0415  (seconds)
    from huggingface_hub import errors  # noqa: PLC0415

    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # or a `.bin` starts a thread that asks the hub to convert it
    try:
        with _loading, _quiet():
            net, report = getattr(transformers, checkpoint.class_name).from_pretrained(
                checkpoint.folder,
                local_files_only=True,
                output_loading_info=True,
                use_safetensors=".safetensors" in checkpoint.weights.name,
                weights_only=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except (
        RuntimeError,  # a broken archive
        OSError,  # unreadable, or transformers' word for most of these
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        getattr(errors, "StrictDataclassError", ValueError),  # config.json makes no model, say newer releases
        EOFError,
        pickle.UnpicklingError,  # a `.bin` with more than tensors in it
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelFormatError(
            f"{checkpoint.folder} cannot be loaded as {checkpoint.class_name} ({reason}); fetch the checkpoint again"
        ) from error
    _complete(checkpoint, report, backbone=net.base_model_prefix)
    module: nn.Module = net
    return module


def _complete(checkpoint: Checkpoint, report: Mapping[str, Iterable[Any]], *, backbone: str) -> None:
    """Refuse a model of which a part was made up or a part of the backbone left out."""
    keys = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])  # or with both shapes
    misshapen = sorted(key for key in keys if not _spare(key))
    if misshapen:
        raise ModelFormatError(
            f"{checkpoint.folder} holds weights of other shapes than its config.json says ({_some(misshapen)}); "
            "fetch both again"
        )
    missing = sorted(key for key in map(str, report["missing_keys"]) if not _spare(key))
    if missing:
        raise ModelFormatError(
            f"{checkpoint.folder} lacks weights of {checkpoint.class_name} ({_some(missing)}); it needs a checkpoint "
            "fine-tuned with that head"
        )
    left = sorted(k for k in map(str, report["unexpected_keys"]) if k.startswith(f"{backbone}.") and not _spare(k))
    if left:
        raise ModelFormatError(
            f"{checkpoint.folder} holds weights its config.json knows nothing of ({_some(left)}); fetch both again"
        )


def _spare(key: str) -> bool:
    return key.startswith(_TRAINING_ONLY) or key.endswith(_TRAINING_ONLY)


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:4])
    return shown if len(keys) <= 4 else f"{shown} and {len(keys) - 4} more"  # noqa: PLR2004


def _threshold(checkpoint: Checkpoint, named: float | None) -> float | None:
    if checkpoint.head is not Head.XVECTOR:
        return None
    return named if named is not None else THRESHOLDS.get(checkpoint.family, THRESHOLD)


def _spec(settings: ModelSettings, head: Head) -> WindowSpec:
    length = round(settings.window_s * SAMPLE_RATE_HZ)
    minimum = min(MINIMUM_SAMPLES, length)
    if head is Head.XVECTOR and minimum < XVECTOR_MINIMUM_SAMPLES:
        raise ModelError(f"an x-vector takes windows of {XVECTOR_MINIMUM_SAMPLES / SAMPLE_RATE_HZ} s or more")
    return WindowSpec(
        length_samples=length, hop_samples=round(settings.hop_s * SAMPLE_RATE_HZ), minimum_samples=minimum
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' log, progress bars and warnings, and afterwards as before."""
    from transformers.utils import logging as chatter  # noqa: PLC0415

    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
