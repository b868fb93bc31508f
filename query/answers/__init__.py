"""Neighbors, k-NN localization and resemblance, and how they are told."""
