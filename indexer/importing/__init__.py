"""Vectors that were made elsewhere: read in blocks, checked, brought in with what is said of them."""
