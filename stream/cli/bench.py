"""`tonewatch bench` and `tonewatch doctor`: what a machine does, and what it has."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from stream.cli.options import Config, Preset, Set, as_layer, settings_of
from stream.errors import SettingsError


def bench(
    *,
    runs: Annotated[int, typer.Option(min=1, help="Runs; medians are printed.")] = 3,
    realtime: Annotated[bool, typer.Option("--realtime", help="Paced runs: true latencies, but slow.")] = False,
    channels: Annotated[bool, typer.Option("--channels", help="How many live sources this machine sustains.")] = False,
    bound_ms: Annotated[float, typer.Option(min=1, help="--channels: the bound of the 95th percentile.")] = 300,
    seconds: Annotated[float, typer.Option(min=1, help="--channels: how long each number is tried.")] = 10,
    most: Annotated[int, typer.Option(min=1, help="--channels: the largest number tried.")] = 512,
    model: Annotated[
        list[str] | None, typer.Option(help="A pretrained model to time, ours against transformers. Again for more.")
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Pretrained models at full size without a download; all, or --model."),
    ] = False,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="--model: windows a batch. Again for more.")] = None,
    window: Annotated[float, typer.Option(min=0.5, max=30, help="--model: seconds a window.")] = 3.0,
    dtype: Annotated[str, typer.Option(help="--model: auto, float32, bfloat16 or int8.")] = "auto",
    device: Annotated[str, typer.Option(help="--model: auto, cpu, cuda or mps.")] = "auto",
    bfloat16: Annotated[
        bool | None, typer.Option("--bfloat16/--no-bfloat16", help="--model: time transformers in bfloat16, too.")
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="--model: windows of speech to compare answers for.")] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Measure this machine: the demo, or how many live sources it sustains, or the pretrained models."""
    from stream.tools.bench import report  # noqa: PLC0415

    if dtype not in (known := ("auto", "float32", "bfloat16", "int8")):
        raise SettingsError(f"--dtype takes {', '.join(known)}, not {dtype!r}")
    if model or random_weights:
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
    tree = settings_of(as_layer(settings=settings), preset=preset, config=config)
    if channels:
        report.channels(tree, bound_ms=bound_ms, seconds_s=seconds, most=most, as_json=as_json)
    else:
        report.corridor(tree, runs=runs, realtime=realtime, as_json=as_json)


def doctor(
    *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False, preset: Preset = "compact"
) -> None:
    """Say what this machine has and what tonewatch makes of it: devices, types, threads, packages, microphones."""
    from stream.tools.bench.doctor import examine  # noqa: PLC0415
    from stream.tools.tables import print_table  # noqa: PLC0415

    found = examine(settings_of({}, preset=preset, config=None))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        print_table([{"what": key, "found": value} for key, value in found.items()])
