"""`tonewatch config`: show, validate and describe the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.options import Config, Preset, Set, options_layer, read_settings

app = typer.Typer(help="Show, validate and describe the settings.", no_args_is_help=True)


@app.command("show")
def show(*, preset: Preset = "compact", config: Config = None, settings: Set = None) -> None:
    """Print the resulting settings as JSON, secrets masked."""
    typer.echo(read_settings(options_layer(settings=settings), preset=preset, config=config).model_dump_json(indent=2))


@app.command("check")
def check(file: Annotated[Path, typer.Argument(help="A TOML file.")], *, preset: Preset = "compact") -> None:
    """Validate a configuration file."""
    read_settings({}, preset=preset, config=file)
    typer.echo(f"{file} is valid")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of the settings."""
    from stream.settings import Settings  # noqa: PLC0415

    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))
