"""`locatlas backup` and `locatlas restore`: a consistent copy of an atlas in use, and the way back."""
