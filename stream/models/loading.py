"""Loading of pretrained models by name: a zoo name, a hub name (`org/model`), or a folder with a checkpoint.

Rules:

* An existing folder takes precedence over a name. A checkpoint that is not cached is downloaded once, unless
  `HF_HUB_OFFLINE` is set.
* Weights are safetensors, or a `.bin` read with `weights_only`: nothing else is unpickled, and no code of a checkpoint
  runs.
* Every weight that scores depend on must come from the checkpoint; a missing one is an error, never random. Weights
  used only in training may be missing (`objective.*`, the mask's embedding) or left over (quantisers and the like).
* transformers is imported here, late, with its log silenced; it gets a folder and never uses the network.

Errors: see `checkpoint.py` for invalid folders, and `zoo.py` for models that cannot be found.
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

import torch
from safetensors import SafetensorError
from torch import nn

from stream.errors import ModelError, ModelFormatError, ModelNotFound
from stream.models.agreement import agreement, all_outputs, speech_windows
from stream.models.capability import choose_dtype, should_pack
from stream.models.checkpoint import Checkpoint, Head, read_checkpoint
from stream.models.devices import resolve_device, resolve_dtype
from stream.models.fast.conversion import accelerate
from stream.models.fast.net import FastNet
from stream.models.pooled import DENSE, OUTPUT, PooledHead, PooledNet, read_head
from stream.models.preprocessing import prepare
from stream.models.pretrained import PretrainedModel
from stream.models.zoo import ZOO, cached_folder, fetch, find_entry, is_hub_name, local_folder, offline_error
from stream.settings import ModelSettings
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task, WindowSpec

MIN_SAMPLES = 8_000
MIN_XVECTOR_SAMPLES = 5_200
"""Shorter windows leave an x-vector head one frame or none: it fails below 4,880 samples and gives NaN up to here."""

FAMILY_THRESHOLDS: Mapping[str, float] = {"wavlm": 0.86, "unispeech-sat": 0.89}
"""Cosine thresholds from the model cards of the families' x-vector models; others use `DEFAULT_THRESHOLD`."""
DEFAULT_THRESHOLD = 0.7

LOSS_WINDOWS = 6
"""Windows on which the accuracy of a net in int8 is measured at every load; `tonewatch bench --model` takes more."""

_TRAINING_ONLY = ("objective.", "masked_spec_embed")
_loading = threading.Lock()  # transformers patches torch globally while it builds a model

log = logging.getLogger(__name__)


def load(settings: ModelSettings, *, task: Task | None = None) -> PretrainedModel:
    """Load the configured model, ready for inference.

    `task` decides the head of a checkpoint that names no architecture. Raises `ModelNotFound`, `ModelFormatError`, and
    `ModelError` if device or dtype are not available.
    """
    device = resolve_device(settings.device)
    int8 = settings.dtype == "int8"
    dtype = resolve_dtype(choose_dtype(settings.dtype, device), device)
    entry = find_entry(settings.name)
    folder = locate_checkpoint(settings.name, revision=settings.revision)
    checkpoint = read_checkpoint(folder, task=entry.task if entry else task)
    net = _build(checkpoint).eval().requires_grad_(requires_grad=False)
    fast = accelerate(net, name=settings.name)
    if int8 and fast is None:
        raise ModelError(f"{settings.name} does not support int8; set dtype to auto, float32 or bfloat16")
    spec = _spec(settings, checkpoint.head)
    try:
        if fast is not None and int8:
            _place_in_int8(fast, checkpoint, settings.name, spec)
            net = fast
        elif fast is not None:
            fast.place(device=device, dtype=dtype, pack=should_pack(device, dtype))
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
        dimensions=checkpoint.dimensions,
        threshold=_threshold(checkpoint, None if is_folder or entry is None else entry.threshold),
    )
    return PretrainedModel(net=net, info=info, spec=spec, normalise=checkpoint.normalise, singly=int8)


def _place_in_int8(fast: FastNet, checkpoint: Checkpoint, name: str, spec: WindowSpec) -> None:
    """Quantise a net on the processor, and log what that costs in accuracy."""
    windows = speech_windows(LOSS_WINDOWS, samples=spec.length_samples).numpy()
    audio = torch.from_numpy(prepare(list(windows), normalise=checkpoint.normalise))
    exact = all_outputs(fast, audio, batch=1)
    processor = torch.device("cpu")
    layers = fast.place(device=processor, dtype=torch.float32, int8=True, pack=should_pack(processor, torch.float32))
    loss = agreement(all_outputs(fast, audio, batch=1), exact)
    same = "" if checkpoint.head is Head.XVECTOR else f" and the same label in {loss.same_argmax:.0%}"
    log.warning(
        "%s in int8: %d layers are faster in it; against float32, on %d windows of the bundled conversation: "
        "cosine at least %.4f%s",
        name,
        layers,
        LOSS_WINDOWS,
        loss.least_cosine,
        same,
    )


def library_model(name: str) -> nn.Module:
    """Load the transformers model of a name, in float32 on the processor, with the library's forward."""
    return _build(read_checkpoint(locate_checkpoint(name))).eval().requires_grad_(requires_grad=False)


