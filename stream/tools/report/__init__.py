"""Reports of finished calls and streams, made from recorded events."""
