"""Fetching public data for the scripts beside this folder: what there is, bringing it here, checking it."""
