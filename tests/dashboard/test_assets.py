"""The dashboard's files from memory: type, compression and revalidation, and nothing but these files."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx2
import pytest

from stream.dashboard.assets import Assets
from stream.dashboard.server import STATIC
from tests.support.dashboard import RunningDashboard


def test_every_file_of_the_page_is_sent_as_it_is(dashboard: RunningDashboard) -> None:
    with httpx2.Client(base_url=dashboard.url) as client:
        for path in (path for path in STATIC.rglob("*") if path.is_file()):
            answer = client.get(f"static/{path.relative_to(STATIC).as_posix()}")
            assert answer.content == path.read_bytes()
            assert answer.headers["content-encoding"] == "gzip"
        kinds = {"main.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml", "": "text/html"}
        for name, kind in kinds.items():
            assert client.get(f"static/{name}" if name else "").headers["content-type"].startswith(kind)


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "gzip; q=0.0", "br"])
def test_a_client_without_gzip_gets_the_file_itself(dashboard: RunningDashboard, accepted: str) -> None:
    answer = httpx2.get(f"{dashboard.url}static/main.js", headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert answer.content == (STATIC / "main.js").read_bytes()


@pytest.mark.parametrize("path", ["", "static/page.css"])
def test_a_file_that_the_browser_has_is_not_sent_again(dashboard: RunningDashboard, path: str) -> None:
    with httpx2.Client(base_url=dashboard.url) as client:
        tag = client.get(path).headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert again.headers["cache-control"] == "no-cache"
        plain = client.get(path, headers={"If-None-Match": tag, "Accept-Encoding": "identity"})
        assert plain.status_code == 200  # the tag is that of the compressed one


def test_only_files_of_the_folder_exist_and_only_to_be_read(dashboard: RunningDashboard) -> None:
    with httpx2.Client(base_url=dashboard.url) as client:
        assert client.head("static/main.js").status_code == 200
        assert client.head("static/main.js").content == b""
        assert client.post("static/main.js").status_code == 405
        for path in ("static/", "static/vendor", "static/nothing.js", "static/..%2fserver.py", "static//main.js"):
            assert client.get(path).status_code == 404, path


def test_a_link_into_the_folder_that_appears_later_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "page.css").write_text("a {}", encoding="utf-8")
    assets = Assets(tmp_path)
    (tmp_path / "late").symlink_to("/etc/hostname")
    with pytest.raises(KeyError):
        assets.asset("late")
    assert gzip.decompress(assets.asset("page.css").compressed) == b"a {}"
