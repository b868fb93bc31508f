"""Heads on frozen vectors: trained in folds, scored, drawn."""
