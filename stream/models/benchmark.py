"""Benchmark of full-size models: our forward against the library's, and both against the processor's peak.

Weights may be random: speed and rounding do not depend on them, and nothing has to be downloaded. Candidates are timed
in an interleaved order, so that other load on the machine affects all of them alike; medians are reported.
"""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from stream.errors import ModelError
from stream.models.agreement import Agreement, agreement, all_outputs, speech_windows
from stream.models.capability import capability, choose_dtype, should_pack
from stream.models.checkpoint import FAMILIES, Head
from stream.models.devices import resolve_device, resolve_dtype
from stream.models.fast.conversion import accelerate
from stream.models.fast.net import FastNet, forward_shared
from stream.models.graphs import CudaForward
from stream.models.loading import silenced
from stream.models.onednn import linear, pack_weight

LARGE: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 1_024,
        "intermediate_size": 4_096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "conv_bias": True,
        "do_stable_layer_norm": True,
        "feat_extract_norm": "layer",
    }
)
SHAPES: Mapping[str, tuple[str, Head, Mapping[str, Any]]] = MappingProxyType(
    {
        "emotion-wav2vec2-large": ("wav2vec2", Head.CLASSIFIER, {**LARGE, "num_labels": 4}),
        "speaker-id-voxceleb1": ("wav2vec2", Head.CLASSIFIER, {"num_labels": 1_251}),
        "speaker-wav2vec2": ("wav2vec2", Head.XVECTOR, {"num_labels": 1_211}),
        "speaker-wavlm": ("wavlm", Head.XVECTOR, {"num_labels": 1_211}),
        "speaker-unispeech-sat": ("unispeech-sat", Head.XVECTOR, {"num_labels": 1_211}),
    }
)
"""For each model of the zoo: family, head, and the differences of its configuration from the family's base size."""

GEMM_SHAPE = (1_024, 1_024, 4_096)
"""Rows, inputs and outputs of the matrix product whose speed, plain or packed, counts as a processor's peak."""

CUDA_GEMM_SHAPE = (8_192, 8_192, 8_192)
"""The same for a CUDA device, which is not busy with less."""

COMPARISON_BATCH = 4
"""Batch size of the comparison of outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Result for one model and batch size. Times in ms per window; `ratio` is achieved speed over peak speed."""

    model: str
    batch: int
    dtype: str
    library_fp32_batch1_ms: float
    library_fp32_ms: float
    library_bf16_ms: float | None
    ours_ms: float
    times_faster: float
    gflop: float
    gflop_s: float
    limit_gflop_s: float
    ratio: float
    largest_difference: float
    least_cosine: float
    same_argmax: float
    weights_mb: float


def machine_info() -> dict[str, Any]:
    """Return processor, speeds, thread count and Python version of this machine."""
    measured = capability()
    return {
        **asdict(measured),
        "choice": measured.choice,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }


def random_model(name: str, *, layers: int | None = None, is_larger: bool = True) -> nn.Module:
    """Build a model of the zoo at full width with random weights, with all of its layers or fewer.

    `is_larger`: with larger weights than the library's, so that differences between two forwards show. Raises
    `ModelError` for other names.
    """
    import transformers  # noqa: PLC0415 - seconds

    if name not in SHAPES:
        raise ModelError(f"no benchmark for model {name!r}; available: {', '.join(SHAPES)}")
    family, head, differences = SHAPES[name]
    net_class = getattr(transformers, FAMILIES[family] + head)
    torch.manual_seed(0)
    shape = {"use_weighted_layer_sum": True, "classifier_proj_size": 256, **differences}
    config = net_class.config_class(**(shape if layers is None else {**shape, "num_hidden_layers": layers}))
    net: nn.Module = net_class(config).eval().requires_grad_(requires_grad=False)
    for key, weight in net.named_parameters() if is_larger else ():
        if weight.ndim > 1 and "original" not in key:
            nn.init.xavier_normal_(weight)
    return net


