"""Real servers of network streams on loopback: Icecast, GStreamer's RTSP server, and FFmpeg by UDP and RTP.

Each plays a recording over and over in real time. From Debian: `icecast2`, `ffmpeg`, `python3-gi`,
`gir1.2-gst-rtsp-server-1.0`, `gstreamer1.0-plugins-good`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Self

START_TIMEOUT_S = 15.0

ICECAST = """<icecast>
  <limits><clients>200</clients><sources>4</sources><burst-size>0</burst-size></limits>
  <authentication><source-password>source</source-password></authentication>
  <hostname>127.0.0.1</hostname><listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <paths><logdir>{folder}</logdir><webroot>/usr/share/icecast2/web</webroot>
  <adminroot>/usr/share/icecast2/admin</adminroot></paths>
  <security>{user}</security>
</icecast>
"""

RTSP = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer(service=sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory(shared=True)
factory.set_launch(f"( filesrc location={sys.argv[2]} ! wavparse ! audioconvert ! rtpL16pay name=pay0 pt=96 )")
server.get_mount_points().add_factory("/talk", factory)
server.attach(None)
GLib.MainLoop().run()
"""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of loopback that is free; it is even, as RTP's ports are."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))  # gives an odd one on Linux
        return int(taken.getsockname()[1]) & ~1


class Server(ABC):
    """The processes that send one stream, killed at the end of a `with`; `address` is what to play."""

    def __init__(self, recording: Path) -> None:
        self._recording = recording
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @abstractmethod
    def start(self) -> None:
        """Start sending, from the beginning."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes."""
        for process in self._processes:
            process.send_signal(number)

    def kill(self) -> None:
        """End all processes at once, as by a loss of power."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
        self._processes.clear()

    def _spawn(self, *command: str) -> None:
        nothing = subprocess.DEVNULL
        self._processes.append(subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing))

    def _ffmpeg(self, *output: str) -> None:
        play = ("-re", "-stream_loop", "-1", "-i", str(self._recording), "-ar", "48000", "-c:a", "mp2", "-b:a", "128k")
        self._spawn("ffmpeg", "-v", "error", *play, *output)


class Icecast(Server):
    """HTTP: Icecast, to which FFmpeg sends MP3."""

    def __init__(self, recording: Path, folder: Path) -> None:
        super().__init__(recording)
        folder.chmod(0o777)  # Icecast gives up root
        self._port, self._config = free_port(), folder / "icecast.xml"
        user = "<changeowner><user>nobody</user><group>nogroup</group></changeowner>" if os.geteuid() == 0 else ""
        self._config.write_text(ICECAST.format(port=self._port, folder=folder, user=user))
        self.address = f"http://127.0.0.1:{self._port}/talk.mp3"

    def start(self) -> None:
        """Start Icecast, then its source."""
        self._spawn("icecast2", "-c", str(self._config))
        await_port(self._port)
        play = ("-re", "-stream_loop", "-1", "-i", str(self._recording), "-c:a", "libmp3lame", "-b:a", "64k")
        target = f"icecast://source:source@127.0.0.1:{self._port}/talk.mp3"
        self._spawn("ffmpeg", "-v", "error", *play, "-content_type", "audio/mpeg", "-f", "mp3", target)
        time.sleep(1)  # until the mount exists


class Rtsp(Server):
    """RTSP over TCP, with 16-bit PCM. It plays the recording once, from the moment at which somebody connects."""

    def __init__(self, recording: Path) -> None:
        super().__init__(recording)
        self._port = free_port()
        self.address = f"rtsp://127.0.0.1:{self._port}/talk"

    def start(self) -> None:
        """Start the server."""
        self._spawn("/usr/bin/python3", "-c", RTSP, str(self._port), str(self._recording))
        await_port(self._port)


class Udp(Server):
    """MPEG transport stream by UDP."""

    def __init__(self, recording: Path) -> None:
        super().__init__(recording)
        self.address = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"

    def start(self) -> None:
        """Start sending."""
        self._ffmpeg("-f", "mpegts", f"{self.address}?pkt_size=1316")


class Rtp(Server):
    """MPEG audio by RTP, whose payload type needs no description."""

    def __init__(self, recording: Path) -> None:
        super().__init__(recording)
        self.address = f"rtp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"

    def start(self) -> None:
        """Start sending."""
        self._ffmpeg("-f", "rtp", self.address)


def await_port(port: int) -> None:
    """Wait until a server listens. Raises `TimeoutError`."""
    end_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end_s:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no server listens on port {port}")
