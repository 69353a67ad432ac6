"""The dashboard's own files, held in memory: read and compressed once, and answered without a thread or a disk.

A page asks for a dozen of them at once, before it can paint. What is not among them does not exist: no path of a
request is ever opened.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""By suffix: the tables of the machine may lack them, and browsers execute no script of another type."""

OTHER_MEDIA_TYPE = "text/plain; charset=utf-8"
METHODS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: as it is, compressed, and the tags by which browsers ask whether the one that they have is it."""

    content: bytes
    compressed: bytes
    media_type: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file."""
        content = path.read_bytes()
        return cls(
            content=content,
            compressed=gzip.compress(content, mtime=0),
            media_type=MEDIA_TYPES.get(path.suffix, OTHER_MEDIA_TYPE),
            tag=hashlib.sha256(content).hexdigest()[:32],
        )

    def response(self, headers: Headers) -> Response:
        """Return the answer to a request with these headers."""
        packed = _takes_gzip(headers.get("accept-encoding", ""))
        tag = f'"{self.tag}-gzip"' if packed else f'"{self.tag}"'
        sent = {"etag": tag, "vary": "accept-encoding"}
        known = {entry.strip().removeprefix("W/") for entry in headers.get("if-none-match", "").split(",")}
        if known & {tag, "*"}:
            return Response(status_code=304, headers=sent)
        if packed:
            sent["content-encoding"] = "gzip"
        return Response(self.compressed if packed else self.content, media_type=self.media_type, headers=sent)


class Assets:
    """ASGI app of all files below a folder, mounted where pages ask for them."""

    def __init__(self, folder: Path) -> None:
        files = (path for path in folder.rglob("*") if path.is_file())
        self._assets = {path.relative_to(folder).as_posix(): Asset.read(path) for path in files}

    def asset(self, name: str) -> Asset:
        """Return a file by its path below the folder. Raises `KeyError` if there is none."""
        return self._assets[name]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._response(scope)(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        if scope["method"] not in METHODS:
            return PlainTextResponse("method not allowed\n", 405, headers={"allow": ", ".join(METHODS)})
        below = scope["path"].removeprefix(scope.get("root_path", ""))
        found = self._assets.get(below.removeprefix("/"))
        return PlainTextResponse("not found\n", 404) if found is None else found.response(Headers(scope=scope))


def _takes_gzip(accepted: str) -> bool:
    """Whether a client takes gzip: `gzip`, but not `gzip;q=0`."""
    for entry in accepted.split(","):
        name, _, parameters = entry.partition(";")
        if name.strip().lower() == "gzip":
            return parameters.replace(" ", "").lower().rstrip("0") not in ("q=", "q=0.")
    return False
