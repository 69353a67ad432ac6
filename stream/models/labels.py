"""Canonical spelling of emotion labels, independent of the checkpoint.

The order of a checkpoint's labels is the order of its scores, so labels are renamed but never reordered. Unknown labels
are kept in lower case; if two labels would become equal (`joy` beside `happy`), both keep their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

_SPELLINGS = {
    "neutral": ("neu", "neutrality", "n"),
    "happy": ("hap", "happiness", "happily", "joy", "joyful", "joyfully", "h"),
    "angry": ("ang", "anger", "angrily", "a"),
    "sad": ("sadness", "sadly", "s"),
    "fearful": ("fea", "fear", "scared", "f"),
    "disgusted": ("dis", "disgust", "d"),
    "surprised": ("sur", "surprise", "surprisingly", "u"),
    "calm": ("cal", "calmness"),
}
_CANONICAL = {other: name for name, others in _SPELLINGS.items() for other in (name, *others)}


def canonical(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels in canonical spelling, in order: neu, hap, ang, sad become neutral, happy, angry, sad."""
    plain = [label.strip().lower() for label in labels]
    named = [_CANONICAL.get(label, label) for label in plain]
    count = Counter(named)
    return tuple(name if count[name] == 1 else own for name, own in zip(named, plain, strict=True))
