"""The command `tonewatch send`. It needs no models; what it uses is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.options import Config, Set, options_layer, read_settings


def send(
    source: Annotated[str, typer.Argument(help="A file, `microphone`, `microphone:NAME`, an address or `-`.")],
    node: Annotated[str, typer.Argument(metavar="NODE", help="`HOST`, `HOST:PORT` or `ws://HOST:PORT`, also `wss`.")],
    *,
    name: Annotated[str, typer.Option(help="Name of the stream at the node. Default: that of the source.")] = "",
    events: Annotated[bool, typer.Option("--events", help="Print the events that the node answers with.")] = False,
    ca_file: Annotated[Path | None, typer.Option(help="CA certificates, PEM, of a `wss` node.")] = None,
    config: Config = None,
    settings: Set = None,
) -> None:
    """Send audio to a node that runs `tonewatch serve`; a file is sent in real time."""
    from stream.app.registry import parse_source  # noqa: PLC0415
    from stream.tools.send.sender import send_until_stopped  # noqa: PLC0415

    read = read_settings(options_layer(settings=settings), preset="compact", config=config)
    parsed = parse_source(source)
    raise typer.Exit(
        send_until_stopped(
            {**parsed, "realtime": parsed["kind"] == "file"},
            url=node,
            name=name,
            token=read.serve.token.get_secret_value(),
            ca_file=str(ca_file or ""),
            with_events=events,
        )
    )
