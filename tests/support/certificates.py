"""Certificates for brokers on localhost, made by openssl once a session."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.requirements import require

REQUEST = "-newkey rsa:2048 -nodes"


def _openssl(folder: Path, arguments: str) -> None:
    require("openssl")
    subprocess.run(["openssl", *arguments.split()], check=True, capture_output=True, cwd=folder)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, `server.pem`, and its key."""
    folder = tmp_path_factory.mktemp("certificates")
    subject = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    _openssl(folder, f"req -x509 {REQUEST} -days 2 {subject} -keyout server.key -out server.pem")
    return folder


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority with a server and a client certificate, in PEM files."""
    folder = tmp_path_factory.mktemp("authority")
    _openssl(folder, f"req -x509 {REQUEST} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name, subject, extra in (("server", "localhost", "-extfile names"), ("client", "kitchen", "")):
        _openssl(folder, f"req {REQUEST} -subj /CN={subject} -keyout {name}.key -out {name}.csr")
        signing = f"-CA ca.pem -CAkey ca.key -CAcreateserial {extra} -out {name}.pem"
        _openssl(folder, f"x509 -req -days 2 -in {name}.csr {signing}")
    return folder
