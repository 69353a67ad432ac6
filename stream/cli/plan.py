"""The command `tonewatch plan`: how many machines a number of lines needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stream.errors import SettingsError


def plan(
    lines: Annotated[int, typer.Argument(min=1, max=10_000_000, help="Calls at the same time, at most.")],
    *,
    bench: Annotated[Path, typer.Option(metavar="FILE", help="Output of `tonewatch bench --channels --json`.")],
    parties: Annotated[int, typer.Option(min=1, max=2, help="Streams of a call: 2 with both parties.")] = 2,
    speech: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the time in which a stream speaks.")] = 0.4,
    bound_ms: Annotated[float, typer.Option(min=1, help="Limit of the 95th percentile latency.")] = 300,
    headroom: Annotated[float, typer.Option(min=0, max=0.9, help="Share of a machine that stays free.")] = 0.3,
    kbps: Annotated[float, typer.Option(min=1, help="Network bandwidth of a stream; G.711 with its headers: 87.")] = 87,
    price: Annotated[float | None, typer.Option(min=0, help="Price of such a machine for an hour.")] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the curve as a picture, .svg or .png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Plan machines for a number of lines, from the measured figures of one machine and a simulation."""
    from stream.tools.planning.figures import read_figures  # noqa: PLC0415
    from stream.tools.planning.plan import Demand, Planner  # noqa: PLC0415
    from stream.tools.tables import print_table  # noqa: PLC0415

    demand = Demand(
        streams=lines * parties, speech=speech, bound_ms=bound_ms, headroom=headroom, stream_kbps=kbps, price=price
    )
    planner = Planner(read_figures(bench))
    found, compared = planner.plan(demand), planner.comparisons()
    if plot is not None:
        try:
            from stream.tools.planning.picture import draw  # noqa: PLC0415
        except ImportError:
            raise SettingsError("--plot needs matplotlib; install the extra `evaluate`") from None
        draw(found, demand, plot)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"compared": [asdict(row) for row in compared]}, indent=2))
        return
    figures = {
        "streams": demand.streams,
        "streams per machine": f"{found.streams_per_machine} ({found.limited_by})",
        "machines": f"{found.machines}, and {found.spare} spare",
        "latency, 95 %": f"{found.latency_p95_ms:g} ms",
        "audio": f"{found.audio_mbps:g} Mbit/s",
        "events": f"{found.messages_per_s:g}/s, {found.events_mbps:g} Mbit/s",
    }
    if found.price_per_hour is not None:
        figures["price per hour"] = f"{found.price_per_hour:g}"
    print_table([{"figure": name, "value": value} for name, value in figures.items()])
    typer.echo("\none machine, simulated:")
    print_table([asdict(point) for point in found.curve])
    if compared:
        typer.echo("\nmeasured trials, and what is planned for each from the others:")
        print_table([asdict(row) for row in compared])
