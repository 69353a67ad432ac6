"""The zoo without torch, without a network, and against a local hub."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stream.models import zoo
from stream.models.labels import canonical
from stream.models.zoo import ZOO, required_files
from stream.types import Task

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Entries


BUNDLED = ["emotion-campplus", "compact-emotion", "compact-speaker", "speaker-campplus", "overlap-segmentation"]


def test_entries() -> None:
    assert list(ZOO) == [
        "emotion-campplus",
        "compact-emotion",
        "compact-speaker",
        "speaker-campplus",
        "overlap-segmentation",
        "emotion-wav2vec2-large",
        "speaker-wavlm",
        "speaker-unispeech-sat",
        "speaker-wav2vec2",
        "speaker-id-voxceleb1",
        "overlap-wavlm",
        "speaker-resemblyzer",
    ]
    for name, entry in ZOO.items():
        assert entry.name == name
        assert entry.minimum_samples == (16_000 if name == "overlap-segmentation" else 8_000)
        assert entry.licence
        assert entry.bundled == (name in BUNDLED)
        if not entry.bundled and not entry.package:  # packages have their own versions
            assert re.fullmatch("[0-9a-f]{40}", entry.revision)  # a commit, not a branch
            assert (entry.threshold is not None) == (entry.task is Task.SPEAKER)
    assert ZOO["speaker-wavlm"].threshold == 0.86
    assert ZOO["speaker-unispeech-sat"].threshold == 0.89
    assert ZOO["emotion-wav2vec2-large"].labels == canonical(["neu", "hap", "ang", "sad"])


def test_every_entry_is_registered() -> None:
    registered = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split('entry-points."stream.models"]')[1]
    names = re.findall(r"^([a-z0-9-]+) = ", registered.split("[tool.")[0], re.MULTILINE)
    assert set(names) >= set(ZOO)


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from stream.models.zoo import ZOO; print(len(ZOO), {'torch', 'transformers'} & set(sys.modules))"
    )
    assert run(code).stdout == "12 set()\n"


@pytest.mark.slow
def test_finding_local_folders_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from stream.models.zoo import ZOO, local_folder\n"
        "names = [name for name, entry in ZOO.items() if local_folder(entry) and not entry.package]\n"
        "print(names, 'torch' in sys.modules)"
    )
    done = run(code, HF_HOME=str(tmp_path))
    assert done.stdout == f"{BUNDLED} False\n", done.stderr


def test_an_entry_is_found_by_its_hub_name_too() -> None:
    assert zoo.find_entry("microsoft/wavlm-base-sv") is ZOO["speaker-wavlm"] is zoo.find_entry("speaker-wavlm")
    assert zoo.find_entry("microsoft/wavlm-large") is None
    assert zoo.find_entry("") is None


def test_canonical_labels() -> None:
    assert canonical(["neu", "hap", "ang", "sad"]) == ("neutral", "happy", "angry", "sad")
    assert canonical(["A", "S", "H"]) == ("angry", "sad", "happy")
    assert canonical(["Joy", "happy", "LABEL_3"]) == ("joy", "happy", "label_3")  # two labels never become one
    assert canonical(["surprise", "fear", "disgust", "calm"]) == ("surprised", "fearful", "disgusted", "calm")


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (
            ["README.md", "config.json", "model.safetensors", "preprocessor_config.json", "pytorch_model.bin", "tf.h5"],
            ["config.json", "preprocessor_config.json", "model.safetensors"],
        ),
        (["config.json", "pytorch_model.bin"], ["config.json", "pytorch_model.bin"]),
        (
            ["config.json", *PARTS, "model.safetensors.index.json", "model-other.safetensors"],
            ["config.json", *PARTS, "model.safetensors.index.json"],
        ),
    ],
)
def test_only_required_files(files: list[str], wanted: list[str]) -> None:
    assert required_files("org/model", files) == wanted


# Without a network


@pytest.mark.long
def test_offline_with_an_empty_cache(tmp_path: Path) -> None:
    code = (
        "from stream.errors import ModelNotFound\nfrom stream.models.loading import load\n"
        "from stream.settings.tree import ModelSettings\n"
        "try:\n    load(ModelSettings(name='emotion-wav2vec2-large', window_s=3, hop_s=1))\n"
        "except ModelNotFound as error:\n    print(error)"
    )
    done = run(code, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.stdout == (
        f"emotion-wav2vec2-large (superb/wav2vec2-large-superb-er) is not in the cache {tmp_path / 'hub'}, and "
        "HF_HUB_OFFLINE prevents downloading it; go online once, or put its files in a folder and use "
        "--emotion /path/to/folder\n"
    ), done.stderr
    assert list(tmp_path.rglob("*.bin")) == []
