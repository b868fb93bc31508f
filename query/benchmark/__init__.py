"""Grids of measurements: encoders, channel plans, protocols, classifiers; one tidy table, comparisons, figures."""
