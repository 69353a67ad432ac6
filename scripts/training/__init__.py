"""Training and measurement of the compact models, run by `scripts/train`."""
