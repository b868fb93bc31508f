"""Grids that come with locatlas. Data only."""
