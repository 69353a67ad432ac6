"""Detection of models that share a backbone: equal weights and equal windows.

Many checkpoints are a head trained on a frozen backbone, so several may contain the same one. Equality is never
assumed: every tensor of both backbones is hashed, and only with equal hashes does one backbone serve both models; the
memory of the other is freed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from stream.models.pretrained import PretrainedModel, SharedBackbone
from stream.types import Model

log = logging.getLogger(__name__)


def share_backbones(models: Sequence[Model]) -> list[SharedBackbone]:
    """Return the groups of two or more models that share a backbone; other models are in none."""
    candidates = [model for model in models if isinstance(model, PretrainedModel) and model.fast is not None]
    by_input: dict[tuple[object, ...], list[PretrainedModel]] = {}
    for model in candidates:
        by_input.setdefault((model.spec, model.normalise), []).append(model)
    return [ensemble for group in by_input.values() if len(group) > 1 for ensemble in _group_by_digest(group)]


def _group_by_digest(group: Sequence[PretrainedModel]) -> list[SharedBackbone]:
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
