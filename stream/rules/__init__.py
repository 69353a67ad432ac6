"""Alert rules of one's own: evaluated on the events of a stream or call, in media time (pure)."""
