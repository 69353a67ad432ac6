"""Audio before inference: decoding, resampling, buffering, speech segments and window extraction (pure)."""
