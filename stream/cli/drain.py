"""The command `tonewatch drain`: a node takes no more calls and ends with the last one."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Annotated, Any

import typer

from stream.cli.options import Config, Preset, Set, options_layer, read_settings
from stream.errors import TonewatchError

REQUEST_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 1.0


class DrainRefused(TonewatchError):
    """The node does not answer, or refuses."""


def drain(
    *,
    url: Annotated[
        str, typer.Option(metavar="http://HOST:PORT", help="The node's service port. Default: that of the settings.")
    ] = "",
    within: Annotated[
        float | None, typer.Option(min=0, max=86_400, help="Seconds after which calls are ended. Default: no limit.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when the node has ended.")] = True,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Let a node of `tonewatch serve` take no more calls and end with the last one."""
    service = read_settings(options_layer(settings=settings), preset=preset, config=config).service
    if not (url or service.port):
        raise DrainRefused("the node has no service port; set service.port, or name it with --url")
    host = f"[{service.host}]" if ":" in service.host else service.host
    base, token = url.rstrip("/") or f"http://{host}:{service.port}", service.token.get_secret_value()
    query = "" if within is None else f"?within_s={within:g}"
    state = _ask(f"{base}/drain{query}", token=token, method="POST")
    shown = None
    while wait and state is not None:
        if state["streams"] != shown:
            shown = state["streams"]
            typer.echo(f"draining: {state['calls']} calls, {shown} streams left", err=True)
        time.sleep(POLL_INTERVAL_S)
        state = _ask(f"{base}/drain", token=token, method="GET", ended_is_fine=True)
    typer.echo("the node has ended" if wait else "draining", err=True)


def _ask(url: str, *, token: str, method: str, ended_is_fine: bool = False) -> dict[str, Any] | None:
    """Return the node's answer; None if it has ended, where that is expected. Raises `DrainRefused`."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DrainRefused(f"{url!r} is no address of a service port; use http://HOST:PORT")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise DrainRefused(f"the node refused: {error.read(200).decode(errors='replace').strip()}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if ended_is_fine:
            return None
        raise DrainRefused(f"no node answers at {url.partition('/drain')[0]}: {error}; check service.port") from None
