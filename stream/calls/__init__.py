"""Rolling state of one call: floor, alerts and figures; alert rules of one's own, for any stream (pure)."""