def write_random_checkpoint(name: str, folder: Path) -> None:
    """Write a model of the zoo with random weights as a checkpoint. Raises `ModelError` for other names."""
    from transformers import Wav2Vec2FeatureExtractor  # noqa: PLC0415

    with silenced():
        net: Any = random_model(name, is_larger=False)
        net.save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)


def compare(
    nets: Mapping[str, nn.Module],
    *,
    batches: Sequence[int],
    window_s: float,
    runs: int,
    dtype: str,
    device: str,
    bfloat16: bool | None,
    windows: int,
) -> list[Timing]:
    """Time each model at each batch size, our forward and the library's, and compare outputs on `windows` windows.

    `bfloat16` decides whether the library is also timed in bfloat16; None: only if this machine is fastest in it.
    """
    target = resolve_device(device)
    chosen = choose_dtype(dtype, target)
    resolved = resolve_dtype(chosen, target)
    samples = round(16_000 * window_s)
    timings = []
    for name, net in nets.items():
        fast = accelerate(copy.deepcopy(net), name=name)  # a copy: it takes over the weights and converts them
        if fast is None:
            raise ModelError(f"{name} has no fast forward; nothing to compare")
        fast.place(device=target, dtype=resolved, int8=dtype == "int8", pack=should_pack(target, resolved))
        net = net.to(target)  # noqa: PLW2901
        agreed = compared(net, fast, speech_windows(windows, samples=samples).to(target))
        half = copy.deepcopy(net).bfloat16() if (bfloat16 if bfloat16 is not None else chosen == "bfloat16") else None
        for batch in batches:
            timings.append(  # noqa: PERF401
                _time_model(
                    name,
                    net,
                    half,
                    fast,
                    agreed,
                    batch=batch,
                    samples=samples,
                    runs=runs,
                    dtype=resolved,
                    int8=dtype == "int8",
                )
            )
    return timings


def compared(net: nn.Module, fast: FastNet, audio: Tensor) -> Agreement:
    """Compare our forward with the library's."""
    return agreement(
        all_outputs(fast, audio, batch=COMPARISON_BATCH),
        all_outputs(lambda part: library_output(net(part)), audio, batch=COMPARISON_BATCH),
    )


def _time_model(
    name: str,
    net: nn.Module,
    half: nn.Module | None,
    fast: FastNet,
    agreed: Agreement,
    *,
    batch: int,
    samples: int,
    runs: int,
    dtype: torch.dtype,
    int8: bool,
) -> Timing:
    device = next(net.parameters()).device
    windows = torch.randn(batch, samples, generator=torch.Generator().manual_seed(batch))
    audio = windows.to(device)
    rows, inputs, outputs = CUDA_GEMM_SHAPE if device.type == "cuda" else GEMM_SHAPE
    x, weight = torch.randn(rows, inputs).to(device, dtype), torch.randn(outputs, inputs).to(device, dtype)
    best = pack_weight(weight) if should_pack(device, dtype) else weight
    with torch.inference_mode():
        jobs: list[Callable[[], object]] = [
            lambda: net(audio[:1]),
            lambda: net(audio),
            _our_forward(fast, windows, device),
            lambda: linear(x, weight, None),
            lambda: linear(x, best, None),
        ]
        if half is not None:
            jobs.append(lambda: half(audio.bfloat16()))
        one_s, whole_s, ours_s, plain_s, packed_s, *half_s = interleaved_medians(jobs, runs=runs, device=device)
    gflop = count_operations(net, samples=samples) / 1e9
    limit = 2 * rows * inputs * outputs / min(plain_s, packed_s) / 1e9
    return Timing(
        model=name,
        batch=batch,
        dtype="int8" if int8 else str(dtype).removeprefix("torch."),
        library_fp32_batch1_ms=_ms(one_s),
        library_fp32_ms=_ms(whole_s / batch),
        library_bf16_ms=_ms(half_s[0] / batch) if half_s else None,
        ours_ms=_ms(ours_s / batch),
        times_faster=round(one_s * batch / ours_s, 2),
        gflop=round(gflop, 1),
        gflop_s=round(gflop * batch / ours_s, 1),
        limit_gflop_s=round(limit, 1),
        ratio=round(gflop * batch / ours_s / limit, 3),
        **asdict(agreed),
        weights_mb=round(sum(tensor.nbytes for tensor in fast.state_dict().values()) / 1e6, 1),
    )


