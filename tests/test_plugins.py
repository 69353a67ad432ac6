"""The example plug-ins of docs/examples: installed and run together by the command line."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import soundfile

from stream.demo.conversation import AUDIO
from tests.support.small_models import TINY

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
PROJECTS = ("tonewatch-tcp", "tonewatch-loudness", "tonewatch-csv")
MAX_LINES = 30
"""Lines of code of one plug-in, without its docstring and empty lines."""

PLAYED_S = 6


def install(name: str, folder: Path) -> None:
    """Put a project's module and metadata into a folder, as pip does, without the network that its build needs."""
    project = tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text())["project"]
    for module in (EXAMPLES / name).glob("*.py"):
        shutil.copy(module, folder)
    metadata = folder / f"{name.replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
    sections = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(sections))


@contextmanager
def pcm_server() -> Iterator[int]:
    """Serve the start of the bundled conversation, once, as raw PCM; yields the port."""
    samples, _ = soundfile.read(AUDIO, dtype="int16", frames=PLAYED_S * 16_000)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            with closing(listening.accept()[0]) as connection:
                connection.sendall(samples.tobytes())

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.long
def test_the_examples_work_together(tmp_path: Path) -> None:
    for name in PROJECTS:
        install(name, tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    turns = tmp_path / "turns.csv"
    with pcm_server() as port:
        words = ["run", f"tcp:127.0.0.1:{port}", "--emotion", "emotion-loudness", "--sink", f"csv:{turns}"]
        done = subprocess.run(
            [sys.executable, "-m", "stream", *words, *TINY, "--profiles", "", "--quiet"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(turns.read_text(encoding="utf-8").splitlines()))
    assert rows
    assert {row["source"] for row in rows} == {"tcp"}
    assert {row["emotion"] for row in rows} <= {"angry", "neutral", "uncertain"}


@pytest.mark.parametrize("name", PROJECTS)
def test_an_example_is_short(name: str) -> None:
    (module,) = (EXAMPLES / name).glob("*.py")
    lines = [line for line in module.read_text().splitlines()[1:] if line.strip()]
    assert len(lines) <= MAX_LINES
