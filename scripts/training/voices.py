"""Synthetic voices as additional speakers: espeak-ng's variants at two pitches, and flite's five."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.training.corpus import Samples, read

FLITE = ("slt", "rms", "awb", "kal16", "kal")
VARIANTS = (
    "adam", "Andy", "anika", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward", "f1",
    "f2", "f3", "f4", "f5", "gene", "grandma", "grandpa", "iven", "john", "kaukovalta", "klatt2", "linda",
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "marcelo", "max", "michael", "norbert", "quincy", "rob",
    "robert", "shelby", "steph", "Tweaky",
)  # fmt: skip
ACCENTS = ("en-us", "en-gb", "de", "es", "fr-fr", "it", "pl")
SENTENCES = (
    "The birch canoe slid on the smooth planks while the sun went down behind the hills.",
    "Please call me back tomorrow morning, I would like to change the date of my appointment.",
    "Rice is often served in round bowls, and the juice of lemons makes fine punch.",
    "I did not receive the package you promised, and nobody could tell me where it was.",
    "Four hours of steady work faced us before the box was thrown beside the parked truck.",
    "Could you tell me which platform the next train to the city leaves from?",
    "A large size in stockings is hard to sell, but the boy was there when the sun rose.",
    "Yes, that is right, my number ends in seven, nine, two, and the account is in my name.",
    "Glue the sheet to the dark blue background and wipe the grease off his dirty face.",
    "We talked about the weather for a while, then she asked about the price of the tickets.",
)


def speak(*, voice: str, sentence: str, pitch: int = 50, rate: int = 160) -> Samples:
    """Synthesise a sentence with a voice: `flite:slt`, or espeak-ng's `en-us+f3`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice.wav"
        if voice.startswith("flite:"):
            command = ["flite", "-voice", voice.removeprefix("flite:"), "-t", sentence, "-o", str(path)]
        else:
            command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(rate), "-w", str(path), sentence]
        subprocess.run(command, check=True, capture_output=True)
        return read(path)


def voices(*, seed: int) -> Iterator[tuple[str, list[Samples]]]:
    """Yield name and sentences of each synthetic speaker; none for programs that are not installed."""
    draw = random.Random(seed)  # noqa: S311
    if shutil.which("flite"):
        for name in FLITE:
            yield f"flite_{name}", [speak(voice=f"flite:{name}", sentence=sentence) for sentence in SENTENCES]
    if shutil.which("espeak-ng"):
        for variant in VARIANTS:
            for pitch in (30, 70):
                voice = f"{draw.choice(ACCENTS)}+{variant}"
                yield (
                    f"espeak_{variant}_{pitch}",
                    [
                        speak(
                            voice=voice,
                            sentence=sentence,
                            pitch=pitch + draw.randint(-12, 12),
                            rate=draw.randint(120, 200),
                        )
                        for sentence in draw.sample(SENTENCES, 5)
                    ],
                )
