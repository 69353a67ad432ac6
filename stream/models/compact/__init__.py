"""The compact pair: a speaker and an emotion net that ship inside the package, for a first run without a download.

What they can and cannot do stands on their cards, SPEAKER.md and EMOTION.md. `scripts/train` made them.
"""
