"""A private PulseAudio server whose null sink serves as the microphone: it records what is played into the sink."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.support.requirements import require

TIMEOUT_S = 20.0
SINK = "testmic"


class SoundServer:
    """A server with its own runtime folder. `environment` makes a program use it."""

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
        deadline = time.monotonic() + TIMEOUT_S
        while self._control("info").returncode:
            assert self._process.poll() is None, "pulseaudio did not start"
            assert time.monotonic() < deadline, "pulseaudio does not respond"
            time.sleep(0.05)  # another process's socket cannot signal that it is ready
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(TIMEOUT_S)

    def asoundrc_entry(self, name: str) -> str:
        """Return the `.asoundrc` line that gives this server's microphone a name."""
        server = f"unix:{self._folder}/pulse/native"
        return f'pcm.{name} {{type pulse; server "{server}"; device "{SINK}.monitor"; hint {{show on}}}}\n'

    def plug(self) -> str:
        """Plug the microphone in; returns the module for `unplug`."""
        loaded = self._control("load-module", "module-null-sink", f"sink_name={SINK}", "rate=48000")
        assert loaded.returncode == 0, loaded.stderr
        return loaded.stdout.strip()

    def unplug(self, module: str) -> None:
        """Remove the microphone, as if its cable were pulled."""
        assert self._control("unload-module", module).returncode == 0

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Play a WAV into the microphone."""
        program = shutil.which("paplay") or "paplay"
        return subprocess.Popen([program, "-d", SINK, str(path)], env=self.environment)

    def _control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("pactl") or "pactl"
        return subprocess.run([program, *arguments], env=self.environment, capture_output=True, text=True, check=False)
