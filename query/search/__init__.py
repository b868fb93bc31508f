"""Vectors to nearest vectors: exact, in narrow types with proof, on devices. Pure."""
