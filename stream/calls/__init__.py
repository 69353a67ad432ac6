"""Rolling state of one call: floor, alerts and figures; alert rules and reports of any stream (pure)."""
