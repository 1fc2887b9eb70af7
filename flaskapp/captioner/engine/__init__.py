"""A model at work: its decoder, its searches, and `generate` for what has no description."""
