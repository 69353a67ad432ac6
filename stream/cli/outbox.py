"""The command `tonewatch outbox`: what receivers refused is listed, sent again, or deleted."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stream.cli.options import Config, Preset, Set, Sinks, options_layer, read_settings
from stream.errors import SettingsError


def outbox(
    *,
    events: Annotated[bool, typer.Option("--events", help="Print the refused events, one JSON object a line.")] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="Send them again: to webhooks at once, to brokers when the node starts.")
    ] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Delete them.")] = False,
    sinks: Sinks = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """List the events that brokers and webhooks refused; send them again, or delete them."""
    from stream.monitoring.logs import log_to_stderr  # noqa: PLC0415
    from stream.tools.outbox import receivers, summary  # noqa: PLC0415

    if resend and discard:
        raise SettingsError("--resend and --discard exclude each other; choose one")
    read = read_settings(options_layer(settings=settings, sinks=sinks), preset=preset, config=config)
    log_to_stderr(read, verbose=False)
    is_pending = False
    for receiver in receivers(read):
        messages = receiver.refused()
        typer.echo(f"{receiver.shown}: {len(messages)} refused", err=events)
        for line in [] if events else summary(messages):
            typer.echo(f"  {line}")
        for message in messages if events else []:
            typer.echo(message.payload)
        if messages and discard:
            receiver.discard(messages)
            typer.echo("  deleted", err=events)
        if messages and resend:
            left = asyncio.run(receiver.resend(messages))
            is_pending |= receiver.is_webhook and left > 0
            when = "" if receiver.is_webhook else "; sent when the node starts again"
            typer.echo(f"  {left} in the outbox{when}", err=events)
    if is_pending:
        raise typer.Exit(1)
