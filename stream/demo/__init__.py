"""The bundled conversation and its reference."""
