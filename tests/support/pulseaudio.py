"""A private PulseAudio whose null sink is the microphone: what is played into it is what the microphone hears."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.support.requirements import require

PATIENCE_S = 20.0
SINK = "testmic"


class SoundServer:
    """One server with its own runtime folder, ended by process id. `environment` is for programs that shall use it."""

    def __init__(self, folder: Path) -> None:
        require("pulseaudio", "pactl", "paplay")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / ".asoundrc").write_text("pcm.!default {type pulse}\nctl.!default {type pulse}\n")
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PULSE_RUNTIME_PATH": str(folder / "pulse"),
            "PULSE_SOURCE": f"{SINK}.monitor",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("pulseaudio") or "pulseaudio"
        self._process = subprocess.Popen(
            [program, "-n", "--daemonize=no", "--exit-idle-time=-1", "--load=module-native-protocol-unix"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE_S
        while self._control("info").returncode:
            assert self._process.poll() is None, "pulseaudio did not start"
            assert time.monotonic() < deadline, "pulseaudio does not answer"
            time.sleep(0.05)  # waiting for another process's socket: there is nothing to be woken by
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)

    def known_as(self, name: str) -> str:
        """What an `.asoundrc` says to give this server's microphone a name."""
        server = f"unix:{self._folder}/pulse/native"
        return f'pcm.{name} {{type pulse; server "{server}"; device "{SINK}.monitor"; hint {{show on}}}}\n'

    def plug(self) -> str:
        """Plug the microphone in; returns what `unplug` wants."""
        made = self._control("load-module", "module-null-sink", f"sink_name={SINK}", "rate=48000")
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def unplug(self, module: str) -> None:
        """Take the microphone away, as if its cable were pulled."""
        assert self._control("unload-module", module).returncode == 0

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Play a WAV into the microphone."""
        program = shutil.which("paplay") or "paplay"
        return subprocess.Popen([program, "-d", SINK, str(path)], env=self.environment)

    def _control(self, *words: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("pactl") or "pactl"
        return subprocess.run([program, *words], env=self.environment, capture_output=True, text=True, check=False)
