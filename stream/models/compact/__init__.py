"""The compact models: a speaker and an emotion net bundled with the package, usable without a download.

Their abilities and limits are on the model cards SPEAKER.md and EMOTION.md. `scripts/train` trains them.
"""
