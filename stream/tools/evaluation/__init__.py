"""Evaluation of models on labelled recordings, processed like live audio."""
