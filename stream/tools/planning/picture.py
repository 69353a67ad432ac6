"""The curve of latency against load, drawn by matplotlib without a display."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stream.errors import SettingsError
from stream.tools.planning.plan import Demand, Plan


def draw(plan: Plan, demand: Demand, path: Path) -> None:
    """Write a picture; its format follows from the suffix. Raises `SettingsError`."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    loads = [point.streams for point in plan.curve]
    axes.plot(loads, [point.latency_p95_ms for point in plan.curve], marker="o", label="95th percentile")
    axes.plot(loads, [point.latency_p50_ms for point in plan.curve], marker=".", label="median")
    axes.axhline(demand.bound_ms, color="grey", linestyle="--", label=f"limit ({demand.bound_ms:g} ms)")
    axes.axvline(plan.streams_per_machine, color="grey", linestyle=":", label=f"planned ({plan.streams_per_machine})")
    axes.set(xlabel="streams per machine", ylabel="latency, ms", ylim=(0, 4 * demand.bound_ms), xlim=(0, None))
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}; name a file that can be written, .svg or .png") from None
