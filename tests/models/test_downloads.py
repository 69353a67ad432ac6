"""Downloads from a local hub, and their errors."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from huggingface_hub import constants

from stream.errors import ModelNotFound
from stream.models import zoo
from stream.models.loading import load
from stream.models.zoo import ZOO, cached_folder, fetch, local_folder
from stream.settings import ModelSettings
from stream.types import Window

pytestmark = pytest.mark.slow

COMMIT = "ab" * 20


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's protocol that a download uses."""

    files: ClassVar[dict[str, bytes]] = {}
    requests: ClassVar[list[str]] = []
    failure: ClassVar[tuple[int, str] | None] = None

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        if self.path != "/api/agent-harnesses":  # statistics of the client
            self.requests.append(self.path)
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        if self.failure:
            status, code = self.failure
            self.reply(status, b"{}", {"X-Error-Code": code}, body=body)
        elif self.path.startswith("/api/models/"):
            siblings = [{"rfilename": name} for name in self.files]
            tags = ["audio-classification", "license:cc-by-nc-sa-4.0"]
            message = {"id": "org/model", "modelId": "org/model", "sha": COMMIT, "siblings": siblings, "tags": tags}
            self.reply(200, json.dumps(message).encode(), {}, body=body)
        elif (name := self.path.rpartition("/")[2]) not in self.files:
            self.reply(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body=body)
        else:
            data = self.files[name]
            self.reply(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{hash(data):x}"'}, body=body)

    def reply(self, status: int, data: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


def point_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    endpoint = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    assert not cache.exists()
    handler = type("Handler", (Hub,), {"files": {}, "requests": [], "failure": None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    point_at(monkeypatch, server.server_address[1])
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetched_once_then_loaded_from_disk(
    hub: type[Hub],
    cache: Path,
    checkpoint: Callable[..., tuple[Path, object]],
    windows: Callable[..., list[Window]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _ = checkpoint("speaker-wavlm")
    hub.files.update({path.name: path.read_bytes() for path in folder.iterdir()}, **{"README.md": b"", "tf.h5": b""})
    settings = ModelSettings(name="speaker-wavlm", window_s=2.0, hop_s=0.5)
    model = load(settings)
    assert model.info.name == "speaker-wavlm"
    assert model.info.revision == COMMIT  # what the pin resolved to
    assert hub.requests[0].endswith(f"/microsoft/wavlm-base-sv/revision/{ZOO['speaker-wavlm'].revision}")
    assert sorted(path.rpartition("/")[2] for path in hub.requests[1:]) == sorted(
        path.name for path in folder.iterdir()
    )
    here = load(ModelSettings(name=str(folder), window_s=2.0, hop_s=0.5))
    batch = windows(1)
    np.testing.assert_array_equal(model.infer(batch)[0].values, here.infer(batch)[0].values)

    hub.requests.clear()
    (preprocessor,) = cache.glob("**/preprocessor_config.json")
    preprocessor.rename(preprocessor.with_name("aside"))  # an incomplete copy is not used
    assert cached_folder("microsoft/wavlm-base-sv", COMMIT) is None
    preprocessor.with_name("aside").rename(preprocessor)
    found = cached_folder("microsoft/wavlm-base-sv", COMMIT)
    assert found is not None
    assert found.name == COMMIT
    assert load(settings.model_copy(update={"revision": COMMIT})).info.revision == COMMIT
    reference = found.parents[1] / "refs" / "main"  # as `main`, the copy serves for the entry, offline too
    reference.parent.mkdir(exist_ok=True)
    reference.write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local_folder(ZOO["speaker-wavlm"]) == found
    assert load(settings).info.revision == COMMIT
    assert load(ModelSettings(name="microsoft/wavlm-base-sv", window_s=2.0, hop_s=0.5)).info.revision == COMMIT
    assert hub.requests == []


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        ((404, "RepoNotFound"), "the hub has no public model of that name"),
        ((401, "RepoNotFound"), "the hub has no public model of that name"),  # without an account
        ((404, "RevisionNotFound"), "the hub has no revision '306186e4"),
        ((403, "GatedRepo"), "requires an account that accepted its terms"),
        ((503, ""), "the download failed (HfHubHTTPError: "),
    ],
)
def test_errors_of_the_hub(hub: type[Hub], cache: Path, failure: tuple[int, str], sentence: str) -> None:
    hub.failure = failure
    with pytest.raises(ModelNotFound) as caught:
        fetch("emotion-wav2vec2-large")
    message = str(caught.value)
    assert message.startswith(
        f"emotion-wav2vec2-large (superb/wav2vec2-large-superb-er) is not in the cache {cache}, and "
    )
    assert sentence in message
    assert message.endswith("--emotion /path/to/folder")
    assert "\n" not in message


def test_a_repository_without_weights(hub: type[Hub]) -> None:
    hub.files["config.json"] = b"{}"
    with pytest.raises(ModelNotFound, match=r"org/model has no config.json with weights"):
        fetch("org/model")


def test_disk_full(hub: type[Hub], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files.update({"config.json": b"{}", "pytorch_model.bin": b"x"})
    cache.mkdir(parents=True)

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device", str(cache))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(ModelNotFound, match=r"the download failed \(OSError: .*No space left on device"):
        fetch("org/model")


def test_the_hub_is_down(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    point_at(monkeypatch, port)
    with pytest.raises(
        ModelNotFound, match=rf"speaker-wavlm .* not in the cache {cache}, and the download failed \(Con"
    ):
        load(ModelSettings(name="speaker-wavlm", window_s=2.0, hop_s=0.5))


@pytest.mark.usefixtures("cache")
def test_requests_to_the_hub_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts and never responds
        point_at(monkeypatch, server.getsockname()[1])
        began_s = time.monotonic()
        with pytest.raises(ModelNotFound, match="--speaker /path/to/folder") as caught:
            fetch("speaker-wav2vec2")
    assert "Timeout" in str(caught.value)
    assert time.monotonic() - began_s < 5


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("speaker-id-voxceleb1", "--set models.identity.name=/path/to/folder"),
        ("org/model", "--emotion or --speaker /path/to/folder"),
    ],
)
def test_the_remedy_names_the_option_of_the_task(monkeypatch: pytest.MonkeyPatch, name: str, remedy: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound) as caught:
        load(ModelSettings(name=name, window_s=2.0, hop_s=0.5))
    assert str(caught.value).endswith(remedy)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["nothing", "a/b/c", "", "../x"])
def test_invalid_names(name: str) -> None:
    with pytest.raises(ModelNotFound, match="use a zoo name"):
        fetch(name)


def test_bundled_models_need_no_download() -> None:
    assert (fetch("compact-emotion") / "emotion.safetensors").is_file()
    assert (fetch("compact-speaker") / "speaker.safetensors").is_file()


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_when_asked_for(
    hub: type[Hub], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, progress: bool
) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled  # type: ignore[attr-defined]  # noqa: PLC0415

    hub.files.update({"config.json": b"{}", "preprocessor_config.json": b"{}", "pytorch_model.bin": b"x" * 100_000})
    monkeypatch.setenv("TQDM_POSITION", "-1")  # else bars appear only on terminals
    before = are_progress_bars_disabled()
    folder = fetch("org/model", progress=progress)
    assert sorted(path.name for path in folder.iterdir()) == sorted(hub.files)
    out, err = capfd.readouterr()
    assert out == ""
    assert ("pytorch_model.bin" in err) == progress
    assert are_progress_bars_disabled() == before


def test_the_licence_is_shown_before_the_first_file(hub: type[Hub]) -> None:
    hub.files.update({"config.json": b"{}", "preprocessor_config.json": b"{}", "pytorch_model.bin": b"x"})
    shown: list[tuple[str, int]] = []
    fetch("org/model", show_licence=lambda licence: shown.append((licence, sum("resolve" in p for p in hub.requests))))
    assert shown == [("cc-by-nc-sa-4.0", 0)]
