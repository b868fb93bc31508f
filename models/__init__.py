"""Pixels to vectors: encoder specs and registry, weights, channels, transforms."""
