"""Which models can answer from one pass: those whose backbones hold the same numbers and who hear the same windows.

Many checkpoints are a head trained on a frozen backbone, so several may carry the very same one. That is never assumed:
every tensor of both backbones is hashed, and only where the hashes are equal does one of them hear for both; the other
is let go, and its memory with it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from stream.models.pretrained import PretrainedModel, SharedBackbone
from stream.types import Model

log = logging.getLogger(__name__)


def share(models: Sequence[Model]) -> list[SharedBackbone]:
    """Ensembles of two models and more; a model that shares with none is in none of them."""
    able = [model for model in models if isinstance(model, PretrainedModel) and model.fast is not None]
    alike: dict[tuple[object, ...], list[PretrainedModel]] = {}
    for model in able:
        alike.setdefault((model.spec, model.normalise), []).append(model)
    return [ensemble for group in alike.values() if len(group) > 1 for ensemble in _proven(group)]


def _proven(group: Sequence[PretrainedModel]) -> list[SharedBackbone]:
    by_digest: dict[str, list[PretrainedModel]] = {}
    for model in group:
        if model.fast is not None:
            by_digest.setdefault(model.fast.backbone.digest(), []).append(model)
    ensembles = []
    for members in by_digest.values():
        if len(members) < 2:  # noqa: PLR2004
            continue
        for member in members[1:]:
            if member.fast is not None and members[0].fast is not None:
                member.fast.backbone = members[0].fast.backbone
        log.info("%s share one backbone", " and ".join(member.info.name for member in members))
        ensembles.append(SharedBackbone(models=members))
    return ensembles
