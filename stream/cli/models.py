"""`tonewatch models`: list the models and download them."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

app = typer.Typer(help="List models: name, size, licence, output, downloaded or not.")


@app.callback(invoke_without_command=True)
def models(ctx: typer.Context) -> None:
    """List models: name, size, licence, output, downloaded or not."""
    if ctx.invoked_subcommand is None:
        list_models(as_json=False)


@app.command("list")
def list_models(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List models: name, size, licence, output, downloaded or not."""
    from stream.tools.tables import models_table, print_table  # noqa: PLC0415

    rows = models_table()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        print_table(rows)


@app.command("fetch")
def fetch_model(name: Annotated[str, typer.Argument(help="A name of the zoo or ORG/MODEL.")]) -> None:
    """Download a model from the hub into the hub's cache."""
    from stream.models.zoo import fetch  # noqa: PLC0415

    folder = fetch(
        name, progress=sys.stderr.isatty(), show_licence=lambda licence: typer.echo(f"Licence of {name}: {licence}")
    )
    typer.echo(f"Downloaded {name} to {folder}")
