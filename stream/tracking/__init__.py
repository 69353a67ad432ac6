"""Rolling state of one stream: speakers, emotion, turns, overlap, identity and scoring (pure)."""
