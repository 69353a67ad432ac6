"""A fast forward for the wav2vec 2.0 family, converted from a loaded transformers model by taking over its weights.

`conversion.accelerate` maps a model to a `FastNet`, or to None if the architecture is not supported or the outputs
disagree with the library's. Outputs equal the library's up to rounding.
"""
