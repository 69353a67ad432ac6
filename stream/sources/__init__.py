"""Where sound comes from: one file a source, each behind the entry point `stream.sources`."""
