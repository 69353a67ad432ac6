"""Extract the bundled weights of Silero VAD: .venv/bin/python scripts/convert_silero.py.

The source is the TorchScript archive in the `silero-vad` package (a test dependency), of which only the 16 kHz half is
used. The package's `silero_vad_16k.safetensors` has other weights, with probabilities that differ by up to 0.19, so it
is not used. Tensors are copied bit by bit and renamed to the fields of `stream.models.vad.SileroNet`.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

PACKAGE = "silero-vad"
HALF = "_model."  # the archive's other half, `_model_8k.`, is for 8 kHz
HOME = Path(__file__).resolve().parent.parent / "stream" / "models"
NAMES = {
    "stft.forward_basis_buffer": "basis",
    "encoder.0.reparam_conv.weight": "convolutions.0.weight",
    "encoder.0.reparam_conv.bias": "convolutions.0.bias",
    "encoder.1.reparam_conv.weight": "convolutions.1.weight",
    "encoder.1.reparam_conv.bias": "convolutions.1.bias",
    "encoder.2.reparam_conv.weight": "convolutions.2.weight",
    "encoder.2.reparam_conv.bias": "convolutions.2.bias",
    "encoder.3.reparam_conv.weight": "convolutions.3.weight",
    "encoder.3.reparam_conv.bias": "convolutions.3.bias",
    "decoder.rnn.weight_ih": "lstm.weight_ih_l0",
    "decoder.rnn.weight_hh": "lstm.weight_hh_l0",
    "decoder.rnn.bias_ih": "lstm.bias_ih_l0",
    "decoder.rnn.bias_hh": "lstm.bias_hh_l0",
    "decoder.decoder.2.weight": "speech.weight",
    "decoder.decoder.2.bias": "speech.bias",
}


def main() -> int:
    """Write the weights and their licence."""
    package = importlib.metadata.distribution(PACKAGE)
    files = {Path(str(file)).name: Path(str(file.locate())) for file in package.files or ()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is deprecated
        archive = torch.jit.load(files["silero_vad.jit"], map_location="cpu")  # type: ignore[no-untyped-call]
    state = {name.removeprefix(HALF): t for name, t in archive.state_dict().items() if name.startswith(HALF)}
    if set(state) != set(NAMES):
        print(
            f"silero-vad {package.version} has other tensors ({sorted(set(state) ^ set(NAMES))}); adapt NAMES",
            file=sys.stderr,
        )
        return 1
    tensors = {NAMES[name]: tensor.clone().contiguous() for name, tensor in state.items()}
    tensors["speech.weight"] = tensors["speech.weight"].squeeze(2)  # a 1x1 convolution over one frame: a linear layer
    metadata = {
        "format": "pt",
        "source": f"silero-vad {package.version}, silero_vad/data/silero_vad.jit, 16 kHz",
        "url": "https://github.com/snakers4/silero-vad",
        "version": package.version,
        "licence": "MIT, Copyright (c) 2020-present Silero Team",
    }
    save_file(tensors, HOME / "silero_vad.safetensors", metadata=metadata)
    (HOME / "silero_vad.safetensors").chmod(0o644)  # save_file makes it readable only by its owner
    shutil.copyfile(files["LICENSE"], HOME / "silero_vad.LICENSE")
    print(f"Wrote {len(tensors)} tensors of {PACKAGE} {package.version} to {HOME / 'silero_vad.safetensors'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
