"""Models at full size for the benchmark: what they cost to run here, against the library and against the machine.

Weights may be random: speed and rounding do not depend on them, and nothing has to be fetched. What is compared is
timed by turns, so that what else the machine does hits all alike; medians are given.
"""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from stream.demo.conversation import AUDIO
from stream.errors import ModelError
from stream.models.capability import capability, choose_dtype, packs
from stream.models.checkpoint import FAMILIES, Head
from stream.models.devices import resolve_device, resolve_dtype
from stream.models.fast.conversion import accelerated
from stream.models.fast.net import FastNet, together
from stream.models.onednn import linear, packed

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
"""Family, head and what sets its configuration apart from the family's base size, for each model of the zoo."""

GEMM = (1_024, 1_024, 4_096)
"""Rows, inputs and outputs of the product whose speed, plain or packed, is taken for the machine's limit."""

TOGETHER = 4
"""Windows a batch while answers are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near two forwards' answers are, over many windows."""

    largest_difference: float
    least_cosine: float
    same_argmax: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One model and batch size. Times in milliseconds a window; `ratio` is achieved over the limit."""

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


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    known = capability()
    return {
        **asdict(known),
        "choice": known.choice,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }


def random_model(name: str) -> nn.Module:
    """A model of the zoo at full size, with random weights. Raises `ModelError` for others."""
    import transformers  # noqa: PLC0415 - seconds

    if name not in SHAPES:
        raise ModelError(f"the benchmark knows no shape for {name!r}; it knows {', '.join(SHAPES)}")
    family, head, differences = SHAPES[name]
    net_class = getattr(transformers, FAMILIES[family] + head)
    torch.manual_seed(0)
    config = net_class.config_class(**{"use_weighted_layer_sum": True, "classifier_proj_size": 256, **differences})
    net: nn.Module = net_class(config).eval().requires_grad_(requires_grad=False)
    for key, weight in net.named_parameters():  # livelier than freshly made ones: a difference would show
        if weight.ndim > 1 and "original" not in key:
            nn.init.xavier_normal_(weight)
    return net


def compare(
    nets: Mapping[str, nn.Module],
    *,
    batches: Sequence[int],
    window_s: float,
    runs: int,
    wanted: str,
    device: str,
    bfloat16: bool | None,
    windows: int,
) -> list[Timing]:
    """Each model in each batch size, ours against the library's own forward; answers are compared for `windows`.

    `bfloat16` says whether the library is timed in it, too; None: where this machine is at its best in it.
    """
    place = resolve_device(device)
    chosen = choose_dtype(wanted, place)
    dtype = resolve_dtype(chosen, place)
    samples = round(16_000 * window_s)
    found = []
    for name, net in nets.items():
        fast = accelerated(copy.deepcopy(net), name=name)  # weights are taken over, and will change their type
        if fast is None:
            raise ModelError(f"{name} has no fast forward to measure")
        fast.place(device=place, dtype=dtype, int8=wanted == "int8", pack=packs(place, dtype))
        net = net.to(place)  # noqa: PLW2901
        agreement = _agreement(net, fast, conversation(windows, samples=samples).to(place))
        half = copy.deepcopy(net).bfloat16() if (bfloat16 if bfloat16 is not None else chosen == "bfloat16") else None
        for batch in batches:
            found.append(  # noqa: PERF401
                _measured(
                    name,
                    net,
                    half,
                    fast,
                    agreement,
                    batch=batch,
                    samples=samples,
                    runs=runs,
                    dtype=dtype,
                    wanted=wanted,
                )
            )
    return found


def conversation(windows: int, *, samples: int) -> Tensor:
    """Windows of the bundled conversation, evenly spread over it, (windows, samples): speech, unlike noise, differs."""
    sound, _ = soundfile.read(AUDIO, dtype="float32", always_2d=True)
    heard = np.resize(sound[:, 0], max(len(sound), samples))
    starts = np.linspace(0, len(heard) - samples, windows).astype(int)
    return torch.from_numpy(np.stack([heard[start : start + samples] for start in starts]))


def _agreement(net: nn.Module, fast: FastNet, sound: Tensor) -> Agreement:
    parts = [sound[at : at + TOGETHER] for at in range(0, len(sound), TOGETHER)]
    with torch.inference_mode():
        theirs = torch.cat([_said(net(part)) for part in parts])
        ours = torch.cat([fast(part).float() for part in parts])
    return Agreement(
        largest_difference=float(f"{(ours - theirs).abs().max():.2e}"),
        least_cosine=round(float(nn.functional.cosine_similarity(ours, theirs).min()), 6),
        same_argmax=round(float((ours.argmax(dim=1) == theirs.argmax(dim=1)).float().mean()), 4),
    )


def _measured(
    name: str,
    net: nn.Module,
    half: nn.Module | None,
    fast: FastNet,
    agreement: Agreement,
    *,
    batch: int,
    samples: int,
    runs: int,
    dtype: torch.dtype,
    wanted: str,
) -> Timing:
    device = next(net.parameters()).device
    sound = torch.randn(batch, samples, generator=torch.Generator().manual_seed(batch)).to(device)
    rows, inputs, outputs = GEMM
    x, weight = torch.randn(rows, inputs).to(device, dtype), torch.randn(outputs, inputs).to(device, dtype)
    best = packed(weight) if packs(device, dtype) else weight
    with torch.inference_mode():
        jobs: list[Callable[[], object]] = [
            lambda: net(sound[:1]),
            lambda: net(sound),
            lambda: fast(sound),
            lambda: linear(x, weight, None),
            lambda: linear(x, best, None),
        ]
        if half is not None:
            jobs.append(lambda: half(sound.bfloat16()))
        one_s, whole_s, ours_s, plain_s, packed_s, *half_s = by_turns(jobs, runs=runs, device=device)
    gflop = work(net, samples=samples) / 1e9
    limit = 2 * rows * inputs * outputs / min(plain_s, packed_s) / 1e9
    return Timing(
        model=name,
        batch=batch,
        dtype="int8" if wanted == "int8" else str(dtype).removeprefix("torch."),
        library_fp32_batch1_ms=_ms(one_s),
        library_fp32_ms=_ms(whole_s / batch),
        library_bf16_ms=_ms(half_s[0] / batch) if half_s else None,
        ours_ms=_ms(ours_s / batch),
        times_faster=round(one_s * batch / ours_s, 2),
        gflop=round(gflop, 1),
        gflop_s=round(gflop * batch / ours_s, 1),
        limit_gflop_s=round(limit, 1),
        ratio=round(gflop * batch / ours_s / limit, 3),
        **asdict(agreement),
        weights_mb=round(sum(tensor.nbytes for tensor in fast.state_dict().values()) / 1e6, 1),
    )


def shared(first: nn.Module, second: nn.Module, *, window_s: float, runs: int) -> float:
    """How much quicker two heads answer from one pass than one after the other, in float32.

    `second` is given the backbone of `first`.
    """
    prefix = str(first.base_model_prefix)
    getattr(second, prefix).load_state_dict(getattr(first, prefix).state_dict())
    a, b = accelerated(first, name="first"), accelerated(second, name="second")
    if a is None or b is None or a.backbone.digest() != b.backbone.digest():
        raise ModelError("these two models do not share a backbone")
    sound = torch.randn(1, round(16_000 * window_s))
    with torch.inference_mode():
        apart_s, once_s = by_turns(
            [lambda: (a(sound), b(sound)), lambda: together([a, b], sound)], runs=runs, device=sound.device
        )
    return round(apart_s / once_s, 2)


def by_turns(jobs: Sequence[Callable[[], object]], *, runs: int, device: torch.device) -> list[float]:
    """The median seconds of each job, all jobs having been run in turn `runs` times after a first time for nothing."""
    taken: list[list[float]] = [[] for _ in jobs]
    for run in range(runs + 1):
        for place, job in enumerate(jobs):
            began_s = time.perf_counter()
            job()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if run:
                taken[place].append(time.perf_counter() - began_s)
    return [median(times) for times in taken]


def work(net: nn.Module, *, samples: int) -> float:
    """Operations (multiplications and additions, two each) of a window, by the configuration."""
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


def _said(output: Any) -> Tensor:
    said: Tensor = output.embeddings if "embeddings" in output else output.logits
    return said.float()


def _ms(duration_s: float) -> float:
    return round(1000 * duration_s, 1)
