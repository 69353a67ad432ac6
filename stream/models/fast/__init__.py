"""A fast forward for the wav2vec 2.0 family, made from a loaded model of transformers by taking its weights over.

`swap.accelerated` is the door: a model in, a `FastNet` out, or None where the model has a layout that is not known or
where the fast forward does not say what the library says. The numbers are the library's up to rounding.
"""
