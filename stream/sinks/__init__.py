"""Where events go: one file a sink, each behind the entry point `stream.sinks`."""
