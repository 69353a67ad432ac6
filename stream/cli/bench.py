"""`tonewatch bench` and `tonewatch doctor`: speed and equipment of this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from stream.cli.options import Config, Preset, Set, options_layer, read_settings
from stream.errors import SettingsError

RandomWeights = Annotated[
    bool,
    typer.Option(
        "--random-weights",
        help="Use random weights, without a download: for --model, for the preset of --channels, or all models.",
    ),
]
Bfloat16 = Annotated[
    bool | None, typer.Option("--bfloat16/--no-bfloat16", help="--model: also time transformers in bfloat16.")
]


def bench(
    *,
    runs: Annotated[int, typer.Option(min=1, help="Number of runs; medians are printed.")] = 3,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play in real time: true latencies, but slow.")] = False,
    channels: Annotated[
        bool, typer.Option("--channels", help="Find the number of live sources this machine sustains.")
    ] = False,
    bound_ms: Annotated[float, typer.Option(min=1, help="--channels: limit of the 95th percentile latency.")] = 300,
    seconds: Annotated[float, typer.Option(min=1, help="--channels: duration of each trial.")] = 10,
    most: Annotated[int, typer.Option(min=1, help="--channels: largest number of sources tried.")] = 512,
    sources: Annotated[int | None, typer.Option(min=1, help="--channels: try this number of sources only.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Pretrained model to time, our forward against transformers. Repeatable.")
    ] = None,
    random_weights: RandomWeights = False,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="--model: windows per batch. Repeatable.")] = None,
    window: Annotated[float, typer.Option(min=0.5, max=30, help="--model: seconds per window.")] = 3.0,
    dtype: Annotated[str, typer.Option(help="--model: auto, float32, bfloat16 or int8.")] = "auto",
    device: Annotated[str, typer.Option(help="--model: auto, cpu, cuda or mps.")] = "auto",
    bfloat16: Bfloat16 = None,
    windows: Annotated[int, typer.Option(min=1, help="--model: speech windows whose outputs are compared.")] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Measure this machine: the demo, the number of live sources, or the pretrained models."""
    from stream.tools.bench import report  # noqa: PLC0415

    if dtype not in (supported := ("auto", "float32", "bfloat16", "int8")):
        raise SettingsError(f"unknown --dtype {dtype!r}; available: {', '.join(supported)}")
    if model or (random_weights and not channels):
        report.models(
            model or [],
            random_weights=random_weights,
            batches=batch or [1, 4],
            window_s=window,
            runs=runs,
            dtype=dtype,
            device=device,
            bfloat16=bfloat16,
            windows=windows,
            as_json=as_json,
        )
        return
    tree = read_settings(options_layer(settings=settings), preset=preset, config=config)
    if channels:
        report.channels(
            tree,
            bound_ms=bound_ms,
            seconds_s=seconds,
            most=most,
            sources=sources,
            random_weights=random_weights,
            as_json=as_json,
        )
    else:
        report.demo(tree, runs=runs, realtime=realtime, as_json=as_json)


def doctor(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False, preset: Preset = "compact"
) -> None:
    """Show what this machine has and how tonewatch uses it: devices, types, threads, packages, microphones."""
    from stream.tools.bench.doctor import examine  # noqa: PLC0415
    from stream.tools.tables import print_table  # noqa: PLC0415

    found = examine(read_settings({}, preset=preset, config=None))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        print_table([{"item": key, "finding": value} for key, value in found.items()])
