"""What is shipped: the container's build steps in a plain folder, its Dockerfile, and the units of systemd."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from stream.settings import Settings, build
from stream.settings.loading import environment_layers

ROOT = Path(__file__).parents[1]
SERVICE = ROOT / "config" / "service"
MAX_CONTENT_BYTES = 100_000
UNITS = ["tonewatch.service", "tonewatch-serve.service"]


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile: keyword and arguments, continued lines joined."""
    text = re.sub(r"\\\n", " ", (SERVICE / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(keyword, rest.strip()) for keyword, _, rest in (line.partition(" ") for line in lines)]


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """Return the sections of a unit; a key may occur several times."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in (SERVICE / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def test_the_dockerfile_passes_its_linter() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, SERVICE / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_installs_extras_that_exist_and_are_pinned() -> None:
    (given,) = (rest for keyword, rest in instructions() if keyword == "ARG" and rest.startswith("EXTRAS="))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = (ROOT / "config" / "constraints.txt").read_text(encoding="utf-8")
    for extra in given.partition("=")[2].split(","):
        for requirement in project["optional-dependencies"][extra]:
            assert f"\n{requirement.partition('>=')[0]}==" in pinned, requirement


@pytest.mark.long
def test_the_build_steps_make_a_package_that_runs(tmp_path: Path) -> None:
    for keyword, arguments in instructions():
        if keyword == "COPY" and not arguments.startswith("--from"):
            *sources, target = shlex.split(arguments)
            for source in sources:
                into = tmp_path / target / source if len(sources) > 1 else tmp_path / target
                into.parent.mkdir(parents=True, exist_ok=True)
                path = ROOT / source
                if path.is_dir():
                    shutil.copytree(path, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(path, into)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.stat().st_size > MAX_CONTENT_BYTES:
            os.truncate(file, MAX_CONTENT_BYTES)  # compressing weights takes longer than all else
    subprocess.run([*pip, "-w", "wheels", "."], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "wheels").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    assert {
        "stream/config/compact.toml",
        "stream/demo/conversation.flac",
        "stream/dashboard/static/index.html",
    } <= names
    assert {f"stream/models/{name}" for name in ("silero_vad.safetensors", "campplus/speaker.safetensors")} <= names
    assert sum("licenses/" in name for name in names) >= 4
    program = "import sys; sys.path.insert(0, 'installed'); import stream; from stream.cli.main import main; main()"
    command = [sys.executable, "-I", "-c", program, "config", "show", "--preset", "tiny"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["models"]["speaker"]["name"] == "compact-speaker"


def test_the_image_needs_a_token_and_no_root() -> None:
    last = dict(instructions())
    assert last["USER"] != "root"
    assert json.loads(last["ENTRYPOINT"]) == ["tonewatch"]
    command = json.loads(last["CMD"])
    assert command[:3] == ["serve", "--host", "0.0.0.0"]  # noqa: S104 - a container's own network
    assert command[-1].startswith("serve.token_file=/run/secrets/")
    port = Settings().serve.port
    assert last["EXPOSE"] == str(port)
    compose = yaml.safe_load((SERVICE / "compose.yaml").read_text(encoding="utf-8"))
    (service,) = compose["services"].values()
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert {f"/run/secrets/{name}" for name in service["secrets"]} == {command[-1].partition("=")[2]}
    assert set(service["secrets"]) == set(compose["secrets"])
    assert service["read_only"]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_restarts_what_can_be_mended_and_limits_the_rest(name: str) -> None:
    service = unit(name)["Service"]
    assert service["RestartPreventExitStatus"] == ["2"], "the exit code of wrong settings"
    assert service["Type"] == ["notify"]
    environment = dict(pair.split("=", 1) for line in service["Environment"] for pair in line.split())
    assert environment["HF_HOME"].startswith("/var/lib/tonewatch/")
    assert int(service["LimitNOFILE"][0]) >= 65_536
    assert {"MemoryMax", "SystemCallFilter", "NoNewPrivileges", "ProtectSystem"} <= set(service)
    build(list(environment_layers({key: value for key, value in environment.items() if "%" not in value})))


def test_units_differ_only_in_what_they_listen_to() -> None:
    run, serve = (unit(name)["Service"] for name in UNITS)
    different = {key for key in run.keys() | serve.keys() if run.get(key) != serve.get(key)}
    assert different == {
        "ExecStart",
        "LoadCredential",
        "Environment",
        "SupplementaryGroups",
        "DevicePolicy",
        "DeviceAllow",
        "PrivateDevices",
    }


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_a_unit(name: str, tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:  # a container has none; what counts is tested above
        return
    text = (SERVICE / name).read_text(encoding="utf-8").replace("/opt/tonewatch/bin/tonewatch", "/bin/true")
    (tmp_path / name).write_text(text.replace("User=tonewatch", "User=root"), encoding="utf-8")
    done = subprocess.run([verify, "verify", tmp_path / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
