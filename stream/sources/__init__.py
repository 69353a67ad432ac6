"""Audio sources: one module per source, each behind an entry point of the group `stream.sources`."""
