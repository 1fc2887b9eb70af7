"""Runs a model: the fast decoder and its searches, with `generate` as the fallback."""
