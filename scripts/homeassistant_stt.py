"""Home Assistant's own speech-to-text entity with and without the node before its service.

    HA_PYTHON=/path/to/python python -m scripts.homeassistant_stt --utterances 20

The entity of the integration *Wyoming Protocol* (`HA_PYTHON` has it: what `scripts/check_homeassistant` installs, and
`wyoming mutagen ha-ffmpeg pymicro-vad pyspeex-noise`, the last two with a C++ compiler) speaks the turns of the bundled
conversation in real time to a service, and to an unmodified `tonewatch serve` in front of it. The service's transcript
is the checksum of the audio it received, and letters beyond ASCII: one that is the same proves that audio and
transcript pass unchanged.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import os
import statistics
import tempfile
from itertools import cycle, islice

from scripts.faults.report import print_result
from scripts.wyoming_latency import proxy_node, utterances
from tests.support.speech_to_text import TEXT, speech_to_text


def _checksum(audio: bytes) -> str:
    return f"{hashlib.sha256(audio).hexdigest()} {TEXT}"


async def main(count: int) -> None:
    """Run service, node and entity; print the figures."""
    python = os.environ.get("HA_PYTHON", f"{tempfile.gettempdir()}/tonewatch-homeassistant/bin/python")
    spoken = [one.pcm for one in islice(cycle(utterances()), count)]
    async with speech_to_text(transcribe=_checksum) as service, proxy_node(service) as port:
        given = {"ports": [service.port, port], "utterances": [base64.b64encode(pcm).decode() for pcm in spoken]}
        process = await asyncio.create_subprocess_exec(
            python,
            "scripts/homeassistant_stt_entity.py",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        answer = (await process.communicate(json.dumps(given).encode()))[0]
    pairs = json.loads(answer or b"[]")
    changed = sum(alone["text"] != through["text"] for alone, through in pairs)
    wrong = sum(alone["text"] != _checksum(pcm) for (alone, _), pcm in zip(pairs, spoken, strict=False))
    failed = sum(one["state"] != "success" for pair in pairs for one in pair)
    added_ms = [1000 * (through["seconds"] - alone["seconds"]) for alone, through in pairs]
    print_result(
        "homeassistant_stt",
        held=len(pairs) == count and not (changed or wrong or failed),
        utterances=len(pairs),
        changed=changed + wrong,
        failed=failed,
        added_ms_median=round(statistics.median(added_ms), 1) if added_ms else None,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=20)
    asyncio.run(main(parser.parse_args().utterances))