def locate_checkpoint(name: str, *, revision: str = "") -> Path:
    """Return the folder of a model, downloading it if necessary. Raises `ModelNotFound`."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision:
            raise ModelNotFound(f"{name} is a folder and has no revision {revision!r}; leave its revision empty")
        return folder.resolve()
    if folder.is_file():
        raise ModelNotFound(f"{name} is a file; give its folder, which also needs a config.json")
    entry = find_entry(name)
    if entry is None and not is_hub_name(name):
        raise ModelNotFound(
            f"unknown model or folder {name!r}; use a zoo name ({', '.join(ZOO)}), a hub name (ORG/MODEL) or a folder"
        )
    checkpoint = entry.checkpoint if entry else name
    local = local_folder(entry) if entry and not revision else cached_folder(checkpoint, revision or "main")
    if local is not None:
        return local
    from huggingface_hub import constants  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        raise offline_error(name, checkpoint=checkpoint)
    log.info("downloading %s from the hub", checkpoint)
    return fetch(
        name,
        revision=revision,
        progress=sys.stderr.isatty(),
        show_licence=lambda licence: log.info("licence of %s: %s", checkpoint, licence),
    )


def _build(checkpoint: Checkpoint) -> nn.Module:
    """Build the checkpoint's transformers class with all of its weights."""
    import transformers  # noqa: PLC0415  (seconds)
    from huggingface_hub import errors  # noqa: PLC0415

    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # else a `.bin` starts a thread that uses the hub
    try:
        with _loading, silenced():
            net, report = getattr(transformers, checkpoint.class_name).from_pretrained(
                checkpoint.folder,
                local_files_only=True,
                output_loading_info=True,
                use_safetensors=".safetensors" in checkpoint.weights.name,
                weights_only=True,
                ignore_mismatched_sizes=True,  # reported below, by name
            )
    except (
        RuntimeError,  # damaged archive
        OSError,  # unreadable; transformers raises it for most faults
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        getattr(errors, "StrictDataclassError", ValueError),  # invalid config.json, in newer releases
        EOFError,
        pickle.UnpicklingError,  # a `.bin` with other objects than tensors
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelFormatError(
            f"{checkpoint.folder} cannot be loaded as {checkpoint.class_name} ({reason}); download it again"
        ) from error
    _check_complete(checkpoint, report, backbone=net.base_model_prefix)
    if checkpoint.head is Head.POOLED:
        return PooledNet(net, _pooled_head(checkpoint))
    module: nn.Module = net
    return module


def _pooled_head(checkpoint: Checkpoint) -> PooledHead:
    """Return the head of a checkpoint whose architecture transformers does not have."""
    head = next((found for part in checkpoint.parts if (found := read_head(part)) is not None), None)
    outputs = len(checkpoint.labels) or len(checkpoint.dimensions)
    if head is None or head.output.out_features != outputs:
        raise ModelFormatError(
            f"{checkpoint.folder} has no head of {DENSE} and {OUTPUT} with {outputs} outputs; use another checkpoint"
        )
    return head


def _check_complete(checkpoint: Checkpoint, report: Mapping[str, Iterable[Any]], *, backbone: str) -> None:
    """Raise `ModelFormatError` if weights are missing, have other shapes, or were ignored in the backbone."""
    keys = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])  # or a tuple with both shapes
    mismatched = sorted(key for key in keys if not _is_training_only(key))
    if mismatched:
        raise ModelFormatError(
            f"{checkpoint.folder} has weights of other shapes than its config.json ({_abbreviate(mismatched)}); "
            "download both again"
        )
    missing = sorted(key for key in map(str, report["missing_keys"]) if not _is_training_only(key))
    if missing:
        raise ModelFormatError(
            f"{checkpoint.folder} lacks weights of {checkpoint.class_name} ({_abbreviate(missing)}); use a checkpoint "
            "fine-tuned with that head"
        )
    unused = sorted(
        k for k in map(str, report["unexpected_keys"]) if k.startswith(f"{backbone}.") and not _is_training_only(k)
    )
    if unused:
        raise ModelFormatError(
            f"{checkpoint.folder} has weights that its config.json does not define ({_abbreviate(unused)}); "
            "download both again"
        )


def _is_training_only(key: str) -> bool:
    return key.startswith(_TRAINING_ONLY) or key.endswith(_TRAINING_ONLY)


def _abbreviate(keys: list[str]) -> str:
    shown = ", ".join(keys[:4])
    return shown if len(keys) <= 4 else f"{shown} and {len(keys) - 4} more"  # noqa: PLR2004


def _threshold(checkpoint: Checkpoint, from_zoo: float | None) -> float | None:
    if checkpoint.head is not Head.XVECTOR:
        return None
    return from_zoo if from_zoo is not None else FAMILY_THRESHOLDS.get(checkpoint.family, DEFAULT_THRESHOLD)


def _spec(settings: ModelSettings, head: Head) -> WindowSpec:
    length = round(settings.window_s * SAMPLE_RATE_HZ)
    minimum = min(MIN_SAMPLES, length)
    if head is Head.XVECTOR and minimum < MIN_XVECTOR_SAMPLES:
        raise ModelError(
            f"an x-vector model needs windows of at least {MIN_XVECTOR_SAMPLES / SAMPLE_RATE_HZ} s; increase window_s"
        )
    return WindowSpec(
        length_samples=length, hop_samples=round(settings.hop_s * SAMPLE_RATE_HZ), minimum_samples=minimum
    )


@contextmanager
def silenced() -> Iterator[None]:
    """Silence transformers' log, progress bars and warnings; restores them afterwards."""
    from transformers.utils import logging as library_log  # noqa: PLC0415

    level, bars = library_log.get_verbosity(), library_log.is_progress_bar_enabled()
    library_log.set_verbosity_error()
    library_log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library_log.set_verbosity(level)
        if bars:
            library_log.enable_progress_bar()
