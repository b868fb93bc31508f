"""Weights that come with locatlas, and the records of their trainings. Data only."""