def _our_forward(fast: FastNet, windows: Tensor, device: torch.device) -> Callable[[], object]:
    """Return the forward as a run has it: on a CUDA device with graphs and with the copies from pinned memory."""
    if device.type != "cuda":
        return partial(fast, windows.to(device))
    pinned, cuda = windows.pin_memory(), CudaForward(device=device)
    return lambda: cuda.run(lambda batch: [fast(batch)], pinned)


def shared_backbone_speedup(first: nn.Module, second: nn.Module, *, window_s: float, runs: int) -> float:
    """Return how many times faster two heads run on one pass of the backbone than on two, in float32.

    `second` is given the backbone weights of `first`. Raises `ModelError` if their backbones still differ.
    """
    prefix = str(first.base_model_prefix)
    getattr(second, prefix).load_state_dict(getattr(first, prefix).state_dict())
    a, b = accelerate(first, name="first"), accelerate(second, name="second")
    if a is None or b is None or a.backbone.digest() != b.backbone.digest():
        raise ModelError("these two models do not share a backbone")
    audio = torch.randn(1, round(16_000 * window_s))
    with torch.inference_mode():
        separate_s, shared_s = interleaved_medians(
            [lambda: (a(audio), b(audio)), lambda: forward_shared([a, b], audio)], runs=runs, device=audio.device
        )
    return round(separate_s / shared_s, 2)


def interleaved_medians(jobs: Sequence[Callable[[], object]], *, runs: int, device: torch.device) -> list[float]:
    """Run all jobs in turn, `runs` times after one warm-up round, and return the median seconds of each job."""
    durations: list[list[float]] = [[] for _ in jobs]
    for run in range(runs + 1):
        for number, job in enumerate(jobs):
            began_s = time.perf_counter()
            job()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if run:
                durations[number].append(time.perf_counter() - began_s)
    return [median(times) for times in durations]


def count_operations(net: nn.Module, *, samples: int) -> float:
    """Return the floating-point operations of one window, counted from the configuration (two per multiply-add)."""
    config: Any = net.config
    inputs, frames, total = 1, samples, 0.0
    for outputs, kernel, stride in zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True):
        frames = (frames - kernel) // stride + 1
        total += frames * outputs * inputs * kernel
        inputs = outputs
    width, inner = config.hidden_size, config.intermediate_size
    total += frames * inputs * width
    taps = getattr(config, "conv_pos_kernel_size", 0) * config.num_conv_pos_embeddings or config.num_conv_pos_embeddings
    total += frames * width * width / config.num_conv_pos_embedding_groups * taps
    layer = frames * (4 * width * width + 2 * width * inner) + 2 * frames * frames * width
    total += config.num_hidden_layers * layer
    if hasattr(net, "tdnn"):
        total += frames * width * config.tdnn_dim[0]
        inputs = config.tdnn_dim[0]
        for outputs, kernel, dilation in zip(config.tdnn_dim, config.tdnn_kernel, config.tdnn_dilation, strict=True):
            frames -= (kernel - 1) * dilation
            total += frames * inputs * outputs * kernel
            inputs = outputs
    return float(2 * total)


def library_output(output: Any) -> Tensor:
    """Return the x-vectors or logits of the library's output, in float32."""
    values: Tensor = output.embeddings if "embeddings" in output else output.logits
    return values.float()


def _ms(duration_s: float) -> float:
    return round(1000 * duration_s, 1)
