"""Rolling state of one call: floor, alerts and figures (pure)."""
