"""How the compact pair is trained and measured: `scripts/train` runs it."""
